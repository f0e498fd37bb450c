package temporalflow_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// However many start with a key at once, there is one run of it.
func TestServerKeysAtOnce(t *testing.T) {
	var done counts
	n := open(t, job("keyed", func(ctx context.Context, v handler.Values) (any, error) {
		task, _ := handler.TaskFromContext(ctx)
		done.add(task.RunID)
		return v.Input, nil
	}))
	const callers, keys = 16, 5
	for _, key := range []string{"a", "b", "c", "d", "e"}[:keys] {
		var wg sync.WaitGroup
		runs, errs := make([]*runtime.Run[json.RawMessage], callers), make([]error, callers)
		for i := range callers {
			wg.Go(func() {
				runs[i], errs[i] = runtime.StartFlow(t.Context(), n.db, "keyed", i, runtime.WithIdempotencyKey(key))
			})
		}
		wg.Wait()
		require.NoError(t, errors.Join(errs...))
		fresh := 0
		for _, run := range runs {
			require.Equal(t, runs[0].ID(), run.ID())
			if !run.Existed() {
				fresh++
			}
		}
		require.Equal(t, 1, fresh)
		require.Equal(t, runtime.RunCompleted, end(t, n.db, runs[0]).Status)
		require.Equal(t, 1, done.of(runs[0].ID()))
		again, err := runtime.StartFlow(t.Context(), n.db, "keyed", 99, runtime.WithIdempotencyKey(key))
		require.NoError(t, err)
		require.True(t, again.Existed(), "the run has ended, and its key is used")
	}
}

func TestServerDelays(t *testing.T) {
	var done counts
	n := open(t, job("later", func(ctx context.Context, _ handler.Values) (any, error) {
		task, _ := handler.TaskFromContext(ctx)
		done.add(task.RunID)
		return nil, nil
	}))
	ctx := t.Context()
	soon := time.Now().Add(3 * time.Second)
	short, err := runtime.StartFlow(ctx, n.db, "later", 1, runtime.WithStartAt(soon))
	require.NoError(t, err)
	long, err := runtime.StartFlow(ctx, n.db, "later", 1, runtime.WithDelay(time.Hour))
	require.NoError(t, err)
	info, err := runtime.GetRun(ctx, n.db, long.ID())
	require.NoError(t, err)
	require.Equal(t, runtime.RunScheduled, info.Status)
	require.WithinDuration(t, long.ScheduledAt(), info.ScheduledAt, time.Millisecond)

	require.Equal(t, runtime.RunCompleted, end(t, n.db, short).Status)
	require.False(t, time.Now().Before(soon), "it came too early")
	t.Logf("a delayed run ended %s after its time", time.Since(soon))
	require.Zero(t, done.of(long.ID()))
	require.ErrorIs(t, runtime.RescheduleRun(ctx, n.db, short.ID(), soon), runtime.ErrWrongStatus)

	// Moved to a later hour, and then to be at once.
	hours := time.Now().Add(5 * time.Hour)
	require.NoError(t, runtime.RescheduleRun(ctx, n.db, long.ID(), hours))
	eventually(t, "the run is moved", func() bool {
		info, err := runtime.GetRun(ctx, n.db, long.ID())
		require.NoError(t, err)
		return info.Status == runtime.RunScheduled && info.ScheduledAt.Sub(hours).Abs() < time.Second
	})
	at := time.Now().Add(time.Second)
	require.NoError(t, runtime.RescheduleRun(ctx, n.db, long.ID(), at))
	require.Equal(t, runtime.RunCompleted, end(t, n.db, long).Status)
	require.False(t, time.Now().Before(at), "it came too early")
	require.Equal(t, 1, done.of(long.ID()))
	t.Logf("a run that was rescheduled ended %s after its time", time.Since(at))
}

// Nobody has to work for a run to be cancelled.
func TestServerCancelWithoutWorker(t *testing.T) {
	n := newNamespace(t)
	service := job("unworked", give(1))
	ctx := t.Context()
	require.NoError(t, runtime.UpsertServed(ctx, n.db, service))
	for name, options := range map[string][]runtime.StartOption{"now": nil, "delayed": {runtime.WithDelay(time.Hour)}} {
		run, err := runtime.StartFlow(ctx, n.db, "unworked", 1, options...)
		require.NoError(t, err)
		began := time.Now()
		require.NoError(t, runtime.CancelRun(ctx, n.db, run.ID(), "not needed"))
		_, err = run.Wait(ctx, runtime.WithTimeout(stuck))
		var failed *runtime.RunFailedError
		require.ErrorAs(t, err, &failed)
		require.Equal(t, []any{runtime.RunCancelled, "not needed"}, []any{failed.Status, failed.Message})
		info, err := runtime.GetRun(ctx, n.db, run.ID())
		require.NoError(t, err)
		require.Equal(t, []any{runtime.RunCancelled, "not needed"}, []any{info.Status, info.CancelReason})
		t.Logf("a run (%s) was cancelled and read after %s", name, time.Since(began))
		require.ErrorIs(t, runtime.CancelRun(ctx, n.db, run.ID(), "again"), runtime.ErrWrongStatus)
	}
}

