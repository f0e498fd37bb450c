package worker_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// Finished tasks are left behind the watermark: claims no longer read them.
func TestWatermarksAdvance(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := job[int, int]("work", spec.Flow{})
	service := serve(flow, func(_ context.Context, n int) (int, error) { return n, nil })
	pool := database(t, service)
	w := run(t, pool, worker.Config{Concurrency: 100}, service)
	started := 0
	for first := -1; first < 1500; first = count(t, pool, `SELECT coalesce(max(message_id), 0) FROM flowc.watermarks`) {
		_, err := flow.StartMany(ctx, pool, make([]int, 1500))
		require.NoError(t, err)
		started += 1500
		eventually(t, func() bool { return w.Stats().Completed == int64(started) }, "all are done")
		time.Sleep(500 * time.Millisecond)
	}
	require.Equal(t, started, count(t, pool, `SELECT count(*) FROM pgflow.runs WHERE status = 'completed'`))
}

// A worker that is deprecated in the database stops by itself.
func TestDeprecated(t *testing.T) {
	t.Parallel()
	flow := job[int, int]("work", spec.Flow{})
	service := serve(flow, func(_ context.Context, n int) (int, error) { return n, nil })
	pool := database(t, service)
	w := run(t, pool, worker.Config{}, service)
	eventually(t, func() bool { return count(t, pool, `SELECT count(*) FROM pgflow.workers`) == 1 }, "it is registered")
	_, err := pool.Exec(context.Background(), `UPDATE pgflow.workers SET deprecated_at = now()`)
	require.NoError(t, err)
	require.NoError(t, receive(t, w.done))
	close(w.done)
}

// A worker whose row was deleted registers again.
func TestRegistersAgain(t *testing.T) {
	t.Parallel()
	flow := job[int, int]("work", spec.Flow{})
	service := serve(flow, func(_ context.Context, n int) (int, error) { return n, nil })
	pool := database(t, service)
	run(t, pool, worker.Config{}, service)
	for range 2 {
		eventually(t, func() bool { return count(t, pool, `SELECT count(*) FROM pgflow.workers`) == 1 }, "it is registered")
		_, err := pool.Exec(context.Background(), `DELETE FROM pgflow.workers`)
		require.NoError(t, err)
	}
	eventually(t, func() bool { return count(t, pool, `SELECT count(*) FROM pgflow.workers`) == 1 }, "it is registered")
}
