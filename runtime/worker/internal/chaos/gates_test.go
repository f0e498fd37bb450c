//go:build unix

package chaos

import (
	"context"
	"errors"
	"math/rand/v2"
	"sort"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// gateLimit is how many tasks of gated with one key may be in flight.
const gateLimit = 2

// gated is a flow of two steps with limits by key, which is what a number says to do. The
// first attempt at some tasks fails.
var gated = runtime.NewFlow[number](spec.Flow{Slug: "gated",
	BaseDelay: spec.Set(time.Duration(0)),
	Steps: []spec.Step{
		{Slug: "one", Concurrency: gateLimit, Key: spec.Path{spec.RunKey, "do"}, Gate: "chaos"},
		{Slug: "two", Deps: []string{"one"}, Concurrency: gateLimit, Key: spec.Path{spec.RunKey, "do"}, Gate: "chaos"},
	},
}, handler.Output[int]("two"))

// limited is a flow of the same two steps, of which so many runs with one key may be in
// progress.
var limited = runtime.NewFlow[number](spec.Flow{Slug: "limited",
	BaseDelay: spec.Set(time.Duration(0)), Concurrency: gateLimit, Key: spec.Path{spec.RunKey, "do"},
	Steps: []spec.Step{{Slug: "one"}, {Slug: "two", Deps: []string{"one"}}},
}, handler.Output[int]("two"))

// presence is when handlers were at work, by the server's clock.
const presence = `
CREATE TABLE chaos.presence (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, worker text, key text, began timestamptz, ended timestamptz)`

func gatedService(h *hands) handler.Service { return presentService(h, gated) }

func limitedService(h *hands) handler.Service { return presentService(h, limited) }

// presentService notes when the handlers of a flow are at work.
func presentService(h *hands, flow *runtime.Flow[number, int]) handler.Service {
	pool := sync.OnceValues(func() (*pgxpool.Pool, error) { return pgxpool.New(context.Background(), h.errand.URL) })
	work := func(ctx context.Context, in number) (int, error) {
		db, err := pool()
		if err != nil {
			return 0, err
		}
		var id int64
		err = db.QueryRow(ctx, `INSERT INTO chaos.presence (worker, key, began) VALUES ($1, $2, clock_timestamp()) RETURNING id`, h.errand.Name, in.Do).Scan(&id)
		if err != nil {
			return 0, err
		}
		task, err := h.begin(ctx)
		if err == nil && in.N%7 == 0 && task.Attempt == 1 {
			err = errFirst
		}
		_, ended := db.Exec(context.WithoutCancel(ctx), `UPDATE chaos.presence SET ended = clock_timestamp() WHERE id = $1`, id)
		return in.N, errors.Join(err, ended)
	}
	return handler.Serve(flow.Definition(), []handler.Handler{
		handler.Handle("one", handler.Input[number](), work),
		handler.Handle("two", handler.Input[number](), work),
	})
}

// Limits hold while workers are killed and stopped, and runs are cancelled, retried and
// deleted, as whoever is at work says; no key gets stuck, and nothing leaks.
func TestChaosGates(t *testing.T) {
	chaosOfLimits(t, gated, true)
}

// No more runs of a flow are in progress than may be while workers are killed and stopped, and
// those in line all get their turn. Handlers of cancelled runs are at work beside those of the
// next ones, so none is cancelled.
func TestChaosLimitedRuns(t *testing.T) {
	chaosOfLimits(t, limited, false)
}

func chaosOfLimits(t *testing.T, flow *runtime.Flow[number, int], cancel bool) {
	r := chances(t)
	slug := flow.Definition().Slug
	a := newArena(t, nil, slug)
	_, err := a.pool.Exec(a.ctx, presence)
	require.NoError(t, err)
	runs, over := scaled(3000, 160), scaled(60*time.Second, 4*time.Second)
	inputs := make([]number, runs)
	for i := range inputs {
		inputs[i] = number{N: i, Do: string(rune('a' + i%5))}
	}
	f := newFleet(t, errand{URL: a.url, Flow: slug, Most: 20 * time.Millisecond}, 4)
	l := a.startAll(a.url, flow, inputs, over)
	var acting sync.WaitGroup
	if cancel {
		for i := range 4 {
			acting.Go(func() { a.cancelSome(rand.New(rand.NewPCG(uint64(i), r.Uint64())), l) })
		}
	}
	kills := 0
	for l.running() {
		time.Sleep(between(r, scaled(500*time.Millisecond, 200*time.Millisecond), scaled(2*time.Second, 800*time.Millisecond)))
		running := f.running()
		p := running[r.IntN(len(running))]
		if r.IntN(4) == 0 {
			p.terminate()
		} else {
			p.kill()
			kills++
		}
		f.add()
	}
	acting.Wait()
	a.settledWhile(l, func() { // whoever was cancelled last is retried
		for _, id := range list[string](a, `SELECT run_id::text FROM pgflow.runs WHERE status = 'failed'`) {
			err := runtime.RetryRun(a.ctx, a.pool, id)
			require.True(t, err == nil || errors.Is(err, runtime.ErrWrongStatus) || errors.Is(err, runtime.ErrRequested) || errors.Is(err, runtime.ErrRunNotFound), "%v", err)
		}
	})
	// Cancelled runs of the worker that was killed last end before it is taken for dead.
	require.Eventually(t, func() bool {
		return ask[int](a, `SELECT count(*) FROM flowc.held`) == 0
	}, patience, 20*time.Millisecond, "places that a dead worker holds")
	f.stop()
	a.auditTables()
	require.Equal(t, ask[int](a, `SELECT count(*) FROM pgflow.runs`), ask[int](a, `SELECT count(*) FROM pgflow.runs WHERE status = 'completed'`))
	require.Empty(t, list[string](a, `SELECT gate || ' ' || key || ': ' || problem FROM flowc.check_gates()`))
	require.Zero(t, ask[int](a, `SELECT count(*) FROM flowc.held`), "tasks that count as in flight")
	most, attempts := a.mostAtOnce(f)
	t.Logf("%d kills, %d attempts, at most %d with one key at once", kills, attempts, most)
	require.Equal(t, gateLimit, most)
}

// cancelSome cancels, retries and deletes runs as long as they are started.
func (a *arena) cancelSome(r *rand.Rand, l *load) {
	for l.running() {
		time.Sleep(between(r, 0, 100*time.Millisecond))
		var id string
		err := a.pool.QueryRow(a.ctx, `
			SELECT run_id::text FROM pgflow.runs WHERE status <> 'completed' ORDER BY md5(run_id::text || $1::int::text) LIMIT 1`, r.IntN(1000)).Scan(&id)
		if errors.Is(err, pgx.ErrNoRows) {
			continue
		}
		require.NoError(a.t, err)
		switch r.IntN(8) {
		case 0:
			_, err = runtime.DeleteRun(a.ctx, a.pool, id, runtime.AllowDataLoss())
		case 1, 2, 3:
			err = runtime.RetryRun(a.ctx, a.pool, id)
		default:
			err = runtime.CancelRun(a.ctx, a.pool, id, "chaos")
		}
		fine := err == nil || errors.Is(err, runtime.ErrWrongStatus) || errors.Is(err, runtime.ErrRequested) || errors.Is(err, runtime.ErrRunNotFound)
		require.True(a.t, fine, "%v", err)
	}
}

// mostAtOnce returns how many handlers with one key were at work at once, at most: those of
// a process that was killed until then. attempts is how many there were in all.
func (a *arena) mostAtOnce(f *fleet) (most, attempts int) {
	a.t.Helper()
	died := map[string]time.Time{}
	for _, p := range f.all {
		died[p.name] = p.died
	}
	rows, err := a.pool.Query(a.ctx, `SELECT worker, key, began, ended FROM chaos.presence`)
	require.NoError(a.t, err)
	type moment struct {
		at time.Time
		by int
	}
	moments := map[string][]moment{}
	var worker, key string
	var began time.Time
	var ended *time.Time
	_, err = pgx.ForEachRow(rows, []any{&worker, &key, &began, &ended}, func() error {
		attempts++
		end := died[worker]
		if ended != nil {
			end = *ended
		}
		if end.IsZero() || end.Before(began) {
			return nil // its last words did not get through
		}
		moments[key] = append(moments[key], moment{began, 1}, moment{end, -1})
		return nil
	})
	require.NoError(a.t, err)
	for _, of := range moments {
		sort.Slice(of, func(i, j int) bool { return of[i].at.Before(of[j].at) })
		now := 0
		for _, m := range of {
			now += m.by
			most = max(most, now)
		}
	}
	return most, attempts
}

// With one task at a time, the death of whoever has it frees the key within seconds.
func TestChaosGateOfTheDead(t *testing.T) {
	a := newArena(t, nil, "serial")
	f := newFleet(t, errand{URL: a.url, Flow: "serial", Concurrency: 1}, 1)
	l := a.startAll(a.url, serial, []number{{N: 1, Millis: 3_600_000}}, 0)
	<-l.done
	require.Eventually(t, func() bool { return len(f.attempts()) == 1 }, patience, 10*time.Millisecond)
	l = a.startAll(a.url, serial, []number{{N: 1, Millis: 3_600_000}, {N: 2}}, 0)
	<-l.done
	f.add()
	f.all[0].kill()
	died := time.Now()
	require.Eventually(t, func() bool { return ask[int](a, `SELECT count(*) FROM pgflow.runs WHERE status = 'completed'`) == 1 }, patience, 10*time.Millisecond)
	t.Logf("the key was free %s after the kill", time.Since(died).Round(time.Millisecond))
	require.LessOrEqual(t, time.Since(died), goal(8*time.Second))
	for _, p := range f.running() {
		p.signal(syscall.SIGKILL)
	}
}

// serial is job, one at a time.
var serial = runtime.NewFlow[number](spec.Flow{Slug: "serial",
	Steps: []spec.Step{{Slug: "job", Concurrency: 1}},
}, handler.Output[int]("job"))

func serialService(h *hands) handler.Service {
	return handler.Serve(serial.Definition(), jobService(h).Handlers())
}
