package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/flowc-dev/flowc/runtime/internal/pgcall"
	"github.com/flowc-dev/flowc/runtime/internal/valid"
	"github.com/flowc-dev/flowc/runtime/internal/words"
)

// Errors that [errors.Is] finds in the errors of this package, whose texts say more: which
// flow, which run, and what to do.
var (
	// ErrFlowNotFound says that the database does not have the flow.
	ErrFlowNotFound = errors.New("flow is not in the database")
	// ErrInvalidSlug says that a slug is not valid for a flow.
	ErrInvalidSlug = valid.ErrInvalidSlug
	// ErrRunNotFound says that the database does not have the run, or that it
	// is a run of another flow than the one asked for.
	ErrRunNotFound = errors.New("run not found")
	// ErrInvalidRunID says that a text is not the id of a run: a UUID.
	ErrInvalidRunID = valid.ErrInvalidRunID
	// ErrRunIDTaken says that a run of another flow has the id of [WithRunID].
	ErrRunIDTaken = errors.New("run id is taken by a run of another flow")
	// ErrWrongStatus says that a run is not in a status in which it can be cancelled,
	// retried or rescheduled.
	ErrWrongStatus = errors.New("run is not in the right status for this")
	// ErrRequested says that something has not been done yet: somebody else holds the run,
	// such as a transaction of another program, or a retry waits in line since as many runs
	// of the flow are in progress as may be ([spec.Flow.Concurrency]). A worker that serves
	// the flow does it when that has ended.
	ErrRequested = errors.New("requested: somebody else holds the run, or it waits for its turn, and a worker does it then")
	// ErrNoSchedule says that a flow is not in the database, or has no schedule.
	ErrNoSchedule = errors.New("flow has no schedule: it gets one with the tag cron (or spec.Flow.Cron) and its Upsert function")
	// ErrTimeout says that a run had not ended within the time of [WithTimeout]. It
	// comes in a [WaitError], and the run continues.
	ErrTimeout = errors.New("run has not ended in time")
	// ErrWaitInTx says that a run cannot be waited for in a transaction. The run
	// starts when the transaction commits: wait through [Run.Via] after that.
	ErrWaitInTx = errors.New("cannot wait for a run in a transaction, it starts when the transaction commits: commit, then call run.Via(pool).Wait(ctx)")
	// ErrNoDB says that a call got no [DB]: nil, or a nil pool or connection.
	ErrNoDB = pgcall.ErrNoDB
	// ErrInvalidOption says that an option has an invalid value, or cannot be combined
	// with another option or with the function.
	ErrInvalidOption = valid.ErrInvalidOption
)

// An EngineError says that a call cannot use a database. [errors.As] finds it, and
// [errors.Is] the constants.
type EngineError = pgcall.EngineError

// Reasons of an [EngineError].
const (
	// ErrEngineMissing says that the database does not have what flowc needs.
	ErrEngineMissing = pgcall.ErrEngineMissing
	// ErrEngineOlder says that the engine in the database is older than this program,
	// ErrEngineNewer that it is newer.
	ErrEngineOlder EngineError = "the database's engine is older than this program: run `flowc migrate up`"
	ErrEngineNewer EngineError = "the database's engine is newer than this program: upgrade the program"
	// ErrNeedsEngine says that the [Backend] does not support the call: the database has
	// pgflow without the engine, see the package comment, or is not PostgreSQL.
	ErrNeedsEngine = pgcall.ErrNeedsEngine
	// ErrOtherPgflow says that the database has a pgflow, without the engine, that is
	// older than the one whose functions this program knows, or newer.
	ErrOtherPgflow = pgcall.ErrOtherPgflow
	// ErrServerTooOld says that the PostgreSQL is older than the engine needs.
	ErrServerTooOld EngineError = "the PostgreSQL is older than flowc's engine needs"
)

// A FlowNotFoundError is an [ErrFlowNotFound] with the slug of the flow.
type FlowNotFoundError struct{ Flow string }

func (e *FlowNotFoundError) Error() string {
	return fmt.Sprintf("flowc: flow %q is not in the database: call the Upsert function of its generated package (or runtime.UpsertFlow), or write its migration with `flowc generate --sql DIR` and apply it", e.Flow)
}

// Is reports whether target is [ErrFlowNotFound].
func (e *FlowNotFoundError) Is(target error) bool { return target == ErrFlowNotFound }

