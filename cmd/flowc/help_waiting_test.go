package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/examples/approval/expenses"
	"github.com/flowc-dev/flowc/examples/approval/expenses/payclaim"
	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/flowtest"
)

func waitingChecks(w *snippets) []blockCheck {
	const declared = "examples/approval/expenses/expenses.go"
	d := &declaring{snippets: w}
	return []blockCheck{
		{"How flows wait for people and events", "go", isPartOf(declared)},
		{"Sending an answer", "go", w.compiles("pool *pgxpool.Pool, runID, user string")},
		{"Early, late and double answers", "go", w.compiles("pool *pgxpool.Pool, runID string, decision expenses.Decision")},
		{"Expiry and escalation", "go", isPartOf(declared)},
		{"Answers by key", "go", d.generates},
		{"Answers by key", "go", d.isGenerated},
		{"The in-tray", "go", w.compiles("pool *pgxpool.Pool")},
		{"Waits in tests", "go", isPartOf("examples/approval/approval_test.go")},
		{"Answers in other languages", "sql", answersClaim},
	}
}

// clerk does what of a claim is done without asking anybody.
type clerk struct{}

func (clerk) Check(context.Context, expenses.Claim) (expenses.Approvers, error) {
	return expenses.Approvers{}, nil
}
func (clerk) Overdue(_ context.Context, in *expenses.Decision) (bool, error) { return in == nil, nil }
func (clerk) Settle(_ context.Context, in expenses.SettleInput) (expenses.Settled, error) {
	return expenses.Settled{Paid: in.Approve.Approved, Budget: in.Approve.Budget}, nil
}

// answersClaim runs a statement that answers a claim which waits.
func answersClaim(t *testing.T, b block) {
	db := flowtest.Database(t, payclaim.Serve(clerk{}))
	run, err := payclaim.StartPayClaim(t.Context(), db, expenses.Claim{})
	require.NoError(t, err)
	for waits := 0; waits == 0; {
		waiting, err := payclaim.WaitingPayClaimApprove(t.Context(), db, runtime.WaitingFilter{})
		require.NoError(t, err)
		waits = len(waiting)
		time.Sleep(10 * time.Millisecond)
	}
	_, err = db.Exec(t.Context(), b.text, run.ID())
	require.NoError(t, err, "%s", b)
	settled, err := run.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, expenses.Settled{Paid: true, Budget: expenses.Travel}, settled)
}
