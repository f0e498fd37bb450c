//go:build unix

package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/devdb"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/internal/faultnet"
)

// patience is how long a test waits for what must happen.
const patience = time.Minute

// An arena is a server of the test's own, and what is observed there.
type arena struct {
	t      *testing.T
	ctx    context.Context
	server *devdb.DB
	url    string
	pool   *pgxpool.Pool // straight to the server
	base   int           // connections that may stay when everything has ended

	timeless bool // the server's clock was set back: its times say nothing
}

// observe keeps what tables of the engine do not: each completion of a task, and
// each time that one was taken over.
const observe = `
CREATE SCHEMA chaos;
CREATE TABLE chaos.effects (run_id uuid, step_slug text, task_index int);
CREATE TABLE chaos.reclaims (run_id uuid, step_slug text, task_index int, worker_id uuid, at timestamptz);
CREATE FUNCTION chaos.completed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO chaos.effects VALUES (new.run_id, new.step_slug, new.task_index);
  RETURN NULL;
END $$;
CREATE FUNCTION chaos.taken() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO chaos.reclaims VALUES (new.run_id, new.step_slug, new.task_index, old.last_worker_id, clock_timestamp());
  RETURN NULL;
END $$;
CREATE TRIGGER completed AFTER UPDATE ON pgflow.step_tasks FOR EACH ROW
  WHEN (new.status = 'completed' AND old.status <> 'completed') EXECUTE FUNCTION chaos.completed();
CREATE TRIGGER taken AFTER UPDATE ON pgflow.step_tasks FOR EACH ROW
  WHEN (new.requeued_count > old.requeued_count) EXECUTE FUNCTION chaos.taken();`

// observer is the name of the arena's own connections.
const observer = "chaos"

// newArena starts a server with the given flows. In a short run, the test runs beside others
// from then on.
func newArena(t *testing.T, settings map[string]string, slugs ...string) *arena {
	t.Helper()
	if !full {
		t.Parallel()
	}
	return startArena(t, settings, slugs...)
}

// startArena is [newArena] for a test that says itself what it runs beside.
func startArena(t *testing.T, settings map[string]string, slugs ...string) *arena {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	t.Cleanup(cancel)
	server, url := dbtest.Server(t, settings)
	a := &arena{t: t, ctx: ctx, server: server, url: url, pool: dbtest.Connect(t, url+"&application_name="+observer)}
	_, err := a.pool.Exec(ctx, observe)
	require.NoError(t, err)
	for _, slug := range slugs {
		def := flows[slug].definition
		_, err := runtime.UpsertFlow(ctx, a.pool, def)
		require.NoError(t, err)
	}
	return a
}

// proxy is a network in front of the server, with the URL that leads through it.
func (a *arena) proxy() (*faultnet.Proxy, string) {
	a.t.Helper()
	proxy, err := faultnet.NewProxy(a.url)
	require.NoError(a.t, err)
	a.t.Cleanup(proxy.Close)
	config, err := pgx.ParseConfig(a.url)
	require.NoError(a.t, err)
	return proxy, proxy.URL(config.User, config.Database)
}

// ask reads one value, as soon as the server answers.
func ask[T any](a *arena, sql string, args ...any) (v T) {
	a.t.Helper()
	var err error
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		if err = a.pool.QueryRow(a.ctx, sql, args...).Scan(&v); err == nil {
			return v
		}
		time.Sleep(5 * time.Millisecond) // a server that starts cannot be awaited
	}
	require.NoError(a.t, err, sql)
	return v
}

// list reads the values of a column.
func list[T any](a *arena, sql string, args ...any) []T {
	a.t.Helper()
	rows, err := a.pool.Query(a.ctx, sql, args...)
	require.NoError(a.t, err)
	all, err := pgx.CollectRows(rows, pgx.RowTo[T])
	require.NoError(a.t, err)
	return all
}

// A load is runs of a flow that are being started, evenly over some time.
type load struct {
	done    chan struct{}
	started atomic.Int64
	errors  atomic.Int64 // calls that had to be repeated by the caller
}

// start starts runs with the numbers 0, 1, … in the background.
func (a *arena) start(url string, flow *runtime.Flow[number, int], runs int, over time.Duration) *load {
	a.t.Helper()
	inputs := make([]number, runs)
	for i := range inputs {
		inputs[i].N = i
	}
	return a.startAll(url, flow, inputs, over)
}

