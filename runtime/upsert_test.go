package runtime_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

func TestUpsert(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	longer := spec.Flow{Steps: append(greeting.Steps[:2:2], spec.Step{Slug: "bow"})}
	upsert := func(flow spec.Flow, opts ...runtime.UpsertOption) runtime.UpsertResult {
		t.Helper()
		result, err := runtime.UpsertFlow(ctx, pool, flow.As("dynamic"), opts...)
		require.NoError(t, err)
		return result
	}
	require.Equal(t, runtime.UpsertResult{Status: runtime.UpsertCompiled, Differences: []string{}}, upsert(greeting))
	require.Equal(t, runtime.UpsertVerified, upsert(greeting).Status)

	patient := greeting
	patient.MaxAttempts, patient.Timeout = 9, time.Hour
	run, err := runtime.StartFlow(ctx, pool, "dynamic", nil)
	require.NoError(t, err)
	require.Equal(t, runtime.UpsertOptionsUpdated, upsert(patient).Status)
	require.Equal(t, 9, count(t, pool, `SELECT opt_max_attempts FROM pgflow.flows WHERE flow_slug = 'dynamic'`))
	require.Equal(t, 3600, count(t, pool, `SELECT opt_timeout FROM pgflow.flows WHERE flow_slug = 'dynamic'`))
	require.Equal(t, 1, count(t, pool, `SELECT opt_base_delay FROM pgflow.flows WHERE flow_slug = 'dynamic'`))

	result, err := runtime.UpsertFlow(ctx, pool, longer.As("dynamic"))
	var mismatch *runtime.MismatchError
	require.ErrorAs(t, err, &mismatch)
	require.Equal(t, runtime.UpsertMismatch, result.Status)
	require.NotEmpty(t, mismatch.Differences)
	require.Equal(t, mismatch.Differences, result.Differences)
	_, err = run.Info(ctx)
	require.NoError(t, err)

	result = upsert(longer, runtime.AllowDataLoss())
	require.Equal(t, runtime.UpsertRecompiled, result.Status)
	require.Equal(t, 1, result.DeletedRuns)
	require.Equal(t, mismatch.Differences, result.Differences)
	_, err = run.Info(ctx)
	require.ErrorIs(t, err, runtime.ErrRunNotFound)
}

func TestTypedUpsertKeepsRuns(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	run, err := typed.Start(ctx, pool, greet{})
	require.NoError(t, err)
	changed := runtime.NewFlow[greet](spec.Flow{
		Slug: "greeting", Steps: []spec.Step{{Slug: "wave"}},
	}, handler.Nothing())
	_, err = changed.Upsert(ctx, pool)
	require.ErrorAs(t, err, new(*runtime.MismatchError))
	_, err = run.Info(ctx)
	require.NoError(t, err)
	result, err := changed.Upsert(ctx, pool, runtime.AllowDataLoss())
	require.NoError(t, err)
	require.Equal(t, runtime.UpsertRecompiled, result.Status)
	require.Equal(t, 1, result.DeletedRuns)
}

func TestUpsertInvalid(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	_, err := runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "bad", Steps: []spec.Step{{Slug: "a", Deps: []string{"b"}}}})
	require.ErrorAs(t, err, new(*spec.InvalidFlowError))
	exists, err := runtime.FlowExists(ctx, pool, "bad")
	require.NoError(t, err)
	require.False(t, exists)
}

// Callers that put the same flow there at the same time all succeed.
func TestUpsertTogether(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	const callers = 10
	results := make(chan runtime.UpsertStatus, callers)
	for range callers {
		go func() {
			result, err := runtime.UpsertFlow(ctx, pool, greeting.As("together"))
			if err != nil {
				t.Error(err)
			}
			results <- result.Status
		}()
	}
	statuses := map[runtime.UpsertStatus]int{}
	for range callers {
		statuses[receive(t, results)]++
	}
	require.Equal(t, map[runtime.UpsertStatus]int{runtime.UpsertCompiled: 1, runtime.UpsertVerified: callers - 1}, statuses)
}

