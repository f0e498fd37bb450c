package gen

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/worker"
	"github.com/flowc-dev/flowc/testdata/golden/waits"
	"github.com/flowc-dev/flowc/testdata/golden/waits/ask"
	"github.com/flowc-dev/flowc/testdata/golden/waits/expense"
	"github.com/flowc-dev/flowc/testdata/golden/waits/gate"
)

// clerks do what of an expense is done without asking anybody.
type clerks struct{}

func (clerks) Check(_ context.Context, in waits.Claim) (waits.Checked, error) {
	return waits.Checked{Manager: "Grace", Count: uint32(len(in.PaymentID))}, nil
}
func (clerks) Remind(context.Context, waits.Checked) error { return nil }
func (clerks) Close(_ context.Context, in waits.CloseInput) (waits.Closed, error) {
	if in.Approve == nil || in.Escalate != nil {
		return waits.Closed{}, handler.Permanent(context.Canceled)
	}
	return waits.Closed{At: in.Approve.At}, nil
}
func (clerks) Lines(context.Context, waits.Claim) ([]waits.Line, error) {
	return []waits.Line{{Text: "one"}, {Text: "two"}}, nil
}
func (clerks) Each(context.Context, waits.Line) error { return nil }

type porter struct{}

func (porter) Work(context.Context, string) error { return nil }

// TestRunWaits answers generated waits in a database: by the id of the run and by key,
// early, in the transaction that starts the run, and late.
func TestRunWaits(t *testing.T) {
	t.Parallel()
	pool := database(t)
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
	defer stop()
	services := []handler.Service{expense.Serve(clerks{}), gate.Serve(porter{}), ask.Serve(nil)}
	require.NoError(t, runtime.UpsertServed(ctx, pool, services...))
	w, err := worker.New(pool, worker.Config{Concurrency: 4, Logger: slog.New(slog.DiscardHandler)}, services...)
	require.NoError(t, err)
	stopWorker := w.Start(ctx)
	defer func() { require.NoError(t, stopWorker()) }()

	claim := waits.Claim{PaymentID: "p-1"}
	run, err := expense.StartExpense(ctx, pool, claim)
	require.NoError(t, err)
	asked := waitFor(t, func() ([]runtime.Waiting[waits.Question], error) {
		return expense.WaitingExpenseApprove(ctx, pool, runtime.WaitingFilter{RunID: run.ID()})
	})
	require.Equal(t, waits.Question{Input: claim, Check: waits.Checked{Manager: "Grace", Count: 3}}, asked.Input)
	require.Equal(t, 72*time.Hour, asked.Until.Sub(asked.Since).Round(time.Second))

	answer := waits.Approval{Approved: true, Level: waits.Large, Urgency: waits.Now, At: time.Unix(77, 0).UTC()}
	_, err = gate.SignalGateOpen(ctx, pool, run.ID())
	require.ErrorIs(t, err, runtime.ErrRunNotFound, "it is a run of another flow")
	result, err := expense.SignalExpenseApprove(ctx, pool, run.ID(), answer)
	require.NoError(t, err)
	require.Equal(t, runtime.Accepted, result)
	result, err = expense.SignalExpenseApprove(ctx, pool, run.ID(), waits.Approval{})
	require.NoError(t, err)
	require.Equal(t, runtime.Already, result)
	paid := waits.Payment{Amount: 1.5, Cents: 150}
	require.NoError(t, expense.SignalExpensePaidBy(ctx, pool, "p-1", paid))
	require.NoError(t, expense.SignalExpenseReceiptBy(ctx, pool, 3))
	outcome, err := run.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, answer.At, outcome.Closed.At)
	require.Equal(t, int64(150), outcome.Payment.Cents)
	_, err = expense.SignalExpenseEscalate(ctx, pool, run.ID(), answer)
	require.ErrorIs(t, err, runtime.ErrNotWaiting)

	// All answers are there before the run is.
	var early *runtime.Run[waits.Outcome]
	require.NoError(t, pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) (err error) {
		early, err = expense.StartExpense(ctx, tx, waits.Claim{PaymentID: "p-22"})
		require.NoError(t, err)
		_, err = expense.SignalExpenseReceipt(ctx, tx, early.ID())
		require.NoError(t, err)
		_, err = expense.SignalExpensePaid(ctx, tx, early.ID(), paid)
		require.NoError(t, err)
		_, err = expense.SignalExpenseApprove(ctx, tx, early.ID(), answer)
		return err
	}))
	outcome, err = early.Via(pool).Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, answer.At, outcome.Closed.At)

	// A flow that nobody works on goes on as well.
	question, err := ask.StartAsk(ctx, pool, "shall we?")
	require.NoError(t, err)
	_, err = ask.SignalAskSure(ctx, pool, question.ID(), true)
	require.NoError(t, err)
	_, err = ask.SignalAskAnswer(ctx, pool, question.ID(), 42)
	require.NoError(t, err)
	yes, err := question.Wait(ctx)
	require.NoError(t, err)
	require.True(t, yes)

	// One that opens for whoever comes next with the key, which is the whole input.
	require.NoError(t, gate.SignalGateOpenBy(ctx, pool, "west"))
	require.NoError(t, gate.StartGateSync(ctx, pool, "west"))
}

// waitFor asks until a run waits.
func waitFor[In any](t *testing.T, list func() ([]runtime.Waiting[In], error)) runtime.Waiting[In] {
	for {
		waiting, err := list()
		require.NoError(t, err)
		if len(waiting) > 0 {
			return waiting[0]
		}
		time.Sleep(10 * time.Millisecond)
	}
}
