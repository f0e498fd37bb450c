package worker_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// A run that ended otherwise takes its tasks from the worker.
func TestLostTask(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	began, causes := make(chan struct{}), make(chan error, 1)
	flow := job[int, int]("long", spec.Flow{})
	service := serve(flow, func(ctx context.Context, _ int) (int, error) {
		close(began)
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return 0, ctx.Err()
	})
	pool := database(t, service)
	w := run(t, pool, worker.Config{}, service)
	_, err := flow.Start(ctx, pool, 0)
	require.NoError(t, err)
	receive(t, began)
	_, err = flow.Delete(ctx, pool, runtime.AllowDataLoss())
	require.NoError(t, err)
	require.ErrorIs(t, receive(t, causes), handler.ErrTaskLost)
	eventually(t, func() bool { return w.Stats().Lost == 1 }, "the result is dropped")
}

// The context of a running handler ends when its run is cancelled, with its cause,
// and its result is dropped. A retry runs the task again.
func TestCancelledRunEndsItsHandlers(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	began, causes := make(chan struct{}, 2), make(chan error, 1)
	flow := job[int, string]("long", spec.Flow{})
	service := serve(flow, func(ctx context.Context, _ int) (string, error) {
		began <- struct{}{}
		if len(causes) == cap(causes) {
			return "again", nil
		}
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return "too late", nil
	})
	pool := database(t, service)
	w := run(t, pool, worker.Config{}, service)
	started, err := flow.Start(ctx, pool, 0)
	require.NoError(t, err)
	receive(t, began)
	require.NoError(t, runtime.CancelRun(ctx, pool, started.ID(), "enough"))
	eventually(t, func() bool { return w.Stats().Lost == 1 }, "the result is dropped")
	_, err = started.Wait(ctx)
	failed := failure(t, err)
	require.Equal(t, runtime.RunCancelled, failed.Status)
	require.Equal(t, "enough", failed.Message)
	require.NoError(t, runtime.RetryRun(ctx, pool, started.ID()))
	out, err := started.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, "again", out)
	require.ErrorIs(t, receive(t, causes), handler.ErrTaskLost)
}

// A worker whose heartbeats stop loses its tasks to another, and its late report
// changes nothing.
func TestReclaim(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := job[int, string]("work", spec.Flow{Timeout: time.Second})
	pool := database(t, serve(flow, func(context.Context, int) (string, error) { return "", nil }))

	// The first claims a task without a worker, and then sends no heartbeats.
	_, err := pool.Exec(ctx, `SELECT flowc.register_worker('11111111-1111-1111-1111-111111111111', 'silent', '{work}')`)
	require.NoError(t, err)
	started, err := flow.Start(ctx, pool, 0)
	require.NoError(t, err)
	require.Equal(t, 1, count(t, pool, `SELECT count(*) FROM flowc.claim('11111111-1111-1111-1111-111111111111', '{work}', '{1}')`))

	var attempt atomic.Int64
	run(t, pool, worker.Config{}, serve(flow, func(ctx context.Context, _ int) (string, error) {
		task, _ := handler.TaskFromContext(ctx)
		attempt.Store(int64(task.Attempt))
		return "done", nil
	}))
	out, err := started.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, "done", out)
	require.EqualValues(t, 1, attempt.Load(), "the dead worker's attempt does not count")
	require.Equal(t, 1, count(t, pool, `SELECT requeued_count FROM pgflow.step_tasks`))
}

// A worker that always finds more tasks behind those of its last claim comes back to one
// before them that another has released.
func TestReleasedTaskBesideABacklog(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := job[int, int]("work", spec.Flow{})
	pool := database(t, serve(flow, func(context.Context, int) (int, error) { return 0, nil }))
	const other = "11111111-1111-1111-1111-111111111111"
	_, err := pool.Exec(ctx, `SELECT flowc.register_worker($1, 'other', '{work}')`, other)
	require.NoError(t, err)
	_, err = flow.Start(ctx, pool, 0)
	require.NoError(t, err)
	var message int64
	require.NoError(t, pool.QueryRow(ctx, `SELECT message_id FROM flowc.claim($1, '{work}', '{1}')`, other).Scan(&message))
	_, err = flow.StartMany(ctx, pool, slices.Repeat([]int{1}, 64))
	require.NoError(t, err)

	found := make(chan struct{})
	var worked atomic.Int64
	run(t, pool, worker.Config{Concurrency: 2}, serve(flow, func(ctx context.Context, n int) (int, error) {
		switch {
		case n == 0:
			close(found)
		case ctx.Err() == nil:
			if worked.Add(1) == 16 {
				_, err := pool.Exec(ctx, `SELECT flowc.release($1, '{work}', array[$2::bigint], '{1}')`, other, message)
				require.NoError(t, err)
			}
			select {
			case <-found:
			default:
				_, err := flow.Start(ctx, pool, 1) // so that there is always another
				require.NoError(t, err)
			}
		}
		return 0, nil
	}))
	receive(t, found)
}