func TestDeleteAndExists(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	exists, err := typed.Exists(ctx, pool)
	require.NoError(t, err)
	require.True(t, exists)
	exists, err = runtime.FlowExists(ctx, pool, "Greeting")
	require.NoError(t, err)
	require.False(t, exists, "case matters")
	_, err = runtime.FlowExists(ctx, pool, "no such slug")
	require.ErrorIs(t, err, runtime.ErrInvalidSlug)

	deleted, err := typed.Delete(ctx, pool)
	require.NoError(t, err)
	require.Equal(t, runtime.Deleted{Existed: true, Steps: 2}, deleted)
	deleted, err = typed.Delete(ctx, pool)
	require.NoError(t, err)
	require.Zero(t, deleted)
	_, err = typed.Start(ctx, pool, greet{})
	require.ErrorIs(t, err, runtime.ErrFlowNotFound)
}

// Deleting a flow stops at runs that have not ended if they are to be kept, and
// leaves everything as it is.
func TestDeleteWithActiveRuns(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	h := newHand(t, pool)
	failed, err := typed.Start(ctx, pool, greet{})
	require.NoError(t, err)
	h.Finish("greeting", "permanent", "no voice")
	_, err = failed.Wait(ctx)
	require.ErrorAs(t, err, new(*runtime.RunFailedError))
	later, err := typed.Start(ctx, pool, greet{}, runtime.WithDelay(time.Hour))
	require.NoError(t, err)
	now, err := typed.Start(ctx, pool, greet{})
	require.NoError(t, err)

	refused := func(active int) {
		t.Helper()
		for name, call := range map[string]func() (runtime.Deleted, error){
			"typed":   func() (runtime.Deleted, error) { return typed.Delete(ctx, pool) },
			"dynamic": func() (runtime.Deleted, error) { return runtime.DeleteFlow(ctx, pool, "greeting") },
		} {
			deleted, err := call()
			require.Zero(t, deleted, name)
			var kept *runtime.ActiveRunsError
			require.ErrorAs(t, err, &kept, name)
			require.Equal(t, runtime.ActiveRunsError{Flow: "greeting", Active: active}, *kept, name)
		}
	}
	refused(2)
	require.Equal(t, 3, count(t, pool, `SELECT count(*) FROM pgflow.runs`))
	require.NoError(t, runtime.CancelRun(ctx, pool, now.ID(), ""))
	refused(1)
	info, err := later.Info(ctx)
	require.NoError(t, err)
	require.Equal(t, runtime.RunScheduled, info.Status, "it is left as it was")
	_, err = runtime.DeleteFlow(ctx, pool, "greeting", nil)
	require.ErrorIs(t, err, runtime.ErrInvalidOption)

	deleted, err := typed.Delete(ctx, pool, runtime.AllowDataLoss())
	require.NoError(t, err)
	require.Equal(t, runtime.Deleted{Existed: true, Runs: 3, Steps: 2}, deleted)

	_, err = typed.Upsert(ctx, pool)
	require.NoError(t, err)
	ended, err := typed.Start(ctx, pool, greet{})
	require.NoError(t, err)
	require.NoError(t, runtime.CancelRun(ctx, pool, ended.ID(), ""))
	deleted, err = typed.Delete(ctx, pool)
	require.NoError(t, err)
	require.Equal(t, 1, deleted.Runs, "runs that have ended are no reason")
	_, err = typed.Upsert(ctx, pool)
	require.NoError(t, err)
	_, err = typed.Start(ctx, pool, greet{}, runtime.WithDelay(time.Hour))
	require.NoError(t, err)
	_, err = runtime.DeleteFlow(ctx, pool, "greeting")
	require.ErrorAs(t, err, new(*runtime.ActiveRunsError), "a scheduled run has not ended")
	deleted, err = runtime.DeleteFlow(ctx, pool, "greeting", runtime.AllowDataLoss())
	require.NoError(t, err)
	require.Equal(t, 1, deleted.Runs, "the reference deletes everything")
}
