//go:build unix

package chaos

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/faultnet"
)

// A run is cancelled, completed and failed, all at once. One of them wins.
func TestChaosThreeEnds(t *testing.T) {
	r := chances(t)
	a := newArena(t, nil, "job")
	runs := scaled(1000, 200)
	worker := uuid.NewString()
	_, err := a.pool.Exec(a.ctx, `SELECT flowc.register_worker($1, 'hand', '{job}')`, worker)
	require.NoError(t, err)
	_, err = job.StartMany(a.ctx, a.pool, make([]number, runs))
	require.NoError(t, err)
	rows, err := a.pool.Query(a.ctx, `SELECT run_id::text, message_id FROM flowc.claim($1::uuid, '{job}', ARRAY[$2::int])`, worker, runs)
	require.NoError(t, err)
	type claimed struct {
		Run     string
		Message int64
	}
	tasks, err := pgx.CollectRows(rows, pgx.RowToStructByPos[claimed])
	require.NoError(t, err)
	require.Len(t, tasks, runs)

	// report reports a task, and says whether that counted.
	report := func(c claimed, outcome string) (accepted bool, err error) {
		var refused int
		err = a.pool.QueryRow(a.ctx, `
SELECT count(*) FILTER (WHERE NOT accepted) FROM flowc.report($1::uuid, ARRAY[$2::uuid], '{job}', '{0}', ARRAY[$3::bigint], '{1}', ARRAY[$4], '{1}', '{no}', '{null}')`,
			worker, c.Run, c.Message, outcome).Scan(&refused)
		return refused == 0, err
	}
	var wins [3]int
	for _, c := range tasks {
		ends := []func() (bool, error){
			func() (bool, error) {
				err := runtime.CancelRun(a.ctx, a.pool, c.Run, "enough")
				if errors.Is(err, runtime.ErrWrongStatus) {
					return false, nil
				}
				return err == nil, err
			},
			func() (bool, error) { return report(c, "completed") },
			func() (bool, error) { return report(c, "permanent") },
		}
		var won [3]bool
		var errs [3]error
		var all sync.WaitGroup
		together := make(chan struct{})
		for i, end := range ends {
			delay := time.Duration(r.IntN(300)) * time.Microsecond
			all.Go(func() {
				<-together
				time.Sleep(delay)
				won[i], errs[i] = end()
			})
		}
		close(together)
		all.Wait()
		require.NoError(t, errors.Join(errs[:]...))
		winners := 0
		for i := range won {
			if won[i] {
				winners++
				wins[i]++
			}
		}
		require.Equal(t, 1, winners, "%v", won)
	}
	t.Logf("cancelled %d, completed %d, failed %d", wins[0], wins[1], wins[2])
	require.Equal(t, wins[0], ask[int](a, `SELECT count(*) FROM flowc.cancelled_runs`))
	require.Equal(t, wins[1], ask[int](a, `SELECT count(*) FROM pgflow.runs WHERE status = 'completed'`))
	require.Equal(t, wins[2], ask[int](a, `SELECT count(*) FROM pgflow.step_states WHERE status = 'failed'`))
	require.Zero(t, a.deadlocks())
	require.Zero(t, ask[int](a, `SELECT count(*) FROM flowc.queue`))
}

// The connection is cut between a start's commit and its reply.
func TestChaosCutStarts(t *testing.T) {
	a := newArena(t, nil, "job")
	var network faultnet.Network
	pool, err := network.Through(a.pool)
	require.NoError(t, err)
	defer pool.Close()
	runs := scaled(1000, 50)
	for i := range runs {
		network.CutReplies("flowc.start", 1)
		run, err := job.Start(a.ctx, pool, number{N: i}, runtime.WithIdempotencyKey(fmt.Sprint(i)))
		require.NoError(t, err)
		require.Equal(t, "job", run.Flow())
	}
	require.Equal(t, runs, network.Cuts())
	require.Equal(t, runs, ask[int](a, `SELECT count(*) FROM pgflow.runs`))
	require.Equal(t, runs, ask[int](a, `SELECT count(*) FROM flowc.queue`))
}