// A handler hears that its run was cancelled, and nothing follows.
func TestServerCancelToHandler(t *testing.T) {
	began, causes := make(chan struct{}, 1), make(chan error, 1)
	var after counts
	flow := spec.Flow{Slug: "endless", Steps: []spec.Step{{Slug: "work"}, {Slug: "after", Deps: []string{"work"}}}}
	n := open(t, serve(flow, map[string]function{
		"work": func(ctx context.Context, _ handler.Values) (any, error) {
			began <- struct{}{}
			<-ctx.Done()
			causes <- context.Cause(ctx)
			return 1, nil
		},
		"after": func(context.Context, handler.Values) (any, error) { after.add("after"); return nil, nil },
	}))
	run, err := runtime.StartFlow(t.Context(), n.db, "endless", 1)
	require.NoError(t, err)
	<-began
	cancelled := time.Now()
	require.NoError(t, runtime.CancelRun(t.Context(), n.db, run.ID(), "too long"))
	t.Logf("cancelled in %s", time.Since(cancelled))
	select {
	case cause := <-causes:
		require.Equal(t, handler.ErrTaskLost, cause)
		t.Logf("the handler was told after %s", time.Since(cancelled))
	case <-time.After(stuck):
		t.Fatal("the handler was not told")
	}
	info := end(t, n.db, run)
	require.Equal(t, []any{runtime.RunCancelled, "too long"}, []any{info.Status, info.CancelReason})
	require.Zero(t, after.of("after"))
}

// What was completed when a run failed is not done again when it is retried.
func TestServerRetries(t *testing.T) {
	var broken atomic.Bool
	var done counts
	noted := func(ctx context.Context, _ handler.Values) (any, error) {
		task, _ := handler.TaskFromContext(ctx)
		done.add(task.Step)
		if task.Step == "third" && broken.Load() {
			return nil, errors.New("broken")
		}
		return task.Step, nil
	}
	flow := spec.Flow{Slug: "retried", MaxAttempts: 1, Steps: []spec.Step{
		{Slug: "first"}, {Slug: "second", Deps: []string{"first"}}, {Slug: "beside"},
		{Slug: "third", Deps: []string{"second", "beside"}}, {Slug: "last", Deps: []string{"third"}},
	}}
	n := open(t, serve(flow, map[string]function{"first": noted, "second": noted, "beside": noted, "third": noted, "last": noted}))
	ctx := t.Context()
	calls := func() (all []int) {
		for _, s := range flow.Steps {
			all = append(all, done.of(s.Slug))
		}
		return all
	}
	broken.Store(true)
	run, err := runtime.StartFlow(ctx, n.db, "retried", 1)
	require.NoError(t, err)
	info := end(t, n.db, run)
	require.Equal(t, []any{runtime.RunFailed, "third", "broken"}, []any{info.Status, info.FailedStep, info.Error})
	require.NoError(t, runtime.RetryRun(ctx, n.db, run.ID()))
	require.Equal(t, runtime.RunFailed, end(t, n.db, run).Status)
	require.Equal(t, []int{1, 1, 1, 2, 0}, calls())
	broken.Store(false)
	require.NoError(t, runtime.RetryRun(ctx, n.db, run.ID()))
	require.Equal(t, runtime.RunCompleted, end(t, n.db, run).Status)
	require.Equal(t, []int{1, 1, 1, 3, 1}, calls())
	require.NoError(t, runtime.RetryStep(ctx, n.db, run.ID(), "second"))
	info = end(t, n.db, run)
	require.Equal(t, runtime.RunCompleted, info.Status)
	require.JSONEq(t, `{"last": "last"}`, string(info.Output))
	require.Equal(t, []int{1, 2, 1, 4, 2}, calls())
	require.ErrorIs(t, runtime.RetryRun(ctx, n.db, run.ID()), runtime.ErrWrongStatus)
	require.ErrorIs(t, runtime.RetryRun(ctx, n.db, uuid.NewString()), runtime.ErrRunNotFound)
}

// A cancelled run that is retried goes on where it was.
func TestServerRetryOfCancelled(t *testing.T) {
	var done counts
	hang := make(chan struct{}, 1)
	flow := spec.Flow{Slug: "resumed", Steps: []spec.Step{{Slug: "first"}, {Slug: "second", Deps: []string{"first"}}}}
	n := open(t, serve(flow, map[string]function{
		"first": func(context.Context, handler.Values) (any, error) { return done.add("first"), nil },
		"second": func(ctx context.Context, _ handler.Values) (any, error) {
			if done.add("second") == 1 {
				hang <- struct{}{}
				<-ctx.Done()
				return nil, context.Cause(ctx)
			}
			return "done", nil
		},
	}))
	run, err := runtime.StartFlow(t.Context(), n.db, "resumed", 1)
	require.NoError(t, err)
	<-hang
	require.NoError(t, runtime.CancelRun(t.Context(), n.db, run.ID(), "a mistake"))
	require.Equal(t, runtime.RunCancelled, end(t, n.db, run).Status)
	require.NoError(t, runtime.RetryRun(t.Context(), n.db, run.ID()))
	info := end(t, n.db, run)
	require.Equal(t, runtime.RunCompleted, info.Status)
	require.JSONEq(t, `{"second": "done"}`, string(info.Output))
	require.Equal(t, []int{1, 2}, []int{done.of("first"), done.of("second")})
}

