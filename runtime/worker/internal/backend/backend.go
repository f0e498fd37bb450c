// Package backend is what a worker asks of the database, in plain Go values: where the
// engine is installed, its functions; where pgflow is installed without it, those of
// pgflow's contract.
package backend

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/flowc-dev/flowc/runtime/internal/attempt"
	"github.com/flowc-dev/flowc/runtime/internal/eager"
)

// DeadAfter is how long a worker must be silent to be presumed dead; the engine's
// functions have the same.
const DeadAfter = 5 * time.Second

// A Worker is what the database knows of a worker.
type Worker struct {
	ID    uuid.UUID
	Name  string
	Flows []Flow
	// Except are the steps, as flow.step, that are not claimed with their flows.
	Except []string
	// Gated are those of them that have limits or turns by key in the database.
	Gated []string
	// MaxCrashes is how often a worker may die of a task; see the worker's Config.
	MaxCrashes int
	// Prunes reports whether old runs are to be deleted.
	Prunes bool
}

// A Flow is a flow that a worker serves.
type Flow struct {
	Slug  string
	Steps []string
	Cron  string
	// Limited reports whether the database limits how many runs are in progress.
	Limited bool
}

// limited returns the flows whose runs have a limit.
func (w *Worker) limited() (slugs []string) {
	for _, f := range w.Flows {
		if f.Limited {
			slugs = append(slugs, f.Slug)
		}
	}
	return slugs
}

func (w *Worker) slugs() (slugs []string) {
	for _, f := range w.Flows {
		slugs = append(slugs, f.Slug)
	}
	return slugs
}

// A Backend makes the calls of one worker.
type Backend interface {
	// Verify reports whether the database has what this program was built for. Its
	// calls are not observed.
	Verify(ctx context.Context) error
	// CompareFlow returns how the stored flow differs from a definition; found is false
	// if there is none.
	CompareFlow(ctx context.Context, slug string, definition json.RawMessage) (differences []string, found bool, err error)
	// Crons returns the schedules of the worker's flows, by slug.
	Crons(ctx context.Context) (map[string]string, error)

	// Register adds the worker, or adds it again.
	Register(ctx context.Context) error
	// Heartbeat says that the worker is alive, and which tasks it has in flight.
	Heartbeat(ctx context.Context, inFlight []*Claimed) (HeartbeatResult, error)
	// Drain says that the worker claims no more and will stop.
	Drain(ctx context.Context) error
	// Stop removes the worker.
	Stop(ctx context.Context) error

	// Claim claims tasks.
	Claim(ctx context.Context, r ClaimRequest) ([]*Claimed, error)
	// ClaimSuspects claims tasks that other workers had in flight when they died, as
	// many as may run together.
	ClaimSuspects(ctx context.Context, r ClaimRequest) ([]*Claimed, error)
	// FailUnclaimable fails those of the tasks that a claim of groups may meet that
	// cannot be claimed, and returns them.
	FailUnclaimable(ctx context.Context, groups []string) ([]Unclaimable, error)
	// ReadValues reads values of runs: the first, and as many more as fit. Those that are
	// missing in what it returns are to be asked for again.
	ReadValues(ctx context.Context, runs, sources []string) ([]Value, error)
	// Report reports results, and claims in the same transaction unless piggyback is nil.
	Report(ctx context.Context, r *Report, piggyback *ClaimRequest) (ReportReply, error)
	// SupportsTransactions reports whether tasks can be completed in a transaction.
	SupportsTransactions() bool
	// Complete completes a task in the transaction of a connection, which the caller then
	// commits if it is accepted and there is no failure, which the output is the reason of.
	Complete(ctx context.Context, conn *pgx.Conn, c *Claimed, output string) (accepted bool, failure string, err error)
	// SupportsKeep reports whether handlers can keep values, and snooze their tasks.
	SupportsKeep() bool
	// SupportsPiggyback reports whether a report can carry a claim.
	SupportsPiggyback() bool
	// SupportsEagerClaims reports whether a start can carry a claim.
	SupportsEagerClaims() bool
	// EagerClaim returns a claim that goes with a start. done is called once with what
	// was claimed.
	EagerClaim(alive context.Context, r ClaimRequest, done func([]*Claimed, error)) *eager.Claim
	// Release returns tasks to their queues, with what their handlers kept, empty if they
	// kept nothing. kept may be nil.
	Release(ctx context.Context, tasks []*Claimed, kept []string) error
	// LeaveUnknown returns tasks of gated steps to their queues that the worker has had in
	// the database for a while, but that are not in flight.
	LeaveUnknown(ctx context.Context, inFlight []*Claimed) error
	// ReleaseLost returns the tasks to their queues that the worker has in the database,
	// but that are not in flight: those of claims whose replies were lost.
	ReleaseLost(ctx context.Context, inFlight []*Claimed) error

	// EnterIdle says that the worker waits to be woken. It returns how long until the next
	// task or run is due, negative if none is known to be. tried says that StartDue was just
	// called and did nothing: what it left is not due again at once.
	EnterIdle(ctx context.Context, tried bool) (due time.Duration, err error)
	// LeaveIdle says that the worker need not be woken.
	LeaveIdle(ctx context.Context) error
	// MaxPoll returns the longest wait between claims that find nothing.
	MaxPoll() time.Duration
	// StartDue starts the scheduled runs and schedules that are due, delivers answers and the
	// like, and returns how much it did.
	StartDue(ctx context.Context) (done int, err error)
	// DeliverLarge delivers the answers that are too large to be delivered beside others by
	// StartDue. It may take minutes.
	DeliverLarge(ctx context.Context) error
	// Recover makes the tasks of dead workers available.
	Recover(ctx context.Context) error
	// AdvanceWatermarks has claims skip what has left the queues.
	AdvanceWatermarks(ctx context.Context) error
	// Prune deletes up to limit runs that ended longer ago than keep, and returns how many.
	Prune(ctx context.Context, keep time.Duration, limit int) (deleted int, err error)
}

