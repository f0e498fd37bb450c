package runtime

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A Backend stores runs. There is one for PostgreSQL with flowc's engine, one for
// PostgreSQL with pgflow alone, and that of package flowtest.
//
// A Backend gets arguments that have been validated. It returns the errors that the
// functions of this package document.
type Backend interface {
	// Start starts runs, all or none, and returns the result for each, in order.
	Start(ctx context.Context, r StartRequest) ([]StartedRun, error)
	// Run reads a run. If there is none with that id it returns [ErrRunNotFound].
	Run(ctx context.Context, id string, detail RunDetail) (*RunInfo, error)
	// Outcome reads the status of a run and, once it has completed, its results.
	// If there is none with that id it returns [ErrRunNotFound].
	Outcome(ctx context.Context, id string, want Want) (Outcome, error)
	// UpsertFlow stores a valid flow. A stored flow of another shape is left as it is,
	// with [UpsertMismatch], unless data may be lost.
	UpsertFlow(ctx context.Context, flow spec.Flow, o UpsertOptions) (UpsertResult, error)
	// DeleteFlow removes a flow with its runs. Unless data may be lost, a flow with runs
	// that have not ended is left as it is, with an [ActiveRunsError].
	DeleteFlow(ctx context.Context, slug string, o DeleteOptions) (Deleted, error)
	// FlowExists reports whether there is a flow.
	FlowExists(ctx context.Context, slug string) (bool, error)
}

// A Steerer is a [Backend] whose runs can be controlled from outside. With any other,
// [CancelRun] and the like return [ErrNeedsEngine].
type Steerer interface {
	// CancelRun ends a run that has not ended.
	CancelRun(ctx context.Context, id, reason string) (Steered, error)
	// RetryRun resumes a failed or cancelled run.
	RetryRun(ctx context.Context, id string) (Steered, error)
	// RetryStep re-runs a step of an ended run, and what is downstream of it. A run
	// without such a step is not found.
	RetryStep(ctx context.Context, id, step string) (Steered, error)
	// RescheduleRun moves the start of a scheduled run.
	RescheduleRun(ctx context.Context, id string, at time.Time) (Steered, error)
	// DeleteRun deletes a run that has ended or, if data may be lost, any.
	DeleteRun(ctx context.Context, id string, o DeleteOptions) (Steered, error)
}

// A Prioritizer is a [Backend] that can change the priority of a run.
type Prioritizer interface {
	// SetPriority sets the priority of a run that has not completed.
	SetPriority(ctx context.Context, id string, priority Priority) (Steered, error)
}

// A Scheduler is a [Backend] that starts flows on schedule.
type Scheduler interface {
	// RunSchedule starts a run with an id as the schedule of the flow would. ok is
	// false if the flow has none.
	RunSchedule(ctx context.Context, flow, id string) (ok bool, _ error)
}

// An Explainer is a [Backend] that can say what a run waits for.
type Explainer interface {
	// ExplainRun returns what a run that has not ended waits for, the most important
	// reason first.
	ExplainRun(ctx context.Context, id string) ([]Reason, error)
}

// An Awaiter is a [Backend] that can wait for the end of a run. With any other,
// [Run.Wait] polls.
type Awaiter interface {
	// AwaitRun returns when the run may have ended, or with an error; [Run.Wait] then
	// reads the run. It may be called again for the same run.
	AwaitRun(ctx context.Context, id string) error
}

// A Router is a [Backend] that keeps runs in several databases. [Run.Wait] waits through
// the one that has the run.
type Router interface {
	// DBOf returns the database of a run. If no database has it, the error is
	// [ErrRunNotFound].
	DBOf(ctx context.Context, id string) (DB, error)
}

// A Namer is a [Backend] that chooses the ids of new runs. With any other they are random.
type Namer interface {
	// NewRunIDs returns n UUIDs that no run has.
	NewRunIDs(n int) ([]uuid.UUID, error)
	// KeyedRunID returns the id of a run with an idempotency key, given the one that it has
	// with any other backend.
	KeyedRunID(id uuid.UUID) (uuid.UUID, error)
}

// An EngineBackend is a [Backend] with everything that flowc's engine can do.
type EngineBackend interface {
	Backend
	Steerer
	Prioritizer
	Scheduler
	Explainer
}

// BackendOf returns the backend of a database. Backends that keep runs in several databases
// call it; programs do not need it.
func BackendOf(db DB) EngineBackend { return delegate{db} }