// A run keeps the shape that it began with, whatever the workers after have.
func TestServerChangedShape(t *testing.T) {
	before := spec.Flow{Slug: "shape", Steps: []spec.Step{{Slug: "a"}, {Slug: "b", Deps: []string{"a"}, StartDelay: 4 * time.Second}}}
	after := before
	after.Steps = []spec.Step{{Slug: "first"}, before.Steps[0], before.Steps[1], {Slug: "c", Deps: []string{"b", "first"}}}
	n := newNamespace(t)
	ctx := t.Context()
	_, err := runtime.UpsertFlow(ctx, n.db, before)
	require.NoError(t, err)
	stop := work(t, n.db, serve(before, map[string]function{"a": give("a"), "b": give("b")}))
	old, err := runtime.StartFlow(ctx, n.db, "shape", 1)
	require.NoError(t, err)
	eventually(t, "the first step is done", func() bool {
		info, err := runtime.GetRun(ctx, n.db, old.ID(), runtime.WithStates())
		return err == nil && info.States[0].Status == runtime.StepCompleted
	})
	stop()

	_, err = runtime.UpsertFlow(ctx, n.db, after)
	require.ErrorAs(t, err, new(*runtime.MismatchError))
	result, err := runtime.UpsertFlow(ctx, n.db, after, runtime.AllowDataLoss())
	require.NoError(t, err)
	require.Equal(t, runtime.UpsertRecompiled, result.Status)
	require.Zero(t, result.DeletedRuns)
	work(t, n.db, serve(after, map[string]function{"first": give(1), "a": give("A"), "b": give("B"), "c": give("C")}))
	info := end(t, n.db, old)
	require.Equal(t, runtime.RunCompleted, info.Status)
	require.JSONEq(t, `{"b": "B"}`, string(info.Output))
	require.Len(t, info.States, 2)
	fresh, err := runtime.StartFlow(ctx, n.db, "shape", 1)
	require.NoError(t, err)
	info = end(t, n.db, fresh)
	require.JSONEq(t, `{"c": "C"}`, string(info.Output))
}

// A worker that stops gives back what it has in flight, and the attempt does not count.
func TestServerRelease(t *testing.T) {
	var calls atomic.Int32
	causes, attempts := make(chan error, 1), make(chan int, 1)
	service := serve(spec.Flow{Slug: "released", MaxAttempts: 1, Steps: []spec.Step{{Slug: "work"}}}, map[string]function{
		"work": func(ctx context.Context, _ handler.Values) (any, error) {
			if calls.Add(1) == 1 {
				<-ctx.Done()
				causes <- context.Cause(ctx)
				return nil, context.Cause(ctx)
			}
			task, _ := handler.TaskFromContext(ctx)
			attempts <- task.Attempt
			return "done", nil
		},
	})
	n := newNamespace(t)
	require.NoError(t, runtime.UpsertServed(t.Context(), n.db, service))
	stop := work(t, n.db, service)
	run, err := runtime.StartFlow(t.Context(), n.db, "released", 1)
	require.NoError(t, err)
	eventually(t, "the handler runs", func() bool { return calls.Load() == 1 })
	stop()
	require.Equal(t, handler.ErrWorkerStopping, <-causes)
	began := time.Now()
	work(t, n.db, service)
	info := end(t, n.db, run)
	t.Logf("the next worker had completed it %s after its start", time.Since(began))
	require.Equal(t, runtime.RunCompleted, info.Status)
	require.Equal(t, 1, <-attempts)
	require.Equal(t, 1, info.States[0].Attempts)
}

// No start is told of a run that is being deleted, since none is.
func TestServerDeleteRun(t *testing.T) {
	n := open(t, job("kept", give(1)))
	ctx := t.Context()
	run, err := runtime.StartFlow(ctx, n.db, "kept", 1, runtime.WithIdempotencyKey("k"))
	require.NoError(t, err)
	end(t, n.db, run)
	deleted, err := runtime.DeleteRun(ctx, n.db, run.ID(), runtime.AllowDataLoss())
	require.ErrorIs(t, err, runtime.ErrNeedsEngine)
	require.ErrorContains(t, err, "retention")
	require.False(t, deleted)
	again, err := runtime.StartFlow(ctx, n.db, "kept", 1, runtime.WithIdempotencyKey("k"))
	require.NoError(t, err)
	require.True(t, again.Existed())
	require.Equal(t, runtime.RunCompleted, end(t, n.db, again).Status)
}
