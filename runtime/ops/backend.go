package ops

import (
	"context"
	"errors"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// The functions of this package query PostgreSQL, after they have validated their arguments.
// With a [runtime.BackendDB] they call the methods below, as far as its backend has them.
// Those about one run go to the database of the run, if the backend is a [runtime.Router].
// For anything else, queries of the BackendDB return a [runtime.ErrNeedsEngine].

// A Lister is a [runtime.Backend] that lists flows, runs, tasks in flight and workers.
type Lister interface {
	// ListRuns is called with a valid filter that has a limit.
	ListRuns(ctx context.Context, filter RunFilter) ([]RunSummary, error)
	ListFailures(ctx context.Context, since time.Time, limit int) ([]RunSummary, error)
	// AdjacentRuns returns nothing for a run that does not exist.
	AdjacentRuns(ctx context.Context, id string) (newer, older string, _ error)
	ListFlows(ctx context.Context, since time.Time) ([]FlowInfo, error)
	Throughput(ctx context.Context, since time.Time, stretch time.Duration) ([]ThroughputPoint, error)
	ListWorkers(ctx context.Context, since time.Time) ([]WorkerInfo, error)
	ListTasksInFlight(ctx context.Context, limit int) ([]TaskInFlight, error)
}

// An Inspector is a [runtime.Backend] that shows what a run consists of.
type Inspector interface {
	// ListTasks is called with a valid filter.
	ListTasks(ctx context.Context, id string, filter TaskFilter) ([]TaskInfo, error)
	ListPayloads(ctx context.Context, id string, atMost int) ([]Payload, error)
	GetPayload(ctx context.Context, id string, filter PayloadFilter) (*Payload, error)
	AdjacentRuns(ctx context.Context, id string) (newer, older string, err error)
	// RunNow is called for all steps if there is none.
	RunNow(ctx context.Context, id, step string) (int, error)
}

// A Definer is a [runtime.Backend] that returns the definitions of flows.
type Definer interface {
	// GetDefinition returns [runtime.ErrFlowNotFound] if there is no such flow.
	GetDefinition(ctx context.Context, slug string) (spec.Flow, error)
}

// An Operator is a [runtime.Backend] that pauses flows and prunes runs.
type Operator interface {
	// PauseFlow returns [runtime.ErrFlowNotFound] if there is no such flow.
	PauseFlow(ctx context.Context, flow, by string) (changed bool, _ error)
	ResumeFlow(ctx context.Context, flow string) (changed bool, _ error)
	// Prune returns how many runs it deleted, also with an error.
	Prune(ctx context.Context, o PruneOptions) (int, error)
}

// A WaitLister is a [runtime.Backend] that counts the steps that wait for answers, and lists
// requests. Listing the steps themselves is part of [runtime.Signaller].
type WaitLister interface {
	CountWaits(ctx context.Context) ([]WaitCount, error)
	// ListRequests is called with a valid time and limit.
	ListRequests(ctx context.Context, before time.Time, limit int) ([]Request, error)
}

// A Scheduler is a [runtime.Backend] that lists and pauses schedules. Starting a run as a
// schedule would is part of [runtime.Scheduler].
type Scheduler interface {
	// ListSchedules lists those of all flows if there are no slugs.
	ListSchedules(ctx context.Context, slugs ...string) ([]ScheduleInfo, error)
	// PauseSchedule returns [runtime.ErrNoSchedule] if the flow has none.
	PauseSchedule(ctx context.Context, slug, reason string) (changed bool, _ error)
	ResumeSchedule(ctx context.Context, slug string) (changed bool, _ error)
	// NextTicks returns a [runtime.ErrInvalidOption] for an expression that is none.
	NextTicks(ctx context.Context, cron string, n int) ([]time.Time, error)
}

// backendOf returns the backend of a db that is no PostgreSQL as a B, if it is one.
func backendOf[B any](db runtime.DB) (b B, ok bool) {
	if e, is := db.(runtime.BackendDB); is {
		b, ok = e.Backend().(B)
	}
	return b, ok
}

// route calls a function with the database of a run, which is one of several. For a run that
// does not exist, it returns nothing.
func route[T any](ctx context.Context, r runtime.Router, id string, do func(runtime.DB) (T, error)) (T, error) {
	of, err := r.DBOf(ctx, id)
	switch {
	case errors.Is(err, runtime.ErrRunNotFound):
		return *new(T), nil
	case err != nil:
		return *new(T), err
	}
	return do(of)
}
