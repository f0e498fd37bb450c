package temporalflow

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"github.com/flowc-dev/flowc/runtime"
)

// Errors have the types that package runtime documents, and say what helps on Temporal.
func TestErrors(t *testing.T) {
	t.Parallel()
	err := notStored("f")
	require.ErrorIs(t, err, runtime.ErrFlowNotFound)
	require.ErrorAs(t, err, new(*runtime.FlowNotFoundError))
	require.EqualError(t, err, `flowc: flow "f" is not in the Temporal namespace: call the Upsert function of its generated package (or runtime.UpsertFlow)`)

	var other *runtime.MismatchError
	err = mismatch("f", []string{"a", "b"})
	require.ErrorAs(t, err, &other)
	require.Equal(t, []string{"a", "b"}, other.Differences)
	require.ErrorContains(t, err, "for new runs with runtime.AllowDataLoss(); runs that have begun keep theirs, and none is lost:\n\ta\n\tb")

	var active *runtime.ActiveRunsError
	err = activeRuns("f", 3)
	require.ErrorAs(t, err, &active)
	require.Equal(t, 3, active.Active)
	require.NotContains(t, err.Error(), "AllowDataLoss")
	require.ErrorContains(t, err, "(3): let them end, or end them with `temporal workflow terminate --query \"WorkflowType = 'f' AND ExecutionStatus = 'Running'\"`")
}

func TestWorkerName(t *testing.T) {
	t.Parallel()
	require.Equal(t, "22154@vm", workerName("22154@vm@"))
	require.Equal(t, "22154@vm@group", workerName("22154@vm@group"))
}

// A schedule that was never updated has the time 0 of Unix as that of its last update.
func TestPausedAt(t *testing.T) {
	t.Parallel()
	created := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	for updated, want := range map[time.Time]time.Time{
		time.Unix(0, 0):        created,
		{}:                     created,
		created.Add(time.Hour): created.Add(time.Hour),
	} {
		require.Equal(t, want, pausedAt(client.ScheduleInfo{CreatedAt: created, LastUpdateAt: updated}))
	}
}

// A run in the outbox waits for what its job waits for.
func TestInOutbox(t *testing.T) {
	t.Parallel()
	at := time.Now()
	for want, job := range map[string]runtime.Reason{
		"in the outbox; attempt 4 failed: no connection": {Kind: runtime.ReasonRetry, Flow: OutboxSlug, Step: OutboxSlug, Attempt: 4, MaxAttempts: 1_000_000,
			Message: "no connection\nat all", Until: at.Add(time.Minute), At: at},
		"in the outbox; no worker of the PostgreSQL serves temporalflow.Outbox.Service": {Kind: runtime.ReasonNoWorker, Flow: OutboxSlug, At: at},
		"in the outbox; flowc_outbox waits for a free worker, for 3 s":                  {Kind: runtime.ReasonQueued, Flow: OutboxSlug, Step: OutboxSlug, Since: at.Add(-3 * time.Second), At: at},
	} {
		r := inOutbox("order", job)
		require.Equal(t, want, r.String())
		require.Equal(t, []any{"order", runtime.ReasonOutbox, at}, []any{r.Flow, r.Kind, r.At})
	}
}