// A MismatchError says that the database has a flow with the same slug but of another
// shape, and that it was left as it is, with its runs.
type MismatchError struct {
	Flow string
	// Differences lists how the given shape, called first, differs from the stored one.
	Differences []string
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("flowc: flow %q has another shape in the database: give the new shape a slug of its own (tag version), or have all its runs deleted, those that have not ended too, with runtime.AllowDataLoss():\n\t%s",
		e.Flow, strings.Join(e.Differences, "\n\t"))
}

// An ActiveRunsError says that a flow was not deleted because it has runs that have
// not ended.
type ActiveRunsError struct {
	Flow string
	// Active counts these runs, including scheduled ones.
	Active int
}

func (e *ActiveRunsError) Error() string {
	return fmt.Sprintf("flowc: flow %q was not deleted, since runs of it have not ended (%d): let them end, cancel them, or delete them too with runtime.AllowDataLoss()",
		e.Flow, e.Active)
}

// A DuplicateRunError says that a flow has a run with the same unique values
// ([spec.Flow.Unique]), so that nothing was started or retried.
type DuplicateRunError struct {
	// Flow is the flow of that run, which may be another version, and RunID its id.
	Flow  string
	RunID string
}

func (e *DuplicateRunError) Error() string {
	return fmt.Sprintf("flowc: flow %q has a run with the same unique values: %s (runtime.WithoutUnique starts another one beside it)", e.Flow, e.RunID)
}

// An InputError says that the input of a run cannot be stored. Nothing was written.
type InputError struct {
	Flow string
	// Index is the index of the input in a StartMany, else 0; -1 if the database
	// refused one of several.
	Index int
	Err   error
}

func (e *InputError) Error() string {
	if e.Index > 0 {
		return fmt.Sprintf("flowc: input %d of flow %q cannot be stored: %v", e.Index, e.Flow, e.Err)
	}
	return fmt.Sprintf("flowc: input of flow %q cannot be stored: %v", e.Flow, e.Err)
}

func (e *InputError) Unwrap() error { return e.Err }

// A RunFailedError says that a run ended without a result: it failed or was cancelled.
type RunFailedError struct {
	RunID string
	Flow  string
	// Status is [RunFailed] or [RunCancelled].
	Status RunStatus
	// Step is the slug of the step that failed, if one did.
	Step string
	// Index is the element that failed, if the step is a map.
	Index *int
	// Message is the last error of that step, or the reason of the cancellation.
	Message string
}

func (e *RunFailedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "flowc: run %s of flow %s %s", e.RunID, e.Flow, e.Status)
	if e.Step != "" {
		fmt.Fprintf(&b, " in step %s", words.Element(e.Step, e.Index))
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	return b.String()
}

// A WaitError says why waiting for a run ended before the run did. The run continues, and
// can be waited for again by RunID.
type WaitError struct {
	RunID string
	// Last is the run as it was last read, nil if it could not be read.
	Last *RunInfo
	// Reasons lists what the run waited for, the most important first, as far as it
	// could be read. See [ExplainRun].
	Reasons []Reason
	// Err is [ErrTimeout], the cause of the context's end, [ErrRunNotFound] if the run
	// was deleted, or the error of the database.
	Err error
}

func (e *WaitError) Error() string {
	text := fmt.Sprintf("flowc: waiting for run %s: %v", e.RunID, e.Err)
	if e.Last != nil {
		text += fmt.Sprintf(" (it is %s", e.Last.Status)
		switch n := e.Last.RemainingSteps; {
		case n == 1:
			text += ", 1 step remains"
		case n > 1: // on some backends only workers know
			text += fmt.Sprintf(", %d steps remain", n)
		}
		for i, reason := range e.Reasons {
			text += []string{": ", "; "}[min(i, 1)] + reason.String()
		}
		text += ")"
	}
	return text
}

func (e *WaitError) Unwrap() error { return e.Err }

// An OutputError says that a run completed with an output that does not fit the type it
// was read as.
type OutputError struct {
	RunID string
	Flow  string
	// Output is the output of the run.
	Output json.RawMessage
	Err    error
}

func (e *OutputError) Error() string {
	return fmt.Sprintf("flowc: output of run %s of flow %s: %v", e.RunID, e.Flow, e.Err)
}

func (e *OutputError) Unwrap() error { return e.Err }
