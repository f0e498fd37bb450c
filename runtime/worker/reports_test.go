package worker_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
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

// While their runs are locked, three results for each slot wait, and then slots stay taken:
// what a worker that is killed has done in vain is bounded.
func TestResultsOfLockedRunsWait(t *testing.T) {
	t.Parallel()
	const concurrency, most, many = 4, 4 * 4, 60
	ctx := testContext(t)
	var calls atomic.Int64
	flow := job[int, int]("job", spec.Flow{})
	service := serve(flow, func(_ context.Context, n int) (int, error) { calls.Add(1); return n, nil })
	pool := database(t, service)
	runs, err := flow.StartMany(ctx, pool, make([]int, many))
	require.NoError(t, err)
	tx, err := pool.Begin(ctx)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	_, err = tx.Exec(ctx, `SELECT FROM pgflow.runs FOR UPDATE`)
	require.NoError(t, err)
	w := run(t, pool, worker.Config{Concurrency: concurrency}, service)
	eventually(t, func() bool { return calls.Load() >= most }, "too little is claimed")
	time.Sleep(time.Second)
	require.EqualValues(t, most, calls.Load(), "more is claimed than may wait")
	require.Equal(t, most, w.Health().InFlight)
	require.NoError(t, tx.Rollback(ctx))
	for _, r := range runs {
		_, err := r.Wait(ctx)
		require.NoError(t, err)
	}
	require.EqualValues(t, many, calls.Load())
	w.counted(worker.Stats{Claimed: many, Completed: many})
}

// An output that cannot be stored affects no other result, although it is reported
// together with others.
func TestPoisonInABatch(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	const runs = 16
	var together = make(chan struct{})
	var arrived atomic.Int64
	flow := job[int, json.RawMessage]("maybe", atOnce)
	service := serve(flow, func(_ context.Context, n int) (json.RawMessage, error) {
		if arrived.Add(1) == runs {
			close(together)
		}
		<-together
		if n%4 == 3 {
			return json.RawMessage(`"\ud800"`), nil
		}
		return json.RawMessage(`"fine"`), nil
	})
	pool := database(t, service)
	var ins []int
	for n := range runs {
		ins = append(ins, n)
	}
	started, err := flow.StartMany(ctx, pool, ins)
	require.NoError(t, err)
	w := run(t, pool, worker.Config{Concurrency: runs}, service)
	for n, run := range started {
		out, err := run.Wait(ctx)
		if n%4 == 3 {
			require.Contains(t, failure(t, err).Message, "the output cannot be stored")
		} else {
			require.NoError(t, err)
			require.JSONEq(t, `"fine"`, string(out))
		}
	}
	w.counted(worker.Stats{Claimed: runs, Completed: 12, Failed: 4})
}

// TestReportsBesideALockedRun: a transaction that steers a run and stays open holds up no
// other run. The result of the run's own handler is kept, and reported when the transaction
// has ended, even if the worker is told to stop meanwhile.
func TestReportsBesideALockedRun(t *testing.T) {
	t.Parallel()
	for _, stopping := range []bool{false, true} {
		t.Run(map[bool]string{false: "working", true: "stopping"}[stopping], func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			const held = 0
			var attempts atomic.Int64
			begun, goOn := make(chan int, 100), make(chan struct{})
			flow := job[int, int]("job", spec.Flow{})
			service := serve(flow, func(_ context.Context, n int) (int, error) {
				if n == held {
					attempts.Add(1)
				}
				begun <- n
				<-goOn
				return n, nil
			})
			pool := database(t, service)
			r := run(t, pool, worker.Config{Concurrency: 20}, service)
			runs, err := flow.StartMany(ctx, pool, []int{held, 1, 2, 3, 4, 5, 6, 7, 8, 9})
			require.NoError(t, err)
			for range runs {
				receive(t, begun)
			}
			tx, err := pool.Begin(ctx)
			require.NoError(t, err)
			defer func() { _ = tx.Rollback(context.Background()) }()
			require.NoError(t, runtime.CancelRun(ctx, tx, runs[held].ID(), "perhaps"))
			close(goOn)

			for n, one := range runs[1:] {
				out, err := one.Wait(ctx)
				require.NoError(t, err)
				require.Equal(t, n+1, out)
			}
			more, err := flow.Start(ctx, pool, 10) // and it goes on
			require.NoError(t, err)
			_, err = more.Wait(ctx)
			require.NoError(t, err)

			if stopping {
				r.stop()
				require.Eventually(t, func() bool { return r.Health().State == worker.StateStopping }, patience, time.Millisecond)
			}
			require.NoError(t, tx.Rollback(ctx))
			out, err := runs[held].Wait(ctx)
			require.NoError(t, err)
			require.Equal(t, held, out)
			require.EqualValues(t, 1, attempts.Load())
			require.NoError(t, r.stopped())
		})
	}
}