// A transaction with a start in it is rolled back. Nobody ever hears of it.
func TestChaosRolledBackStarts(t *testing.T) {
	a := newArena(t, nil, "job")
	_, err := a.pool.Exec(a.ctx, `INSERT INTO flowc.idle_workers VALUES ('job', gen_random_uuid())`)
	require.NoError(t, err)
	listener, err := pgx.Connect(a.ctx, a.url)
	require.NoError(t, err)
	defer listener.Close(context.Background())
	_, err = listener.Exec(a.ctx, `LISTEN flowc_work`)
	require.NoError(t, err)

	runs := scaled(1000, 200)
	for i := range runs {
		tx, err := a.pool.Begin(a.ctx)
		require.NoError(t, err)
		run, err := job.Start(a.ctx, tx, number{N: i})
		require.NoError(t, err)
		require.NoError(t, tx.Rollback(a.ctx))
		if i%100 == 0 {
			_, err = runtime.GetRun(a.ctx, a.pool, run.ID())
			require.ErrorIs(t, err, runtime.ErrRunNotFound)
		}
	}
	require.Zero(t, ask[int](a, `SELECT count(*) FROM pgflow.runs`))
	require.Zero(t, ask[int](a, `SELECT count(*) FROM flowc.queue`))

	// The first that is heard of is the first that is committed.
	_, err = a.pool.Exec(a.ctx, `NOTIFY flowc_work, 'the end'`)
	require.NoError(t, err)
	note, err := listener.WaitForNotification(a.ctx)
	require.NoError(t, err)
	require.Equal(t, "the end", note.Payload)
	_, err = job.Start(a.ctx, a.pool, number{})
	require.NoError(t, err)
	note, err = listener.WaitForNotification(a.ctx)
	require.NoError(t, err)
	require.Equal(t, "job", note.Payload)
}

// Runs are cancelled and retried at random while workers are at them. Those
// that were retried last end well, and no task is completed twice in one life.
func TestChaosCancelAndRetry(t *testing.T) {
	r := chances(t)
	a := newArena(t, nil, "sum")
	runs := scaled(300, 60)
	f := newFleet(t, errand{URL: a.url, Flow: "sum", Most: 40 * time.Millisecond}, 3)
	l := a.start(a.url, sum, runs, 0)
	<-l.done
	ids := list[string](a, `SELECT run_id::text FROM pgflow.runs`)
	var cancelled, retried atomic.Int64
	var all sync.WaitGroup
	for i := range 4 {
		mine := ids[i*len(ids)/4 : (i+1)*len(ids)/4]
		seed := r.Int64()
		all.Go(func() {
			pauses := time.Duration(seed%5) * time.Millisecond
			for round := range 10 {
				for j, id := range mine {
					if (j+round)%3 != 0 {
						continue
					}
					if steered(a.ctx, a.pool, id, runtime.CancelRun) {
						cancelled.Add(1)
					}
					time.Sleep(pauses)
					if steered(a.ctx, a.pool, id, retry) {
						retried.Add(1)
					}
				}
			}
		})
	}
	all.Wait()
	a.settled(l)
	f.stop()
	t.Logf("%d times cancelled, %d times retried", cancelled.Load(), retried.Load())
	require.Equal(t, cancelled.Load(), retried.Load())
	require.NotZero(t, retried.Load())
	a.auditTables()
	require.Equal(t, runs, ask[int](a, `SELECT count(*) FROM pgflow.runs WHERE status = 'completed'`))
	rows, err := a.pool.Query(a.ctx, `SELECT (input ->> 'n')::int, (output ->> 'total')::int FROM pgflow.runs`)
	require.NoError(t, err)
	var n, total int
	_, err = pgx.ForEachRow(rows, []any{&n, &total}, func() error {
		require.Equal(t, wantSum(n), total)
		return nil
	})
	require.NoError(t, err)
	a.auditEffects(runs * sumTasks) // what completed before it was cancelled is kept
}

func retry(ctx context.Context, db runtime.DB, id, _ string) error {
	return runtime.RetryRun(ctx, db, id)
}

// steered reports whether a run could be cancelled, or retried.
func steered(ctx context.Context, pool *pgxpool.Pool, id string, steer func(context.Context, runtime.DB, string, string) error) bool {
	return steer(ctx, pool, id, "") == nil
}