// A BackendDB is a [DB] that is not PostgreSQL: it embeds [NoTables] and has a [Backend].
type BackendDB interface {
	DB
	Backend() Backend
	// Unsupported returns an [ErrNeedsEngine] that says what to use for what the backend
	// cannot do.
	Unsupported() error
}

// A StartRequest holds runs of one flow that start together.
type StartRequest struct {
	Flow string
	Runs []NewRun
	// At, or In by the clock of the backend, is when their steps start. Zero means now.
	At time.Time
	In time.Duration
	// Priority is that of [WithPriority]; empty means that of the flow.
	Priority Priority
	// MapVersion is the version of the map of shards by which the runs were placed; 0 if
	// they were not. A database with another version refuses them.
	MapVersion int
	// WithoutUnique starts the runs whatever [spec.Flow.Unique] says.
	WithoutUnique bool
	// ExactIDs starts nothing, with a [DuplicateRunError], if a run would be one that is
	// there under another id.
	ExactIDs bool
}

// A NewRun is a run to be started.
type NewRun struct {
	ID    string
	Input json.RawMessage
	// Headers are those of [WithHeaders], as a JSON object; nil if there are none.
	Headers json.RawMessage
	// Traced reports that all of the headers come from a [Tracer]: a backend that has no
	// headers drops them, and refuses any others.
	Traced bool
	// Chosen reports that others may use the same id, such as that of a key, so that such
	// a run may exist already. An id that is not chosen is new.
	Chosen bool
}

// A StartedRun is the result of starting a [NewRun].
type StartedRun struct {
	// Existed reports whether there already was a run with that id, or one like it. Flow is the version of
	// the flow that it belongs to, empty if it is this one.
	Existed bool
	Flow    string
	// ID is the id of the run if that is not the one of the [NewRun]: it existed, and
	// [spec.Flow.Unique] says that one of the two is enough.
	ID string
	// ScheduledAt is when it starts, if that is later.
	ScheduledAt time.Time
}

// A RunDetail selects how much of a run to read.
type RunDetail struct {
	// States selects the states of the steps.
	States bool
	// Payloads selects the input, the outputs and the result.
	Payloads bool
}

// A Want selects what to read of a completed run.
type Want struct {
	// Steps selects the outputs of these steps, Input the input.
	Steps []string
	Input bool
	// Whole selects the result and the output of the run.
	Whole bool
}

// An Outcome is the status of a run, with its results once it has completed.
type Outcome struct {
	Flow   string
	Status RunStatus
	// Values holds the selected input and outputs of steps of a completed run.
	Values handler.Values
	// Result and Output are those of [RunInfo], if they were selected.
	Result, Output json.RawMessage
	// FailedStep, FailedIndex and Message say why the run failed or was cancelled.
	FailedStep  string
	FailedIndex *int
	Message     string
}

// A Steered is the result of an action on a run.
type Steered struct {
	// Found reports whether there is such a run, Done whether it was in the right status
	// for the action.
	Found, Done bool
	// Requested reports that it will be done: after the commit of the transaction that it was
	// called in, or when somebody else no longer holds the run.
	Requested bool
	// Repeated reports that the call may have been executed twice, because its reply
	// was lost, so that the first execution may have done it.
	Repeated bool
}

// NoTables is embedded by a [BackendDB], which has no tables to query: queries return an
// [ErrNeedsEngine].
type NoTables struct {
	// Instead says what to use for that.
	Instead string
}

// Unsupported returns an [ErrNeedsEngine] that says what to use.
func (n NoTables) Unsupported() error {
	if n.Instead == "" {
		return ErrNeedsEngine
	}
	return fmt.Errorf("%w: %s", ErrNeedsEngine, n.Instead)
}

// Exec returns an [ErrNeedsEngine].
func (n NoTables) Exec(context.Context, string, ...any) (pgconn.CommandTag, error) {
	return pgconn.CommandTag{}, n.Unsupported()
}

// Query returns an [ErrNeedsEngine].
func (n NoTables) Query(context.Context, string, ...any) (pgx.Rows, error) {
	return nil, n.Unsupported()
}

// QueryRow returns a row whose Scan returns an [ErrNeedsEngine].
func (n NoTables) QueryRow(context.Context, string, ...any) pgx.Row { return noRow{n.Unsupported()} }

type noRow struct{ err error }

func (r noRow) Scan(...any) error { return r.err }
