package conformance

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/flowtest"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// ofTables are the rows that need the engine's tables.
var ofTables = []string{
	"reschedule",
	"list runs", "list failures", "runs beside a run", "list tasks", "list tasks in flight", "list flows", "read a definition",
	"list workers", "read a payload", "list payloads", "throughput", "pause and resume a flow", "list schedules",
	"pause a schedule", "resume a schedule", "next ticks", "run now", "prune", "explain a run",
}

// declines returns the rows that need the engine, and some that differ otherwise.
func declines(needEngine []string, differ map[string]Difference) map[string]Difference {
	all := maps.Clone(differ)
	for _, row := range append(needEngine, ofTables...) {
		all[row] = Difference{Why: "it needs the engine"}
	}
	return all
}

const notWaiting = "nothing is waited for inline"

var inline = Engine{
	Open: func(_ *testing.T, services ...handler.Service) (runtime.DB, error) {
		return openInline(services)
	},
	Declines: declines(
		append([]string{"upsert mismatch", "upsert of other options", "delete a flow", "delete a flow with runs that have not ended"}, OfTransactions...),
		map[string]Difference{
			"start in the user's transaction":         {Why: "an inline database has no transactions", Says: "the engine has no transactions"},
			"upsert a flow that is new":               {Why: "its flows are those of its services", Says: `flow "fresh" is not inline`},
			"upsert of another shape, with data loss": {Why: "its flows are those of its services", Says: `flow "reshaped" is not inline`},
			"cancel before the start":                 {Why: notWaiting, Says: "run is not in the right status for this"},
			"backoff":                                 {Why: notWaiting, Says: "it came too early"},
			debounced:                                 {Why: "starts are not put off inline", Says: "it has not begun"},
			"delayed start":                           {Why: notWaiting, Says: "it came too early"},
			"start delay of a step":                   {Why: notWaiting, Says: "it came too early"},
			"start at a time":                         {Why: notWaiting, Says: "the error is not \"run has not ended in time\""},
		}),
}

// openInline returns an inline database, or why it refuses the services.
func openInline(services []handler.Service) (db *flowtest.DB, err error) {
	defer func() {
		if refused, is := recover().(error); is {
			err = refused
		}
	}()
	return flowtest.Inline(services...), nil
}

var postgres = Engine{
	Open: func(t *testing.T, services ...handler.Service) (runtime.DB, error) {
		return serveOn(t, dbtest.Pool(t), services)
	},
}

var pgflowAlone = Engine{
	Open: func(t *testing.T, services ...handler.Service) (runtime.DB, error) {
		pool, _ := dbtest.Upstream(t)
		return serveOn(t, pool, services)
	},
	Declines: declines(append([]string{
		"cancel a run that has ended", "cancel before the start", "cancel reaches the handler",
		"retry a run that has not failed", "retry a run", retryStep, "delete a run", "headers", "delayed start", "start at a time", "tick of a schedule", "run of a scheduled flow by hand", "flow without a schedule",
		"priority of a run", "change the priority of a run",
	}, slices.Concat(OfWaits, OfGates, OfTransactions, OfUnique)...), map[string]Difference{
		"result of an untyped run":          {Why: "pgflow does not keep what a flow gives", Says: `actual  : map[string]interface {}(map[string]interface {}{"shout":"HELLO ADA"})`},
		"existed by key of another version": {Why: "pgflow knows no versions", Says: "run id is taken by a run of another flow"},
		"upsert of other options":           {Why: "pgflow does not change them", Says: `actual  : "verified"`},
		permanentAttempts:                   {Why: "pgflow knows none, it uses up the attempts that are left", Says: "actual  : 3"},
		refusedSkip:                         {Why: "pgflow knows no skips, the step fails with the reason", Says: `actual  : []interface {}{"failed", "work", "not wanted"}`},
	}),
}

// serveOn puts the flows of services into a database, and runs a worker for them until
// the test ends.
func serveOn(t *testing.T, pool *pgxpool.Pool, services []handler.Service) (runtime.DB, error) {
	if err := runtime.UpsertServed(t.Context(), pool, services...); err != nil {
		return nil, err
	}
	w, err := worker.New(pool, worker.Config{Name: "conformance", Logger: slog.New(slog.DiscardHandler)}, services...)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return pool, nil
}

func TestInline(t *testing.T) {
	t.Parallel()
	Test(t, inline)
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	Test(t, postgres)
}

func TestPgflowAlone(t *testing.T) {
	t.Parallel()
	Test(t, pgflowAlone)
}

// Whatever a flow does with the engine, it does inline and with pgflow alone.
func TestRandomFlows(t *testing.T) {
	t.Parallel()
	t.Run("inline", func(t *testing.T) {
		t.Parallel()
		TestRandom(t, 150, postgres, inline)
	})
	t.Run("pgflow alone", func(t *testing.T) {
		t.Parallel()
		TestRandom(t, 40, inline, pgflowAlone)
	})
}
