package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/examples/approval/expenses"
	"github.com/flowc-dev/flowc/examples/approval/expenses/payclaim"
	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/flowtest"
)

var claim = expenses.Claim{Employee: "Ada", Purpose: "a desk", Cents: 20_000}

// TestDemo runs the example as it runs without a person.
func TestDemo(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	require.NoError(t, run(t.Context(), &out, flowtest.Database(t), options{addr: "127.0.0.1:0", patience: time.Second, demo: true}))
	require.Equal(t, `Ada claims 123.80 € from a manager who does not answer
Emmy is asked instead of Grace: train to the customer, for Ada
Emmy has approved it: 123.80 € are paid by the budget for travel
`, out.String())
}

// TestNobodyAnswers lets the time of both pass.
func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	require.NoError(t, run(t.Context(), &out, flowtest.Database(t), options{addr: "127.0.0.1:0", patience: time.Second}))
	require.Contains(t, out.String(), "it is not paid: escalate: flowc: nobody answered within 1s\n")
}

// TestManagerAnswers answers a claim before its time is up, and once more.
func TestManagerAnswers(t *testing.T) {
	t.Parallel()
	db := flowtest.Database(t, payclaim.Serve(handlers{}))
	run, err := payclaim.StartPayClaim(t.Context(), db, claim)
	require.NoError(t, err)
	decision := expenses.Decision{Budget: expenses.Office, Comment: "we have desks"}
	result, err := payclaim.SignalPayClaimApprove(t.Context(), db, run.ID(), decision, runtime.WithSender("Grace"))
	require.NoError(t, err)
	require.Equal(t, runtime.Accepted, result)
	settled, err := run.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, expenses.Settled{Decided: "Grace", Comment: "we have desks"}, settled)

	decision.Approved = true
	_, err = payclaim.SignalPayClaimEscalate(t.Context(), db, run.ID(), decision)
	require.ErrorIs(t, err, runtime.ErrNotWaiting)
}

// TestEscalation lets three days pass, which takes no time.
func TestEscalation(t *testing.T) {
	t.Parallel()
	db := flowtest.Inline(payclaim.Serve(handlers{}))
	run, err := payclaim.StartPayClaim(t.Context(), db, claim) // goes as far as it can
	require.NoError(t, err)
	_, err = run.Wait(t.Context())
	var waiting *flowtest.WaitingError
	require.ErrorAs(t, err, &waiting)
	require.Equal(t, payclaim.StepApprove, waiting.Step)

	db.Advance(72 * time.Hour)
	asked, err := payclaim.WaitingPayClaimEscalate(t.Context(), db, runtime.WaitingFilter{})
	require.NoError(t, err)
	require.Equal(t, claim, asked[0].Input.Input)
	_, err = payclaim.SignalPayClaimEscalate(t.Context(), db, run.ID(), expenses.Decision{Approved: true, Budget: expenses.Office})
	require.NoError(t, err)
	settled, err := run.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, expenses.Settled{Paid: true, Cents: 20_000, Budget: expenses.Office, Decided: "Emmy"}, settled)
}
