package worker_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// A worker that is told to stop finishes what it has in flight.
func TestStopDrains(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	began, finish := make(chan struct{}), make(chan struct{})
	flow := job[int, int]("slow", spec.Flow{})
	service := serve(flow, func(ctx context.Context, n int) (int, error) {
		began <- struct{}{}
		<-finish
		return n, ctx.Err()
	})
	pool := database(t, service)
	w := run(t, pool, worker.Config{Concurrency: 1}, service)
	first, err := flow.Start(ctx, pool, 1)
	require.NoError(t, err)
	second, err := flow.Start(ctx, pool, 2)
	require.NoError(t, err)
	receive(t, began)
	w.stop()
	close(finish)
	require.NoError(t, w.stopped())
	out, err := first.Wait(ctx, runtime.WithTimeout(0))
	require.NoError(t, err)
	require.Equal(t, 1, out)
	info, err := second.Info(ctx)
	require.NoError(t, err)
	require.Equal(t, runtime.RunRunning, info.Status)
	require.Equal(t, 1, count(t, pool, `SELECT count(*) FROM pgflow.workers WHERE stopped_at IS NOT NULL`))
	require.Zero(t, count(t, pool, `SELECT count(*) FROM flowc.idle_workers`))
}

// What does not end within the grace period is released and not counted as an attempt.
func TestStopReleases(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	began, causes := make(chan struct{}, 2), make(chan error, 1)
	release := make(chan struct{})
	defer close(release)
	heeding, deaf := job[int, int]("heeding", spec.Flow{}), job[int, int]("deaf", spec.Flow{})
	services := []handler.Service{
		serve(heeding, func(ctx context.Context, _ int) (int, error) {
			began <- struct{}{}
			<-ctx.Done()
			causes <- context.Cause(ctx)
			return 0, ctx.Err()
		}),
		serve(deaf, func(context.Context, int) (int, error) { began <- struct{}{}; <-release; return 0, nil }),
	}
	pool := database(t, services...)
	w := run(t, pool, worker.Config{Grace: 50 * time.Millisecond}, services...)
	one, err := heeding.Start(ctx, pool, 1)
	require.NoError(t, err)
	two, err := deaf.Start(ctx, pool, 1)
	require.NoError(t, err)
	receive(t, began)
	receive(t, began)
	require.NoError(t, w.stopped())
	require.ErrorIs(t, receive(t, causes), handler.ErrWorkerStopping)
	require.EqualValues(t, 2, w.Stats().Released)
	require.Equal(t, 2, count(t, pool, `SELECT count(*) FROM pgflow.step_tasks WHERE status = 'queued' AND attempts_count = 0`))

	next := []handler.Service{
		serve(heeding, func(_ context.Context, n int) (int, error) { return n, nil }),
		serve(deaf, func(_ context.Context, n int) (int, error) { return n, nil }),
	}
	run(t, pool, worker.Config{}, next...)
	for _, r := range []*runtime.Run[int]{one, two} {
		_, err := r.Wait(ctx)
		require.NoError(t, err)
	}
}

// A worker that is to stop now does not wait for its grace period.
func TestStopNow(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	began, causes := make(chan struct{}), make(chan error, 1)
	flow := job[int, int]("long", spec.Flow{})
	service := serve(flow, func(ctx context.Context, n int) (int, error) {
		close(began)
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return 0, ctx.Err()
	})
	pool := database(t, service)
	w := run(t, pool, worker.Config{Grace: time.Hour}, service)
	_, err := flow.Start(ctx, pool, 1)
	require.NoError(t, err)
	receive(t, began)
	w.StopNow()
	w.StopNow()
	require.NoError(t, receive(t, w.done))
	close(w.done)
	require.ErrorIs(t, receive(t, causes), handler.ErrWorkerStopping)
	require.Equal(t, 1, count(t, pool, `SELECT count(*) FROM pgflow.step_tasks WHERE status = 'queued' AND attempts_count = 0`))
	require.EqualValues(t, 1, w.Stats().Released)
}

// Rolling restarts cost no attempts and lose nothing.
func TestRollingRestarts(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	var calls atomic.Int64
	flow := job[int, int]("work", spec.Flow{})
	service := serve(flow, func(_ context.Context, n int) (int, error) {
		calls.Add(1)
		time.Sleep(2 * time.Millisecond) // work
		return n, nil
	})
	pool := database(t, service)
	const runs = 1000
	started, err := flow.StartMany(ctx, pool, make([]int, runs))
	require.NoError(t, err)
	stays := run(t, pool, worker.Config{Concurrency: 4}, service)
	for range 8 {
		w := run(t, pool, worker.Config{Concurrency: 4}, service)
		eventually(t, func() bool {
			return w.Stats().Completed > 20 || count(t, pool, `SELECT count(*) FROM flowc.queue`) == 0
		}, "it works")
		require.NoError(t, w.stopped())
	}
	for _, run := range started {
		_, err := run.Wait(ctx)
		require.NoError(t, err)
	}
	require.EqualValues(t, runs, calls.Load(), "nothing ran twice")
	require.Equal(t, runs, count(t, pool, `SELECT count(*) FROM pgflow.step_tasks WHERE attempts_count = 1 AND requeued_count = 0`))
	require.Zero(t, stays.Stats().Lost)
}
