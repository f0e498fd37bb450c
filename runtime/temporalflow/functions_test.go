package temporalflow

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// asksServer says that a function is supported, so that it fails in a test without a server;
// asksNobody, that it needs none.
const asksServer, asksNobody = "asks the server", "asks nobody"

// noWaits is what the functions of waits say.
const noWaits = "on Temporal, steps cannot wait for answers"

// TestFunctions calls each function of packages runtime and ops that takes a DB: it works on
// Temporal, or says what to use instead.
func TestFunctions(t *testing.T) {
	t.Parallel()
	c, err := client.NewLazyClient(client.Options{HostPort: "127.0.0.1:1", Logger: Logger(quiet)})
	require.NoError(t, err)
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	db := New(c, "ns")
	flow := spec.Flow{Slug: "f", Steps: []spec.Step{{Slug: "a"}}}
	const id = "01890a5d-ac96-774b-bcce-b302099a8057"
	now := time.Now()
	second := func(_ any, err error) error { return err }
	table := map[string]struct {
		call func() error
		want string // one of the words above, or the sentence
	}{
		"runtime.StartFlow":     {func() error { return second(runtime.StartFlow(ctx, db, "f", 1)) }, asksServer},
		"runtime.StartMany":     {func() error { return second(runtime.StartMany(ctx, db, "f", []any{1, 2})) }, asksServer},
		"runtime.StartFlowSync": {func() error { return second(runtime.StartFlowSync(ctx, db, "f", 1)) }, asksServer},
		"runtime.Enqueue":       {func() error { return second(runtime.Enqueue(ctx, db, "f", 1)) }, asksServer},
		"runtime.EnqueueIn":     {func() error { return second(runtime.EnqueueIn(ctx, db, "f", 1, time.Hour)) }, asksServer},
		"runtime.EnqueueAt":     {func() error { return second(runtime.EnqueueAt(ctx, db, "f", 1, now)) }, asksServer},
		"runtime.GetRun":        {func() error { return second(runtime.GetRun(ctx, db, id)) }, asksServer},
		"runtime.CancelRun":     {func() error { return runtime.CancelRun(ctx, db, id, "") }, asksServer},
		"runtime.RetryRun":      {func() error { return runtime.RetryRun(ctx, db, id) }, asksServer},
		"runtime.RetryStep":     {func() error { return runtime.RetryStep(ctx, db, id, "a") }, asksServer},
		"runtime.RescheduleRun": {func() error { return runtime.RescheduleRun(ctx, db, id, now) }, asksServer},
		"runtime.SetPriority":   {func() error { return runtime.SetPriority(ctx, db, id, runtime.High) }, "runtime.WithPriority sets"},
		"runtime.DeleteRun":     {func() error { return second(runtime.DeleteRun(ctx, db, id, runtime.AllowDataLoss())) }, "retention"},
		"runtime.ExplainRun":    {func() error { return second(runtime.ExplainRun(ctx, db, id)) }, asksServer},
		"runtime.UpsertFlow":    {func() error { return second(runtime.UpsertFlow(ctx, db, flow)) }, asksServer},
		"runtime.UpsertServed":  {func() error { return runtime.UpsertServed(ctx, db, handler.Serve(flow, nil)) }, asksServer},
		"runtime.DeleteFlow":    {func() error { return second(runtime.DeleteFlow(ctx, db, "f")) }, asksServer},
		"runtime.FlowExists":    {func() error { return second(runtime.FlowExists(ctx, db, "f")) }, asksServer},
		"runtime.RunSchedule":   {func() error { return second(runtime.RunSchedule(ctx, db, "f")) }, asksServer},
		"runtime.BackendOf":     {func() error { return second(runtime.BackendOf(db).FlowExists(ctx, "f")) }, asksServer},
		"runtime.Signal":        {func() error { return second(runtime.Signal(ctx, db, id, "a", 1)) }, noWaits},
		"runtime.SignalBy":      {func() error { return runtime.SignalBy(ctx, db, "f", "a", "k", 1) }, noWaits},
		"runtime.FailWait":      {func() error { return second(runtime.FailWait(ctx, db, id, "a", "late")) }, noWaits},
		"runtime.ListWaiting":   {func() error { return second(runtime.ListWaiting(ctx, db, runtime.WaitingFilter{})) }, noWaits},
		"runtime.ListWaitingFor": {func() error {
			return second(runtime.ListWaitingFor(ctx, db, "f", "a", handler.Source[int]{}, runtime.WaitingFilter{}))
		}, noWaits},
		"ops.GetDefinition":     {func() error { return second(ops.GetDefinition(ctx, db, "f")) }, asksServer},
		"ops.ListSchedules":     {func() error { return second(ops.ListSchedules(ctx, db)) }, asksServer},
		"ops.PauseSchedule":     {func() error { return second(ops.PauseSchedule(ctx, db, "f", "")) }, asksServer},
		"ops.ResumeSchedule":    {func() error { return second(ops.ResumeSchedule(ctx, db, "f")) }, asksServer},
		"ops.NextTicks":         {func() error { return second(ops.NextTicks(ctx, db, "@daily", 1)) }, asksNobody},
		"ops.ListShards":        {func() error { return second(ops.ListShards(ctx, db, now)) }, asksNobody}, // there are none
		"ops.ShardOf":           {func() error { return second(ops.ShardOf(ctx, db, id)) }, asksNobody},
		"ops.CountWaits":        {func() error { return second(ops.CountWaits(ctx, db)) }, noWaits},
		"ops.ListRequests":      {func() error { return second(ops.ListRequests(ctx, db, now, 1)) }, "is done at once"},
		"ops.ListRuns":          {func() error { return second(ops.ListRuns(ctx, db, ops.RunFilter{})) }, "Temporal's UI lists runs"},
		"ops.ListFailures":      {func() error { return second(ops.ListFailures(ctx, db, now, 1)) }, "Temporal's UI lists them"},
		"ops.AdjacentRuns":      {func() error { _, _, err := ops.AdjacentRuns(ctx, db, id); return err }, "in the order of their starts"},
		"ops.ListFlows":         {func() error { return second(ops.ListFlows(ctx, db, now)) }, "counts workflows by their types"},
		"ops.Throughput":        {func() error { return second(ops.Throughput(ctx, db, now, time.Hour)) }, "metrics"},
		"ops.ListWorkers":       {func() error { return second(ops.ListWorkers(ctx, db, now)) }, "temporal task-queue describe"},
		"ops.ListTasksInFlight": {func() error { return second(ops.ListTasksInFlight(ctx, db, 1)) }, "pending activities"},
		"ops.ListTasks":         {func() error { return second(ops.ListTasks(ctx, db, id, ops.TaskFilter{})) }, "temporal workflow show"},
		"ops.ListPayloads":      {func() error { return second(ops.ListPayloads(ctx, db, id, 1)) }, "runtime.GetRun with runtime.WithStates"},
		"ops.GetPayload": {func() error { return second(ops.GetPayload(ctx, db, id, ops.PayloadFilter{Kind: ops.PayloadRunInput})) },
			"runtime.GetRun with runtime.WithStates"},
		"ops.ListGates":  {func() error { return second(ops.ListGates(ctx, db, ops.GateFilter{})) }, "handler.Limit limits a worker"},
		"ops.SetGate":    {func() error { return ops.SetGate(ctx, db, "g", ops.GateLimits{Concurrency: 1}) }, "handler.Limit limits a worker"},
		"ops.HoldGate":   {func() error { return ops.HoldGate(ctx, db, "g", nil, time.Second) }, "handler.Limit limits a worker"},
		"ops.RunNow":     {func() error { return second(ops.RunNow(ctx, db, id, "")) }, "temporal activity reset"},
		"ops.PauseFlow":  {func() error { return second(ops.PauseFlow(ctx, db, "f", "")) }, "stop the workers"},
		"ops.ResumeFlow": {func() error { return second(ops.ResumeFlow(ctx, db, "f")) }, "start its workers"},
		"ops.Prune":      {func() error { return second(ops.Prune(ctx, db, ops.PruneOptions{OlderThan: time.Hour})) }, "retention"},
	}
	require.Equal(t, functionsOf(t, "runtime", "..", "ops", "../ops"), slices.Sorted(maps.Keys(table)), "what takes a DB")
	sentences := 0
	for name, tt := range table {
		err := tt.call()
		switch tt.want {
		case asksNobody:
			require.NoError(t, err, name)
		case asksServer:
			require.Error(t, err, name)
			require.NotErrorIs(t, err, runtime.ErrNeedsEngine, name)
		case noWaits:
			require.ErrorIs(t, err, runtime.ErrNeedsEngine, name)
			require.ErrorContains(t, err, tt.want, name)
		default:
			sentences++
			require.ErrorIs(t, err, runtime.ErrNeedsEngine, name)
			pkg, function, _ := strings.Cut(name, ".")
			if pkg == "ops" {
				require.True(t, strings.HasPrefix(err.Error(), "flowc: "+name+": "), "%s: %s", name, err)
			}
			require.ErrorContains(t, err, tt.want, name)
			require.ErrorContains(t, err, instead[function], name)
		}
	}
	require.Len(t, instead, sentences, "a sentence for each function that needs one")
	_, err = db.Exec(ctx, "SELECT 1")
	require.True(t, errors.Is(err, runtime.ErrNeedsEngine) && strings.Contains(err.Error(), "Temporal has no tables"), err)
}

// functionsOf returns the exported functions of packages that take a DB, sorted. Names of
// packages and their folders alternate.
func functionsOf(t *testing.T, packages ...string) (names []string) {
	t.Helper()
	for i := 0; i < len(packages); i += 2 {
		files, err := filepath.Glob(packages[i+1] + "/*.go")
		require.NoError(t, err)
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			require.NoError(t, err)
			for _, d := range file.Decls {
				if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.IsExported() && slices.ContainsFunc(f.Type.Params.List, isDB) {
					names = append(names, packages[i]+"."+f.Name.Name)
				}
			}
		}
	}
	slices.Sort(names)
	return names
}

func isDB(f *ast.Field) bool {
	switch x := f.Type.(type) {
	case *ast.Ident:
		return x.Name == "DB"
	case *ast.SelectorExpr:
		return x.Sel.Name == "DB"
	}
	return false
}