// startAll starts runs in the background. Whatever goes wrong is done again with
// the same key, until it is done.
func (a *arena) startAll(url string, flow *runtime.Flow[number, int], inputs []number, over time.Duration) *load {
	a.t.Helper()
	runs := len(inputs)
	pool, err := pgxpool.New(a.ctx, url)
	require.NoError(a.t, err)
	l := &load{done: make(chan struct{})}
	began := time.Now()
	var next atomic.Int64
	var starters sync.WaitGroup
	for range 4 {
		starters.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= runs || a.ctx.Err() != nil {
					return
				}
				time.Sleep(time.Until(began.Add(over * time.Duration(i) / time.Duration(runs))))
				for a.ctx.Err() == nil {
					ctx, cancel := context.WithTimeout(a.ctx, 5*time.Second)
					_, err := flow.Start(ctx, pool, inputs[i], runtime.WithIdempotencyKey(fmt.Sprint(i)))
					cancel()
					if err == nil {
						l.started.Add(1)
						break
					}
					l.errors.Add(1)
				}
			}
		})
	}
	go func() {
		starters.Wait()
		pool.Close()
		close(l.done)
	}()
	a.t.Cleanup(func() { <-l.done })
	return l
}

func (l *load) running() bool {
	select {
	case <-l.done:
		return false
	default:
		return true
	}
}

// settled waits until every run has been started and has ended.
func (a *arena) settled(l *load) {
	a.t.Helper()
	a.settledWhile(l, func() {})
}

// settledWhile does something again and again while it waits.
func (a *arena) settledWhile(l *load, meanwhile func()) {
	a.t.Helper()
	last := time.Now()
	for l.running() {
		meanwhile()
		last = time.Now()
		time.Sleep(20 * time.Millisecond)
	}
	require.NoError(a.t, a.ctx.Err())
	for {
		meanwhile()
		open := ask[int](a, `SELECT count(*) FROM pgflow.runs WHERE status = 'started'`)
		if open == 0 {
			break
		}
		require.Less(a.t, time.Since(last), 2*patience, "%d runs do not end", open)
		time.Sleep(20 * time.Millisecond)
	}
	a.t.Logf("%d runs started and ended", l.started.Load())
}

// recoveries are how long it took from the death of a process until somebody
// else took what it had, in ascending order.
func (a *arena) recoveries(f *fleet) (all []time.Duration) {
	a.t.Helper()
	died := map[string]time.Time{}
	for _, p := range f.all {
		died[p.name] = p.died
	}
	rows, err := a.pool.Query(a.ctx, `
SELECT w.function_name, t.at FROM chaos.reclaims t JOIN pgflow.workers w ON w.worker_id = t.worker_id`)
	require.NoError(a.t, err)
	var name string
	var at time.Time
	_, err = pgx.ForEachRow(rows, []any{&name, &at}, func() error {
		if died[name].IsZero() {
			return fmt.Errorf("a task of %s was taken over, which was not killed", name)
		}
		all = append(all, at.Sub(died[name]))
		return nil
	})
	require.NoError(a.t, err)
	slices.Sort(all)
	return all
}

// gapAfter is how long after each moment the next task was claimed, in ascending
// order.
func (a *arena) gapsAfter(moments []time.Time) (all []time.Duration) {
	a.t.Helper()
	for _, m := range moments {
		next := ask[*time.Time](a, `SELECT min(started_at) FROM pgflow.step_tasks WHERE started_at > $1`, m)
		if next != nil {
			all = append(all, next.Sub(m))
		}
	}
	slices.Sort(all)
	return all
}

// quantile is the q-quantile of sorted values.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)].Round(time.Millisecond)
}

// summary is what sorted values are like, in a few words.
func summary(sorted []time.Duration) string {
	return fmt.Sprintf("n=%d p50=%s p99=%s max=%s", len(sorted), quantile(sorted, 0.5), quantile(sorted, 0.99), quantile(sorted, 1))
}

// serverLog is what the server has logged.
func (a *arena) serverLog() string {
	a.t.Helper()
	text, err := os.ReadFile(filepath.Join(a.server.Dir(), "server.log"))
	require.NoError(a.t, err)
	return string(text)
}

// deadlocks is how many the server has found. Its log survives a crash, its
// counters do not.
func (a *arena) deadlocks() int { return strings.Count(a.serverLog(), "deadlock detected") }
