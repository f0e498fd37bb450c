package worker_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// TestRetention has three workers delete what is old, of their flows and of no
// other, and nothing that has not ended.
func TestRetention(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	echo := func(_ context.Context, in int) (int, error) { return in, nil }
	mine, other := job[int, int]("mine", spec.Flow{}), job[int, int]("other", spec.Flow{})
	pool := database(t, serve(mine, echo), serve(other, echo))

	first := run(t, pool, worker.Config{}, serve(mine, echo), serve(other, echo))
	for range 250 {
		_, err := mine.Start(ctx, pool, 1)
		require.NoError(t, err)
	}
	_, err := other.Start(ctx, pool, 1)
	require.NoError(t, err)
	eventually(t, func() bool {
		return count(t, pool, `SELECT count(*) FROM pgflow.runs WHERE status = 'completed'`) == 251
	}, "the runs do not end")
	require.NoError(t, first.stopped())
	_, err = pool.Exec(ctx, `UPDATE pgflow.runs SET started_at = started_at - interval '2 hours', completed_at = completed_at - interval '2 hours'`)
	require.NoError(t, err)
	later, err := mine.StartIn(ctx, pool, 2, time.Hour)
	require.NoError(t, err)
	_, err = pool.Exec(ctx, `UPDATE pgflow.runs SET started_at = started_at - interval '2 hours' WHERE status = 'started'`)
	require.NoError(t, err)

	var workers []*running
	for range 3 {
		workers = append(workers, run(t, pool, worker.Config{Retention: time.Hour}, serve(mine, echo)))
	}
	fresh, err := mine.Start(ctx, pool, 3)
	require.NoError(t, err)
	eventually(t, func() bool { return count(t, pool, `SELECT count(*) FROM pgflow.runs`) == 3 }, "the old runs are still there")
	for _, r := range []*runtime.Run[int]{later, fresh} {
		_, err := r.Info(ctx)
		require.NoError(t, err)
	}
	pruned := int64(0)
	for _, w := range workers {
		require.NoError(t, w.stopped())
		pruned += w.Stats().Pruned
	}
	require.Equal(t, int64(250), pruned)
}

func TestNoRetention(t *testing.T) {
	t.Parallel()
	echo := serve(job[int, int]("mine", spec.Flow{}), func(_ context.Context, in int) (int, error) { return in, nil })
	ctx, pool, _ := contract(t, echo)
	_, err := worker.New(pool, worker.Config{Retention: -time.Hour}, echo)
	require.EqualError(t, err, "flowc: worker: Retention is -1h0m0s, it must be positive, or 0 to keep runs for ever")
	w, err := worker.New(pool, worker.Config{Retention: time.Hour}, echo)
	require.NoError(t, err)
	err = w.Run(ctx)
	require.ErrorIs(t, err, runtime.ErrNeedsEngine)
	require.ErrorContains(t, err, "Retention is set")
}
