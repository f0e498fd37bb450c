package runtime_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/flowtest"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// approvals is a flow that waits for an answer and then ships.
var approvals = runtime.NewFlow[greet](spec.Flow{Slug: "approvals", Steps: []spec.Step{
	{Slug: "approve", Type: spec.TypeWait, Timeout: time.Hour},
	{Slug: "ship", Deps: []string{"approve"}},
}}, handler.Output[string]("ship"))

// approving is a database with the flow, and a worker that serves it until stop is called.
func approving(t *testing.T) (pool *pgxpool.Pool, stop func()) {
	t.Helper()
	pool = dbtest.Pool(t)
	_, err := approvals.Upsert(t.Context(), pool)
	require.NoError(t, err)
	w, err := worker.New(pool, worker.Config{}, approvals.Serve([]handler.Handler{
		handler.Handle("ship", handler.Output[string]("approve"), func(_ context.Context, answer string) (string, error) { return answer, nil }),
	}))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			require.NoError(t, <-done)
		}
	}
	t.Cleanup(stop)
	return pool, stop
}

// What a transaction asks for is done after it commits, in its order; until then, and if it
// is rolled back, nothing happens.
func TestRequestsOfATransaction(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool, _ := approving(t)
	run, err := approvals.Start(ctx, pool, greet{})
	require.NoError(t, err)
	for _, commit := range []bool{false, true} {
		tx, err := pool.Begin(ctx)
		require.NoError(t, err)
		require.NoError(t, runtime.CancelRun(ctx, tx, run.ID(), "not wanted"))
		require.NoError(t, runtime.RetryRun(ctx, tx, run.ID()))
		require.NoError(t, runtime.CancelRun(ctx, tx, run.ID(), "not wanted after all"))
		n, err := ops.RunNow(ctx, tx, run.ID(), "")
		require.NoError(t, err)
		require.Zero(t, n)
		info, err := runtime.GetRun(ctx, tx, run.ID())
		require.NoError(t, err)
		require.Equal(t, runtime.RunWaiting, info.Status)
		reasons, err := runtime.ExplainRun(ctx, tx, run.ID())
		require.NoError(t, err)
		require.True(t, slices.ContainsFunc(reasons, func(r runtime.Reason) bool { // a busy machine may give others before it
			return strings.Contains(r.String(), "not done yet: cancel: not wanted")
		}), "%v", reasons)
		if !commit {
			require.NoError(t, tx.Rollback(ctx))
			continue
		}
		require.NoError(t, tx.Commit(ctx))
	}
	_, err = run.Wait(ctx)
	var failed *runtime.RunFailedError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, runtime.RunCancelled, failed.Status)
	require.Equal(t, "not wanted after all", failed.Message)
}

// What cannot be done at once, because somebody else holds the run, is requested.
func TestRequestsOfAHeldRun(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool, stop := approving(t)
	run, err := approvals.Start(ctx, pool, greet{})
	require.NoError(t, err)
	stop()
	tx, err := pool.Begin(ctx)
	require.NoError(t, err)
	_, err = tx.Exec(ctx, `SELECT FROM pgflow.runs WHERE run_id = $1 FOR UPDATE`, run.ID())
	require.NoError(t, err)
	require.ErrorIs(t, runtime.CancelRun(ctx, pool, run.ID(), "first"), runtime.ErrRequested)
	require.ErrorIs(t, runtime.RetryRun(ctx, pool, run.ID()), runtime.ErrRequested)
	require.ErrorIs(t, runtime.RetryStep(ctx, pool, run.ID(), "ship"), runtime.ErrRequested)
	require.ErrorIs(t, runtime.RetryStep(ctx, pool, run.ID(), "nothing"), runtime.ErrRunNotFound)
	_, err = ops.RunNow(ctx, pool, run.ID(), "")
	require.ErrorIs(t, err, runtime.ErrRequested)
	signalled, err := runtime.Signal(ctx, pool, run.ID(), "approve", "yes")
	require.NoError(t, err)
	require.Equal(t, runtime.Accepted, signalled)
	require.NoError(t, tx.Rollback(ctx))
	require.NoError(t, runtime.CancelRun(ctx, pool, run.ID(), "last"), "the others are done before it")
	info, err := runtime.GetRun(ctx, pool, run.ID())
	require.NoError(t, err)
	require.Equal(t, "last", info.CancelReason)
}

