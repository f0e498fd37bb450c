package ops_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/flowtest"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// calls calls every function of the package that takes a database, with valid arguments.
func calls(ctx context.Context, db runtime.DB, flow, id string) map[string]func() (any, error) {
	return map[string]func() (any, error){
		"RunNow":            func() (any, error) { return ops.RunNow(ctx, db, id, "") },
		"PauseFlow":         func() (any, error) { return ops.PauseFlow(ctx, db, flow, "me") },
		"ResumeFlow":        func() (any, error) { return ops.ResumeFlow(ctx, db, flow) },
		"Prune":             func() (any, error) { return ops.Prune(ctx, db, ops.PruneOptions{OlderThan: time.Hour}) },
		"GetDefinition":     func() (any, error) { return ops.GetDefinition(ctx, db, flow) },
		"ListFlows":         func() (any, error) { return ops.ListFlows(ctx, db, time.Now()) },
		"Throughput":        func() (any, error) { return ops.Throughput(ctx, db, time.Now(), time.Minute) },
		"ListPayloads":      func() (any, error) { return ops.ListPayloads(ctx, db, id, 1000) },
		"GetPayload":        func() (any, error) { return ops.GetPayload(ctx, db, id, ops.PayloadFilter{Kind: ops.PayloadRunInput}) },
		"AdjacentRuns":      func() (any, error) { a, b, err := ops.AdjacentRuns(ctx, db, id); return a + b, err },
		"ListRuns":          func() (any, error) { return ops.ListRuns(ctx, db, ops.RunFilter{}) },
		"ListFailures":      func() (any, error) { return ops.ListFailures(ctx, db, time.Now(), 10) },
		"ListSchedules":     func() (any, error) { return ops.ListSchedules(ctx, db) },
		"PauseSchedule":     func() (any, error) { return ops.PauseSchedule(ctx, db, flow, "") },
		"ResumeSchedule":    func() (any, error) { return ops.ResumeSchedule(ctx, db, flow) },
		"NextTicks":         func() (any, error) { return ops.NextTicks(ctx, db, "@daily", 1) },
		"ListTasks":         func() (any, error) { return ops.ListTasks(ctx, db, id, ops.TaskFilter{}) },
		"CountWaits":        func() (any, error) { return ops.CountWaits(ctx, db) },
		"ListRequests":      func() (any, error) { return ops.ListRequests(ctx, db, time.Now(), 10) },
		"ListGates":         func() (any, error) { return ops.ListGates(ctx, db, ops.GateFilter{}) },
		"SetGate":           func() (any, error) { return nil, ops.SetGate(ctx, db, "g", ops.GateLimits{}) },
		"HoldGate":          func() (any, error) { return nil, ops.HoldGate(ctx, db, "g", nil, 0) },
		"ListWorkers":       func() (any, error) { return ops.ListWorkers(ctx, db, time.Now()) },
		"ListTasksInFlight": func() (any, error) { return ops.ListTasksInFlight(ctx, db, 10) },
	}
}

// A backend without lists, pauses and schedules says what to use.
func TestBackendLacks(t *testing.T) {
	t.Parallel()
	db := flowtest.Inline(handler.Serve(spec.Flow{Slug: "one", Steps: []spec.Step{{Slug: "one"}}}, []handler.Handler{
		handler.HandleValues("one", func(context.Context, handler.Values) (any, error) { return 1, nil }),
	}))
	for name, call := range calls(t.Context(), db, "one", "01890a5d-ac96-774b-bcce-b302099a8057") {
		_, err := call()
		require.ErrorIs(t, err, runtime.ErrNeedsEngine, name)
		require.Regexp(t, "^flowc: .*use flowtest.Database", err.Error(), name)
	}
}
