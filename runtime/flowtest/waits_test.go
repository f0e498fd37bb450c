package flowtest_test

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/flowtest"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// A claim is what an expense asks for.
type claim struct {
	ID    int `json:"id"`
	Cents int `json:"cents"`
}

// expense is what a generated package has for a flow that waits for an approval, escalates to
// a second one when the first expires, and pays an hour later.
var expense = runtime.NewFlow[claim](spec.Flow{Slug: "expense", Deadline: 30 * 24 * time.Hour, Steps: []spec.Step{
	{Slug: "approve", Type: spec.TypeWait, Timeout: 72 * time.Hour, WhenExhausted: spec.ModeSkip, Key: spec.Path{spec.RunKey, "id"}},
	{Slug: "escalate", Type: spec.TypeWait, Deps: []string{"approve"}, IfNot: []byte(`{"approve": true}`)},
	{Slug: "pay", Deps: []string{"approve", "escalate"}, StartDelay: time.Hour},
}}, handler.Output[string]("pay"))

func serveExpense(pay func(ctx context.Context) (string, error)) handler.Service {
	return expense.Serve([]handler.Handler{handler.Handle("pay", handler.Nothing(), handler.NoInput(pay))})
}

func paid(context.Context) (string, error) { return "paid", nil }

// A run that waits is never waited for in vain: the error says for what it waits, and what to
// do.
func TestWaitingIsNoHang(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db := flowtest.Inline(serveExpense(paid))
	_, err := expense.StartSync(ctx, db, claim{ID: 1})
	var waiting *flowtest.WaitingError
	require.ErrorAs(t, err, &waiting)
	require.Equal(t, "approve", waiting.Step)
	require.True(t, waiting.Answer)
	require.Equal(t, db.Now().Add(72*time.Hour), waiting.Until)
	require.ErrorContains(t, err, "waits in step approve for an answer: send it with its Signal function, or let it expire with db.Advance")

	run, err := expense.Start(ctx, db, claim{ID: 2})
	require.NoError(t, err)
	_, err = expense.Signal(ctx, db, run.ID(), "approve", true)
	require.NoError(t, err)
	_, err = run.Wait(ctx)
	require.ErrorAs(t, err, &waiting)
	require.Equal(t, "pay", waiting.Step)
	require.False(t, waiting.Answer)
	require.ErrorContains(t, err, "waits in step pay for its time: move the clock with db.Advance")
	db.Advance(59 * time.Minute)
	_, err = run.Wait(ctx)
	require.Error(t, err)
	db.Advance(time.Minute)
	out, err := run.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, "paid", out)
}

// A run that is cancelled while it waits takes no answer, and nothing of it comes due, until
// it is retried.
func TestCancelInline(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var db *flowtest.DB
	withdraw := true
	db = flowtest.Inline(serveExpense(func(ctx context.Context) (string, error) {
		task, _ := handler.TaskFromContext(ctx)
		if withdraw {
			require.NoError(t, runtime.CancelRun(ctx, db, task.RunID, "withdrawn meanwhile"))
			require.Equal(t, handler.ErrTaskLost, context.Cause(ctx))
		}
		return "paid", nil
	}))
	run, err := expense.Start(ctx, db, claim{ID: 1})
	require.NoError(t, err)
	require.NoError(t, runtime.CancelRun(ctx, db, run.ID(), "withdrawn"))
	_, err = run.Wait(ctx)
	var failed *runtime.RunFailedError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, runtime.RunCancelled, failed.Status)
	require.Equal(t, "withdrawn", failed.Message)
	_, err = expense.Signal(ctx, db, run.ID(), "approve", true)
	require.ErrorIs(t, err, runtime.ErrNotWaiting)
	db.Advance(90 * 24 * time.Hour)
	require.ErrorIs(t, runtime.CancelRun(ctx, db, run.ID(), ""), runtime.ErrWrongStatus)

	require.NoError(t, runtime.RetryRun(ctx, db, run.ID()))
	_, err = expense.Signal(ctx, db, run.ID(), "approve", true)
	require.NoError(t, err)
	db.Advance(time.Hour)
	_, err = run.Wait(ctx)
	require.ErrorAs(t, err, &failed)
	require.Equal(t, "withdrawn meanwhile", failed.Message)
	attempts := db.Attempts("expense", "pay")
	require.Len(t, attempts, 1)
	require.Equal(t, worker.OutcomeLost, attempts[0].Outcome)

	withdraw = false
	require.NoError(t, runtime.RetryRun(ctx, db, run.ID()))
	out, err := run.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, "paid", out)
}

