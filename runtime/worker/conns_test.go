package worker_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// Workers of one pool have connections of their own, a few each, which are closed when
// they stop, and do each task once.
func TestWorkersOfOnePool(t *testing.T) {
	t.Parallel()
	const workers, jobs, mostConnections = 3, 1500, 8
	ctx := testContext(t)
	flow := job[int, int]("work", spec.Flow{})
	var done atomic.Int64
	service := serve(flow, func(_ context.Context, n int) (int, error) { done.Add(1); return n, nil })
	direct := database(t, service)
	// The connections that workers make like those of this pool have its name, too.
	pool := dbtest.With(t, direct, map[string]string{"application_name": "several"})
	connected := func() int {
		return count(t, direct, `SELECT count(*) FROM pg_stat_activity WHERE application_name = 'several'`)
	}
	_, err := flow.StartMany(ctx, direct, make([]int, jobs))
	require.NoError(t, err)
	var all []*running
	for range workers {
		all = append(all, run(t, pool, worker.Config{Concurrency: 4}, service))
	}
	eventually(t, func() bool { return done.Load() >= jobs }, "not everything was done")
	require.LessOrEqual(t, connected(), workers*mostConnections+1, "one listens for all")
	for _, w := range all {
		require.NoError(t, w.stopped())
	}
	eventually(t, func() bool { return connected() <= 1 }, "connections of workers that have ended") // the listener's stays for a while
	require.Equal(t, jobs, count(t, direct, `SELECT count(*) FROM pgflow.runs WHERE status = 'completed'`))
	require.EqualValues(t, jobs, done.Load())
}