// A Claimed is a claimed task. The fields are in the order of the columns that claims
// return.
type Claimed struct {
	Flow        string
	RunID       string
	Step        string
	Index       int
	MessageID   int64
	ClaimNumber int32 // with the message, the fence of reports
	Attempt     int   // of those that count, from 1
	MaxAttempts int
	Timeout     int // seconds
	Input       []byte
	RunInput    []byte
	ArrayFrom   *string // what was left out, see flowc.claim
	Tick        *time.Time
	Headers     []byte
	Waited      *float64 // seconds
	IsolatedFor *float64 // seconds for which nothing is claimed beside it; nil unless it is a suspect
	Kept        []byte   // what an attempt before has kept
}

// WaitedFor returns how long the task was claimable before it was claimed.
func (c *Claimed) WaitedFor() time.Duration {
	if c.Waited == nil {
		return 0
	}
	return max(Seconds(*c.Waited), 0)
}

// A ClaimRequest asks for up to some number of tasks of each claim group: a flow, without
// the worker's excepted steps, or a step as flow.step.
type ClaimRequest struct {
	Groups []string
	Limits []int32
	// First are the message ids at which to begin, nil for the beginning of all queues.
	First []int64
	// SuppressNotify says that no other worker is notified of tasks that become ready in
	// the same transaction, since this claim takes them, unless they are too many.
	SuppressNotify bool
}

// heldOff is the outcome in a report of an attempt that failed, and that holds off others.
const heldOff = "held off"

// A Report is results of attempts, in arrays as flowc.report takes them.
type Report struct {
	RunIDs       []string
	Steps        []string
	Indexes      []int32
	MessageIDs   []int64
	ClaimNumbers []int32
	Outcomes     []string
	Outputs      []*string
	Errors       []*string
	Delays       []*float64 // seconds
	Kept         []*string  // nil if no handler kept anything
	Bytes        int        // of all outputs and errors
}