// A run that another one replaces while its handler runs is lost to that handler, as one that
// is cancelled.
func TestReplaceInline(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var db *flowtest.DB
	first := true
	sync := runtime.NewFlow[claim](spec.Flow{
		Slug: "sync", Unique: &spec.Unique{By: []spec.Path{{spec.RunKey, "id"}}, OnDuplicate: spec.DuplicateReplace}, Steps: []spec.Step{{Slug: "work"}},
	}, handler.Output[string]("work"))
	db = flowtest.Inline(sync.Serve([]handler.Handler{handler.Handle("work", handler.Nothing(), handler.NoInput(func(ctx context.Context) (string, error) {
		if first {
			first = false
			later, err := sync.Start(ctx, db, claim{ID: 1})
			require.NoError(t, err)
			require.False(t, later.Existed())
			require.Equal(t, handler.ErrTaskLost, context.Cause(ctx))
		}
		return "done", nil
	}))}))
	run, err := sync.Start(ctx, db, claim{ID: 1})
	require.NoError(t, err)
	_, err = run.Wait(ctx)
	var failed *runtime.RunFailedError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, runtime.RunCancelled, failed.Status)
	require.Contains(t, failed.Message, "replaced by run ")
}

// What comes due happens in its order, and at its time.
func TestAdvanceInOrder(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db := flowtest.Inline(serveExpense(paid))
	early, err := expense.Start(ctx, db, claim{ID: 1})
	require.NoError(t, err)
	began := db.Now()
	db.Advance(time.Hour)
	late, err := expense.Start(ctx, db, claim{ID: 2})
	require.NoError(t, err)
	db.Advance(72*time.Hour - time.Minute)
	info, err := runtime.GetRun(ctx, db, early.ID(), runtime.WithStates())
	require.NoError(t, err)
	require.Equal(t, runtime.StepSkipped, info.States[0].Status)
	require.Equal(t, began.Add(72*time.Hour), info.States[0].SkippedAt)
	require.Equal(t, began.Add(72*time.Hour), info.States[1].Wait.Since)
	info, err = runtime.GetRun(ctx, db, late.ID(), runtime.WithStates())
	require.NoError(t, err)
	require.Equal(t, runtime.RunWaiting, info.Status)
	require.Equal(t, runtime.StepStarted, info.States[0].Status)

	_, err = expense.Signal(ctx, db, early.ID(), "escalate", true)
	require.NoError(t, err)
	db.Advance(90 * 24 * time.Hour)
	_, err = early.Wait(ctx)
	require.NoError(t, err)
	_, err = late.Wait(ctx)
	var failed *runtime.RunFailedError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, "escalate", failed.Step)
	require.Equal(t, "flowc: the run was not done within its deadline of 2592000s", failed.Message)
	info, err = runtime.GetRun(ctx, db, late.ID())
	require.NoError(t, err)
	require.Equal(t, began.Add(time.Hour+30*24*time.Hour), info.FailedAt)
}

// timed has a step that starts when its input says, and a deadline.
var timed = runtime.NewFlow[time.Duration](spec.Flow{Slug: "timed", Deadline: time.Minute, Steps: []spec.Step{
	{Slug: "remind", MaxAttempts: 1, StartDelayFrom: spec.Path{spec.RunKey}},
}}, handler.Output[string]("remind"))

func serveTimed(remind func(ctx context.Context) (string, error)) handler.Service {
	return timed.Serve([]handler.Handler{handler.Handle("remind", handler.Nothing(), handler.NoInput(remind))})
}

// A step whose time comes after the run's deadline is not waited for in vain either.
func TestDeadlineBeforeStart(t *testing.T) {
	t.Parallel()
	for _, delay := range []time.Duration{time.Hour, math.MaxInt64} {
		db := flowtest.Inline(serveTimed(paid))
		run, err := timed.Start(t.Context(), db, delay)
		require.NoError(t, err)
		_, err = run.Wait(t.Context())
		var waiting *flowtest.WaitingError
		require.ErrorAs(t, err, &waiting)
		require.Equal(t, "remind", waiting.Step)
		require.Equal(t, db.Now().Add(time.Minute), waiting.Until, "then it fails")
		db.Advance(time.Minute)
		_, err = run.Wait(t.Context())
		require.ErrorContains(t, err, "deadline")
	}
}

