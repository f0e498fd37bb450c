package worker_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// A result that waits to be reported for longer than its lease was to last is not done
// again by anybody.
func TestWaitingResultKeepsItsLease(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	var calls atomic.Int64
	flow := job[int, int]("work", spec.Flow{Timeout: time.Second})
	service := serve(flow, func(_ context.Context, n int) (int, error) { calls.Add(1); return n, nil })
	pool := database(t, service)
	// Reports wait here for the test, and nothing else does.
	_, err := pool.Exec(ctx, `
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NEW; END $$;
CREATE TRIGGER wait BEFORE UPDATE ON pgflow.step_states FOR EACH ROW WHEN (new.status = 'completed') EXECUTE FUNCTION wait()`)
	require.NoError(t, err)
	tx, err := pool.Begin(ctx)
	require.NoError(t, err)
	_, err = tx.Exec(ctx, `SELECT pg_advisory_xact_lock(7)`)
	require.NoError(t, err)
	started, err := flow.StartMany(ctx, pool, make([]int, 40))
	require.NoError(t, err)
	for range 2 {
		run(t, pool, worker.Config{Concurrency: 20}, service)
	}
	eventually(t, func() bool { return calls.Load() == 40 }, "not everything was begun")
	// Claims look for what has lost its lease all the time; one more lease than three
	// would end the tasks.
	time.Sleep(8 * time.Second)
	require.EqualValues(t, 40, calls.Load(), "what waits to be reported was done again")
	require.NoError(t, tx.Rollback(ctx))
	for _, r := range started {
		_, err := r.Wait(ctx)
		require.NoError(t, err)
	}
	require.EqualValues(t, 40, calls.Load())
	require.Zero(t, count(t, pool, `SELECT count(*) FROM pgflow.step_tasks WHERE attempts_count > 1`))
}

// Large results whose reports take long do not keep small ones waiting, and how much waits
// is bounded: no more is claimed then.
func TestLargeResultsWait(t *testing.T) {
	t.Parallel()
	const megabytes, concurrency = 8, 8
	ctx := testContext(t)
	var calls atomic.Int64
	large, small := job[int, string]("large", spec.Flow{}), job[int, int]("small", spec.Flow{})
	text := strings.Repeat("flow", megabytes<<18-100)
	services := []handler.Service{
		serve(large, func(context.Context, int) (string, error) { calls.Add(1); return text, nil }),
		serve(small, func(_ context.Context, n int) (int, error) { return n, nil }),
	}
	pool := database(t, services...)
	_, err := pool.Exec(ctx, `
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NEW; END $$;
CREATE TRIGGER wait BEFORE UPDATE ON pgflow.step_tasks FOR EACH ROW WHEN (new.flow_slug = 'large' AND new.status = 'completed') EXECUTE FUNCTION wait()`)
	require.NoError(t, err)
	tx, err := pool.Begin(ctx)
	require.NoError(t, err)
	_, err = tx.Exec(ctx, `SELECT pg_advisory_xact_lock(7)`)
	require.NoError(t, err)
	w := run(t, pool, worker.Config{Concurrency: concurrency}, services...)
	const few, smalls, many = 3, 20, 16
	first, err := large.StartMany(ctx, pool, make([]int, few))
	require.NoError(t, err)
	eventually(t, func() bool { return calls.Load() == few }, "not all have results")
	for n := range smalls {
		out, err := small.StartSync(ctx, pool, n)
		require.NoError(t, err, "small results wait for large ones")
		require.Equal(t, n, out)
	}
	rest, err := large.StartMany(ctx, pool, make([]int, many))
	require.NoError(t, err)
	const most = 64/megabytes + concurrency // what may wait, and what the slots give then
	eventually(t, func() bool { return calls.Load() == most }, "too little is claimed")
	time.Sleep(time.Second)
	require.EqualValues(t, most, calls.Load(), "more is claimed than may wait")
	require.Equal(t, most, w.Health().InFlight)
	require.NoError(t, tx.Rollback(ctx))
	for _, r := range append(first, rest...) {
		_, err := r.Wait(ctx)
		require.NoError(t, err)
	}
	require.EqualValues(t, few+many, calls.Load())
	w.counted(worker.Stats{Claimed: few + smalls + many, Completed: few + smalls + many, FailedCalls: w.Stats().FailedCalls})
}