// NewReport returns an empty report with room for n results.
func NewReport(n int) *Report {
	return &Report{
		RunIDs: make([]string, 0, n), Steps: make([]string, 0, n), Indexes: make([]int32, 0, n),
		MessageIDs: make([]int64, 0, n), ClaimNumbers: make([]int32, 0, n),
		Outcomes: make([]string, 0, n), Outputs: make([]*string, 0, n),
		Errors: make([]*string, 0, n), Delays: make([]*float64, 0, n),
	}
}

// Add adds the result of an attempt, which must not change before the report is sent.
func (r *Report) Add(c *Claimed, result *attempt.Result) {
	r.RunIDs, r.Steps, r.Indexes = append(r.RunIDs, c.RunID), append(r.Steps, c.Step), append(r.Indexes, int32(c.Index))
	r.MessageIDs, r.ClaimNumbers = append(r.MessageIDs, c.MessageID), append(r.ClaimNumbers, c.ClaimNumber)
	r.Outcomes = append(r.Outcomes, result.Outcome)
	if result.HoldOff {
		r.Outcomes[len(r.Outcomes)-1] = heldOff
	}
	r.Bytes += len(result.Output) + len(result.Err)
	var delay *float64
	if result.Delay != nil {
		seconds := result.Delay.Seconds()
		delay = &seconds
	}
	output, err := &result.Output, (*string)(nil)
	if result.Outcome != attempt.Completed {
		output, err = nil, &result.Err
	}
	r.Outputs, r.Errors, r.Delays = append(r.Outputs, output), append(r.Errors, err), append(r.Delays, delay)
	if result.Kept != "" && result.Outcome != attempt.Completed {
		for len(r.Kept) < len(r.RunIDs)-1 {
			r.Kept = append(r.Kept, nil)
		}
		r.Kept = append(r.Kept, &result.Kept)
		r.Bytes += len(result.Kept)
	} else if r.Kept != nil {
		r.Kept = append(r.Kept, nil)
	}
}

// completed reports whether all attempts completed their tasks.
func (r *Report) completed() bool {
	return !slices.ContainsFunc(r.Outcomes, func(outcome string) bool { return outcome != attempt.Completed })
}

// A ReportReply is what the database returned for a report.
type ReportReply struct {
	Results []ReportResult
	Claimed []*Claimed // by the claim that it carried
}

// A ReportResult is what became of a result that did not simply complete its task.
type ReportResult struct {
	N        int // of the result in the report, from 1
	Accepted bool
	Status   *string  // of the task, or "locked"
	RetryIn  *float64 // seconds
}

// A HeartbeatResult is what a heartbeat returned.
type HeartbeatResult struct {
	Lost         []int    // indexes of tasks that are no longer this worker's
	Deprecated   *bool    // nil if the worker must register again
	SilentFor    *float64 // seconds since its last heartbeat
	ServerUptime float64  // seconds
	DeadWorkers  bool     // whether there is something to recover
	DueRuns      bool     // whether there is something to start
	Suspects     bool     // whether this worker is to claim suspects
}

// An Unclaimable is a task whose claim the database refused, and that failed for it.
type Unclaimable struct {
	Flow  string
	RunID string
	Step  string
	Index int
	Err   string
}

// A Value is a value of a run: its input or the output of one of its steps. Value is nil
// if there is none.
type Value struct {
	RunID  string
	Source string
	Value  []byte
}

// Seconds returns a number of seconds as a duration.
func Seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// keys returns the flows, messages and claim numbers of tasks, as the engine takes them.
func keys(tasks []*Claimed) (flows []string, messages []int64, claims []int32) {
	flows, messages, claims = []string{}, []int64{}, []int32{}
	for _, t := range tasks {
		flows = append(flows, t.Flow)
		messages = append(messages, t.MessageID)
		claims = append(claims, t.ClaimNumber)
	}
	return flows, messages, claims
}