// The clock may be moved while a handler runs, by itself and by others. A run that is beyond
// its deadline then fails, as it does in production.
func TestAdvanceWhileHandlerRuns(t *testing.T) {
	t.Parallel()
	var db *flowtest.DB
	db = flowtest.Inline(serveTimed(func(context.Context) (string, error) {
		db.Advance(30 * time.Second)
		return "in time", nil
	}))
	result, err := timed.StartSync(t.Context(), db, 0)
	require.NoError(t, err)
	require.Equal(t, "in time", result)

	running, release := make(chan struct{}), make(chan struct{})
	db = flowtest.Inline(serveTimed(func(context.Context) (string, error) {
		close(running)
		<-release
		return "too late", nil
	}))
	failed := make(chan error)
	go func() {
		_, err := timed.StartSync(t.Context(), db, 0)
		failed <- err
	}()
	<-running
	db.Advance(time.Minute)
	close(release)
	require.ErrorContains(t, <-failed, "deadline")
}

// A snoozed task runs when its time has come, and what it kept is there.
func TestSnoozeInline(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db := flowtest.Inline(serveExpense(func(ctx context.Context) (string, error) {
		n, _ := handler.Kept[int](ctx)
		if err := handler.Keep(ctx, n+1); err != nil || n < 2 {
			return "", handler.SnoozeNote(24*time.Hour, fmt.Sprint("after ", n))
		}
		return fmt.Sprint("paid after ", n), nil
	}))
	run, err := expense.Start(ctx, db, claim{ID: 1})
	require.NoError(t, err)
	_, err = expense.Signal(ctx, db, run.ID(), "approve", true)
	require.NoError(t, err)
	db.Advance(time.Hour)
	require.Len(t, db.Attempts("expense", "pay"), 1)
	db.Advance(23 * time.Hour)
	require.Len(t, db.Attempts("expense", "pay"), 1)
	db.Advance(72 * time.Hour)
	out, err := run.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, "paid after 2", out)
	attempts := db.Attempts("expense", "pay")
	require.Equal(t, worker.OutcomeSnoozed, attempts[0].Outcome)
	require.Equal(t, "after 0", attempts[0].Err)
	require.Equal(t, 24*time.Hour, attempts[0].RetryIn)
	require.Equal(t, 1, attempts[2].Attempt)
}

// A list of what waits is in the order in which it gives up, page by page.
func TestListWaitingInline(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db := flowtest.Inline(serveExpense(paid))
	var ids []string
	for i := range 3 {
		run, err := expense.Start(ctx, db, claim{ID: i, Cents: 100 * i})
		require.NoError(t, err)
		ids = append(ids, run.ID())
		db.Advance(time.Minute)
	}
	db.Advance(72*time.Hour - 3*time.Minute) // the first escalates, for ever
	var got []string
	filter := runtime.WaitingFilter{Limit: 2}
	for {
		page, err := runtime.ListWaitingFor(ctx, db, "expense", "approve", handler.Input[claim](), filter)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, w := range page {
			got = append(got, fmt.Sprint(w.RunID, w.Input.Cents, " ", w.Key))
		}
		filter.After = page[len(page)-1].Cursor()
	}
	require.Equal(t, []string{fmt.Sprint(ids[1], 100, " 1"), fmt.Sprint(ids[2], 200, " 2")}, got)
	all, err := runtime.ListWaiting(ctx, db, runtime.WaitingFilter{})
	require.NoError(t, err)
	require.Len(t, all, 3)
	require.Equal(t, "escalate", all[2].Step)
}

// A test approves an expense claim in the same goroutine, and sees what happens when nobody
// does.
func ExampleDB_Advance() {
	ctx := context.Background()
	db := flowtest.Inline(serveExpense(paid))

	run, _ := expense.Start(ctx, db, claim{ID: 7, Cents: 500})
	db.Advance(72 * time.Hour) // nobody approves it in time
	info, _ := runtime.GetRun(ctx, db, run.ID(), runtime.WithStates())
	fmt.Println(info.Status, info.States[0].Status, info.States[1].Word())

	_, _ = expense.Signal(ctx, db, run.ID(), "escalate", true)
	db.Advance(time.Hour) // the start delay of the payment
	fmt.Println(run.Wait(ctx))
	// Output:
	// waiting skipped waiting for an answer
	// paid <nil>
}
