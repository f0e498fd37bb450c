//go:build unix

package chaos

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// single is a job of which one run at a time is enough for each number.
var single = runtime.NewFlow[number](spec.Flow{
	Slug: "single", Unique: &spec.Unique{By: []spec.Path{{spec.RunKey, "n"}}}, Steps: []spec.Step{{Slug: "single"}},
}, handler.Nothing())

func singleService(h *hands) handler.Service {
	return handler.Serve(single.Definition(), []handler.Handler{
		handler.Handle("single", handler.Input[number](), func(ctx context.Context, in number) (int, error) {
			_, err := h.begin(ctx)
			return in.N, err
		}),
	})
}

// start starts runs until the process is killed, each in a transaction that also writes down
// which run it was told of.
func (e errand) start() error {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, e.URL)
	if err != nil {
		return err
	}
	failed := make(chan error)
	for range 4 {
		go func() {
			for {
				err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
					ins := make([]number, 1+rand.IntN(3))
					for i := range ins {
						ins[i].N = rand.IntN(e.Numbers)
					}
					runs, err := single.StartMany(ctx, tx, ins)
					if err != nil {
						return err
					}
					for i, run := range runs {
						if _, err := tx.Exec(ctx, `INSERT INTO chaos.told VALUES ($1, $2, $3)`, ins[i].N, run.ID(), run.Existed()); err != nil {
							return err
						}
					}
					time.Sleep(rand.N(20 * time.Millisecond))
					if rand.IntN(8) == 0 {
						return pgx.ErrTxCommitRollback
					}
					return nil
				})
				if err != nil && err != pgx.ErrTxCommitRollback {
					failed <- err
				}
			}
		}()
	}
	return <-failed
}

// Many processes start runs that are alike, and are killed in the middle of it, as are the
// workers. At no time two runs that are alike have not ended; whoever was told of a run that it
// started or found has been told the truth; and no key is stuck.
func TestChaosUnique(t *testing.T) {
	r := chances(t)
	a := newArena(t, nil, "single")
	_, err := a.pool.Exec(a.ctx, `CREATE TABLE chaos.told (n int, run_id uuid, existed boolean)`)
	require.NoError(t, err)
	workers := newFleet(t, errand{URL: a.url, Flow: "single", Most: 20 * time.Millisecond, MaxCrashes: 1000}, 2)
	starters := newFleet(t, errand{URL: a.url, Numbers: 20}, 4)
	kills := 0
	alike := func() {
		require.Zero(t, ask[int](a, `
			SELECT count(*) FROM (SELECT input -> 'n' FROM pgflow.runs WHERE status = 'started' GROUP BY 1 HAVING count(*) > 1) o`), "runs that are alike")
	}
	for until := time.Now().Add(scaled(60*time.Second, 4*time.Second)); time.Now().Before(until); {
		time.Sleep(between(r, 50*time.Millisecond, 500*time.Millisecond))
		f := starters
		if r.IntN(4) == 0 {
			f = workers
		}
		running := f.running()
		running[r.IntN(len(running))].kill()
		f.add()
		kills++
		alike()
	}
	for _, p := range starters.running() {
		p.kill()
	}
	// Nothing that they left behind holds a key.
	for n := range 20 {
		_, err := single.Start(a.ctx, a.pool, number{N: n}, runtime.WithHeaders(map[string]string{"last": "1"}))
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool {
		return ask[int](a, `SELECT count(*) FROM pgflow.runs WHERE status = 'started'`) == 0
	}, 2*patience, 50*time.Millisecond)
	workers.stop()

	require.Zero(t, ask[int](a, `SELECT count(*) FROM pgflow.runs WHERE status <> 'completed'`))
	require.Zero(t, ask[int](a, `SELECT count(*) FROM chaos.told o WHERE NOT EXISTS (
		SELECT FROM pgflow.runs r WHERE r.run_id = o.run_id AND (r.input ->> 'n')::int = o.n)`), "runs that were lost")
	require.Zero(t, ask[int](a, `
		SELECT count(*) FROM pgflow.runs r
		WHERE (SELECT count(*) FROM chaos.told o WHERE o.run_id = r.run_id AND NOT o.existed) <> 1
		  AND NOT EXISTS (SELECT FROM flowc.run_headers h WHERE h.run_id = r.run_id)`), "runs that nobody started, or two")
	require.Zero(t, ask[int](a, `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`), "deadlocks")
	runs, found := ask[int](a, `SELECT count(*) FROM pgflow.runs`), ask[int](a, `SELECT count(*) FROM chaos.told WHERE existed`)
	t.Logf("%d kills, %d runs, %d starts that found theirs", kills, runs, found)
	require.NotZero(t, found)
}
