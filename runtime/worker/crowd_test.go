package worker_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/worker"
)

func connected(t *testing.T, pool *pgxpool.Pool, name string) int {
	t.Helper()
	return count(t, pool, `SELECT count(*) FROM pg_stat_activity WHERE application_name = $1`, name)
}

// Many workers in one process do all there is on the connections they share, which
// are closed with the last of them.
func TestCrowd(t *testing.T) {
	t.Parallel()
	const workers, jobs = 12, 1500
	ctx := testContext(t)
	flow := job[int, int]("work", runtime.FlowOptions{})
	var done atomic.Int64
	service := serve(flow, func(_ context.Context, n int) (int, error) { done.Add(1); return n, nil })
	direct := database(t, service)
	// The connections that workers make like those of this pool have its name, too.
	pool := dbtest.With(t, direct, map[string]string{"application_name": "crowd"})
	_, err := flow.StartMany(ctx, direct, make([]int, jobs))
	require.NoError(t, err)
	var all []*running
	for range workers {
		all = append(all, run(t, pool, worker.Config{Concurrency: 4}, service))
	}
	eventually(t, func() bool { return done.Load() >= jobs }, "not everything was done")
	for _, w := range all {
		require.NoError(t, w.stopped())
	}
	pool.Close()
	eventually(t, func() bool { return connected(t, direct, "crowd") <= 1 }, "connections of workers that have ended") // the listener's stays for a while
	require.Equal(t, jobs, count(t, direct, `SELECT count(*) FROM pgflow.runs WHERE status = 'completed'`))
}

// Workers that wait for a lock keep no other from its work.
func TestStuckNeighbours(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	stuck := job[int, int]("stuck", runtime.FlowOptions{})
	free := job[int, int]("free", runtime.FlowOptions{})
	began, release := make(chan struct{}, 10), make(chan struct{})
	waiting := serve(stuck, func(_ context.Context, n int) (int, error) { began <- struct{}{}; <-release; return n, nil })
	working := serve(free, func(_ context.Context, n int) (int, error) { return n, nil })
	pool := database(t, waiting, working)
	var runs []*runtime.Run[int]
	for range 6 {
		run(t, pool, worker.Config{Concurrency: 1}, waiting)
		r, err := stuck.Start(ctx, pool, 0)
		require.NoError(t, err)
		runs = append(runs, r)
		receive(t, began)
	}
	tx, err := pool.Begin(ctx)
	require.NoError(t, err)
	_, err = tx.Exec(ctx, `SELECT FROM pgflow.runs FOR UPDATE`)
	require.NoError(t, err)
	close(release)
	eventually(t, func() bool {
		return count(t, pool, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) >= len(runs)
	}, "not all reports wait")

	run(t, pool, worker.Config{}, working)
	for range 20 {
		at := time.Now()
		_, err := free.StartSync(ctx, pool, 0)
		require.NoError(t, err)
		require.Less(t, time.Since(at), 2*time.Second, "it waited for its neighbours")
	}
	require.NoError(t, tx.Rollback(ctx))
	for _, r := range runs {
		_, err := r.Wait(ctx)
		require.NoError(t, err)
	}
}
