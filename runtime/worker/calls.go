package worker

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"
)

// calls is what a worker asks of the database. Where there is the engine they are
// its functions; where there is pgflow without it, those of the contract.
type calls interface {
	// verify reports whether the database has what this program was built for.
	verify(ctx context.Context) error
	// compare returns how the stored flow differs from a definition; found is false
	// if there is none.
	compare(ctx context.Context, slug string, definition json.RawMessage) (differences []string, found bool, err error)

	// crons are the schedules of flows, by slug.
	crons(ctx context.Context, flows []string) (map[string]string, error)

	register(ctx context.Context, id uuid.UUID, name string, flows []string) error
	// heartbeat says that the worker lives, and what it has.
	heartbeat(ctx context.Context, id uuid.UUID, flows []string, tasks []*task) (pulse, error)
	// draining says that the worker claims no more and stops soon.
	draining(ctx context.Context, id uuid.UUID) error
	stop(ctx context.Context, id uuid.UUID) error

	claim(ctx context.Context, id uuid.UUID, a ask) ([]*task, error)
	// claimSuspects takes tasks that other workers had in flight when they died, as many
	// as may run together.
	claimSuspects(ctx context.Context, id uuid.UUID, a ask) ([]*task, error)
	// failUnclaimable fails the tasks that cannot be claimed among those that a claim may
	// meet, and says which.
	failUnclaimable(ctx context.Context, names, except []string) ([]unclaimable, error)
	// readValues reads values of runs, as many as go together; at least the first. Those
	// that are not in the answer are to be asked for again.
	readValues(ctx context.Context, runs, sources []string) ([]value, error)
	// finish reports results, and claims in the same transaction unless next is nil.
	finish(ctx context.Context, id uuid.UUID, r report, next *ask) (answer, error)
	// claimsAlong reports whether a report can have a claim go with it.
	claimsAlong() bool
	// claimsEagerly reports whether a start may have a claim go with it.
	claimsEagerly() bool
	release(ctx context.Context, id uuid.UUID, tasks []*task) error
	// releaseUnknown gives back what the database thinks this worker has, except
	// for the given tasks.
	releaseUnknown(ctx context.Context, id uuid.UUID, known []*task) error

	// sleep says that the worker waits for work. It returns how long until the next
	// thing is due, or a negative number if nothing is known to be.
	sleep(ctx context.Context, id uuid.UUID, flows []string) (due time.Duration, err error)
	awake(ctx context.Context, id uuid.UUID) error
	// maxPoll is the longest wait between claims that find nothing.
	maxPoll() time.Duration
	// startDue starts scheduled runs whose time has come and what schedules are due,
	// and says how many runs those were.
	startDue(ctx context.Context, flows []string) (started int, err error)
	// recover makes the tasks of dead workers available.
	recover(ctx context.Context) error
	// advanceWatermarks spares claims what has left the queues of flows.
	advanceWatermarks(ctx context.Context, flows []string) error
	// prune deletes up to so many runs that ended longer ago than they are to be
	// kept, and says how many.
	prune(ctx context.Context, id uuid.UUID, flows []string, keep time.Duration, most int) (deleted int, err error)

	// What follows is the same for both.

	patiently(ctx context.Context, fn func() error) error
	isBack() <-chan struct{}
	observe(name string, err error)
	close()
}

// A claimed task, in the order in which statements give it.
type claimed struct {
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
	ScheduledAt *time.Time
	Headers     []byte
	Waited      *float64 // seconds
	IsolatedFor *float64 // seconds for which nothing is claimed beside it; nil unless it is a suspect
}

// waited is for how long the task could have been claimed.
func (c claimed) waited() time.Duration {
	if c.Waited == nil {
		return 0
	}
	return max(secondsToDuration(*c.Waited), 0)
}

// An ask is for a claim of up to so many tasks of each lane, which is a flow, without
// its steps in except, or a step. Steps are called flow.step.
type ask struct {
	deal
	except []string
	quiet  bool // whether it takes whatever a report makes work of, unless it is too much
}

// What a report is about, in arrays as flowc.report takes them.
type report struct {
	runs     []string
	steps    []string
	indexes  []int32
	messages []int64
	claims   []int32 // claim numbers
	outcomes []string
	outputs  []*string
	errors   []*string
	delays   []*float64 // seconds
	bytes    int        // of all outputs and errors
}

// An answer is what a report brought.
type answer struct {
	verdicts []verdict
	tasks    []*task // claimed with it
}

// What became of a report that did not simply complete its task.
type verdict struct {
	N        int
	Accepted bool
	Status   *string
	RetryIn  *float64 // seconds
}

// What a heartbeat brings.
type pulse struct {
	Lost       []*task // that are not this worker's any more
	Deprecated *bool   // nil if the worker has to register again
	Silent     *float64
	ServerUp   float64 // seconds, as is how long the worker was silent
	Dead, Due  bool    // whether there is something to recover, and something to start
	Suspects   bool    // whether this worker is to claim suspects
}

// A value of a run, nil if it has none.
type value struct {
	RunID  string
	Source string
	Value  []byte
}
