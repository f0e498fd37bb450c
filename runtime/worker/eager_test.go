package worker_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/internal/eager"
	"github.com/flowc-dev/flowc/runtime/internal/faultnet"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// awaitIdle waits until a worker of a pool waits for work, so that starts claim for it.
func awaitIdle(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	eventually(t, func() bool { return eager.FindIdle(pool, "work") != nil }, "no worker is idle")
}

// notified returns how often a worker was notified while runs were started and waited for,
// one after the other, each when the worker was idle again.
func notified(t *testing.T, pool *pgxpool.Pool, seen *records, runs int, idle func() bool, start func(n int) (*runtime.Run[int], error)) int {
	t.Helper()
	ctx := testContext(t)
	eventually(t, func() bool { return count(t, pool, `SELECT count(*) FROM flowc.idle_workers`) > 0 }, "no worker is idle")
	before := seen.wokenBy(worker.WakeReasonNotification)
	for i := range runs {
		eventually(t, idle, "it is idle again")
		r, err := start(i)
		require.NoError(t, err)
		got, err := r.Via(pool).Wait(ctx)
		require.NoError(t, err)
		require.Equal(t, i, got)
	}
	return seen.wokenBy(worker.WakeReasonNotification) - before
}

// A start in the process of a worker that is idle claims for it, and nobody is notified.
func TestEagerStart(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := job[int, int]("work", spec.Flow{})
	service := serve(flow, func(_ context.Context, n int) (int, error) { return n, nil })
	pool := database(t, service)
	seen := newRecords()
	w := run(t, pool, worker.Config{Metrics: seen}, service)
	const runs = 20
	idle := func() bool { return eager.FindIdle(pool, "work") != nil }

	// Now and then a start may come before the worker is idle again.
	require.Less(t, notified(t, pool, seen, runs, idle, func(n int) (*runtime.Run[int], error) { return flow.Start(ctx, pool, n) }), runs/2)

	// Through another pool, and in a transaction, a start knows of no worker.
	other := dbtest.With(t, pool, nil)
	require.NotZero(t, notified(t, pool, seen, runs, idle, func(n int) (*runtime.Run[int], error) { return flow.Start(ctx, other, n) }))
	require.NotZero(t, notified(t, pool, seen, runs, idle, func(n int) (*runtime.Run[int], error) {
		tx, err := pool.Begin(ctx)
		require.NoError(t, err)
		r, err := flow.Start(ctx, tx, n)
		require.NoError(t, err)
		return r, tx.Commit(ctx)
	}))
	w.counted(worker.Stats{Claimed: 3 * runs, Completed: 3 * runs})

	// What a start says is the same.
	first, err := flow.Start(ctx, pool, 1, runtime.WithIdempotencyKey("once"))
	require.NoError(t, err)
	require.False(t, first.Existed())
	again, err := flow.Start(ctx, pool, 2, runtime.WithIdempotencyKey("once"))
	require.NoError(t, err)
	require.True(t, again.Existed())
	require.Equal(t, first.ID(), again.ID())
	_, err = first.Wait(ctx)
	require.NoError(t, err)
	_, err = runtime.DeleteFlow(ctx, pool, "work")
	require.NoError(t, err)
	awaitIdle(t, pool)
	_, err = flow.Start(ctx, pool, 1)
	var missing *runtime.FlowNotFoundError
	require.ErrorAs(t, err, &missing)
}

// Starts whose replies are lost leave one run each, and tasks that were claimed with
// them are released at once, not when their leases expire.
func TestEagerStartsLost(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := job[int, int]("work", spec.Flow{Timeout: time.Hour})
	service := serve(flow, func(_ context.Context, n int) (int, error) { return n, nil })
	direct := database(t, service)
	var network faultnet.Network
	pool := through(t, &network, direct)
	run(t, pool, worker.Config{}, service)
	awaitIdle(t, pool)
	const cuts = 5
	network.CutReplies("suppress_notify => true", cuts)
	for i := range 3 * cuts {
		got, err := flow.StartSync(ctx, pool, i)
		require.NoError(t, err)
		require.Equal(t, i, got)
		awaitIdle(t, pool)
	}
	require.Equal(t, cuts, network.Cuts())
	require.Equal(t, 3*cuts, count(t, direct, `SELECT count(*) FROM pgflow.step_tasks WHERE attempts_count = 1 AND requeued_count = 0`))
}

// Workers come and go while starts claim for them: no run is lost, and none waits for
// the lease of a worker that has ended.
func TestEagerStartsOfEndingWorkers(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := job[int, int]("work", spec.Flow{Timeout: time.Hour})
	service := serve(flow, func(_ context.Context, n int) (int, error) { return n, nil })
	pool := database(t, service)
	stop := make(chan struct{})
	var started atomic.Int64
	ended := make(chan error, 3)
	for range cap(ended) {
		go func() {
			for {
				select {
				case <-stop:
					ended <- nil
					return
				default:
				}
				if _, err := flow.Start(ctx, pool, 1); err != nil {
					ended <- err
					return
				}
				started.Add(1)
				time.Sleep(2 * time.Millisecond)
			}
		}()
	}
	for range 10 {
		w := run(t, pool, worker.Config{Concurrency: 4}, service)
		time.Sleep(150 * time.Millisecond)
		require.NoError(t, w.stopped())
		require.Zero(t, count(t, pool, `SELECT count(*) FROM pgflow.step_tasks WHERE status = 'started'`), "a worker that ended left tasks")
	}
	close(stop)
	for range cap(ended) {
		require.NoError(t, receive(t, ended))
	}
	run(t, pool, worker.Config{}, service)
	eventually(t, func() bool {
		return count(t, pool, `SELECT count(*) FROM pgflow.runs WHERE status = 'completed'`) == int(started.Load())
	}, "runs were lost")
}

// Starts claim only for workers that can run whatever they start, at once.
func TestWorkersThatEagerStartsSkip(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		step       spec.Step
		limits     []handler.ServeOption
		parameters map[string]string
	}{
		"limited": {limits: []handler.ServeOption{handler.Limit(4)}},
		"delayed": {step: spec.Step{StartDelay: time.Second}},
		"strict":  {parameters: map[string]string{"default_transaction_isolation": "serializable"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			c.step.Slug = "work"
			flow := runtime.NewFlow[int](spec.Flow{Slug: "work", Steps: []spec.Step{c.step}}, handler.Output[int]("work"))
			service := handler.Serve(flow.Definition(), []handler.Handler{
				handler.Handle("work", handler.Input[int](), func(_ context.Context, n int) (int, error) { return n, nil })}, c.limits...)
			pool := dbtest.With(t, database(t, service), c.parameters)
			seen := newRecords()
			run(t, pool, worker.Config{Metrics: seen}, service)
			idle := func() bool { return count(t, pool, `SELECT count(*) FROM flowc.idle_workers`) == 1 }
			require.NotZero(t, notified(t, pool, seen, 2, idle, func(n int) (*runtime.Run[int], error) { return flow.Start(ctx, pool, n) }))
		})
	}
}