// An answer whose transaction commits late is taken like any other.
func TestSignalInATransaction(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool, _ := approving(t)
	tx, err := pool.Begin(ctx)
	require.NoError(t, err)
	run, err := approvals.Start(ctx, tx, greet{})
	require.NoError(t, err)
	signalled, err := approvals.Signal(ctx, tx, run.ID(), "approve", "in the transaction that starts it")
	require.NoError(t, err)
	require.Equal(t, runtime.Accepted, signalled)
	require.NoError(t, tx.Commit(ctx))
	out, err := run.Via(pool).Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, "in the transaction that starts it", out)

	run, err = approvals.Start(ctx, pool, greet{})
	require.NoError(t, err)
	other, err := approvals.Start(ctx, pool, greet{})
	require.NoError(t, err)
	tx, err = pool.Begin(ctx)
	require.NoError(t, err)
	_, err = runtime.Signal(ctx, tx, run.ID(), "approve", "late")
	require.NoError(t, err)
	_, err = runtime.Signal(ctx, pool, other.ID(), "approve", "soon")
	require.NoError(t, err)
	out, err = other.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, "soon", out, "others do not wait for the transaction")
	require.NoError(t, tx.Commit(ctx))
	out, err = run.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, "late", out)
	_, err = typed.Signal(ctx, pool, run.ID(), "approve", "x")
	require.ErrorIs(t, err, runtime.ErrRunNotFound, "it is no run of that flow")
}

// A run says for what it waits.
func TestExplainAWait(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool, _ := approving(t)
	run, err := approvals.Start(ctx, pool, greet{})
	require.NoError(t, err)
	reasons, err := runtime.ExplainRun(ctx, pool, run.ID())
	require.NoError(t, err)
	var waiting []runtime.Reason
	for _, r := range reasons {
		if r.Kind == runtime.ReasonWaiting {
			waiting = append(waiting, r)
		}
		require.NotEqual(t, runtime.ReasonStuck, r.Kind)
	}
	require.Len(t, waiting, 1)
	require.Equal(t, time.Hour, waiting[0].Until.Sub(waiting[0].Since).Round(time.Minute))
	require.Regexp(t, `^waiting for approve since .*, until .* \(in 1 hour\)$`, waiting[0].String())
	runs, err := ops.ListRuns(ctx, pool, ops.RunFilter{Statuses: []runtime.RunStatus{runtime.RunWaiting}})
	require.NoError(t, err)
	require.Len(t, runs, 1)
	require.Equal(t, runtime.RunWaiting, runs[0].Status)
}

// The list of those who wait has all versions of the flow, and one that cannot be read does
// not hide the others.
func TestWaitingOfAllVersions(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var served []handler.Service
	for _, slug := range []string{"approvals", "approvals_v2", "approvals_of_others"} {
		served = append(served, approvals.As(slug).Serve([]handler.Handler{
			handler.Handle("ship", handler.Nothing(), handler.NoInput(func(context.Context) (string, error) { return "", nil })),
		}))
	}
	for name, db := range map[string]runtime.DB{"database": dbtest.Pool(t), "inline": flowtest.Inline(served...)} {
		t.Run(name, func(t *testing.T) {
			var ids []string
			for _, slug := range []string{"approvals", "approvals_v2", "approvals_of_others"} {
				flow := approvals.As(slug)
				_, err := flow.Upsert(ctx, db)
				require.NoError(t, err)
				run, err := flow.Start(ctx, db, greet{Name: slug})
				require.NoError(t, err)
				ids = append(ids, run.ID())
			}
			odd, err := runtime.StartFlow(ctx, db, "approvals", []int{1})
			require.NoError(t, err)
			for _, flow := range []string{"approvals", "approvals_v2"} {
				waiting, err := runtime.ListWaitingFor(ctx, db, flow, "approve", handler.Input[greet](), runtime.WaitingFilter{})
				require.NoError(t, err)
				require.Len(t, waiting, 3)
				for _, w := range waiting {
					if w.RunID == odd.ID() {
						var wrong *runtime.OutputError
						require.ErrorAs(t, w.Err, &wrong)
						require.ErrorContains(t, w.Err, "input of step approve")
						continue
					}
					require.NoError(t, w.Err)
					require.Contains(t, ids[:2], w.RunID)
					require.Equal(t, w.Flow, w.Input.Name)
				}
			}
		})
	}
}
