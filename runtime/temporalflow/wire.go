package temporalflow

import (
	"encoding/json"
	"time"

	"github.com/flowc-dev/flowc/runtime/internal/machine"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// What histories keep. Fields may be added; they never change their meaning.

// begin is the input of a run's workflow.
type begin struct {
	Input   json.RawMessage   `json:"input"`
	Headers map[string]string `json:"headers,omitempty"`
	Tick    time.Time         `json:"tick,omitzero"`
	// At is when a delayed run starts.
	At time.Time `json:"at,omitzero"`
	// Resumed is how far the run was that a retry resumes, at the time of the retry, and
	// Plan what it began with.
	Resumed *machine.Record `json:"resumed,omitempty"`
	Plan    *plan           `json:"plan,omitempty"`
	// RetryStep is the step that is retried; if it is empty, the run is.
	RetryStep string `json:"retry_step,omitempty"`
}

// plan is what a run keeps of the worker that began it, since later ones may have another,
// and how a flow is stored.
type plan struct {
	Definition json.RawMessage `json:"definition"`
	// Separate are the steps that have a task queue of their own.
	Separate []string `json:"separate,omitempty"`
	// Limit is how many bytes a value may have.
	Limit int `json:"limit,omitempty"`
}

// record is how far a run is: what its workflow returns, fails with, and answers.
type record struct {
	machine.Record
	Flow string `json:"flow,omitempty"`
	Plan plan   `json:"plan"`
	// Input is the input of the run, absent if it does not fit.
	Input json.RawMessage `json:"input,omitempty"`
	Tick  time.Time       `json:"tick,omitzero"`
	// ScheduledAt is when a run starts that has not.
	ScheduledAt time.Time `json:"scheduled_at,omitzero"`
	// Short reports that outputs are absent, since they do not fit.
	Short bool `json:"short,omitempty"`
}

// piece is a part of an output, which is longer than an answer may be: the list of a map is.
type piece struct {
	Bytes []byte `json:"bytes"`
	Size  int    `json:"size"` // of the whole
}

// task is the input of an activity.
type task struct {
	RunID       string            `json:"run_id"`
	Flow        string            `json:"flow"`
	Index       int               `json:"index,omitempty"`
	MaxAttempts int               `json:"max_attempts"`
	BaseDelay   time.Duration     `json:"base_delay"`
	Timeout     time.Duration     `json:"timeout"`
	Exhausted   spec.Mode         `json:"when_exhausted,omitempty"`
	Headers     map[string]string `json:"headers,omitempty"`
	Tick        time.Time         `json:"tick,omitzero"`
	Input       json.RawMessage   `json:"input,omitempty"`
	Outputs     json.RawMessage   `json:"outputs,omitempty"`
	Item        json.RawMessage   `json:"item,omitempty"`
	// NoInput reports that the input is absent since it is long: the worker reads it.
	NoInput bool `json:"no_input,omitempty"`
}

// done is the result of an activity.
type done struct {
	Output   json.RawMessage `json:"output"`
	Attempts int             `json:"attempts"`
}

// failure is the detail of an activity's error.
type failure struct {
	Err      string `json:"error"`
	Attempts int    `json:"attempts"`
}

// chunk is the input of the workflow of a part of a map.
type chunk struct {
	Step  string `json:"step"`
	Queue string `json:"queue"`
	// Priority is that of the step, if it has one.
	Priority spec.Priority     `json:"priority,omitempty"`
	Task     task              `json:"task"` // without an item
	Items    []json.RawMessage `json:"items"`
	// Indexes are those of the items in the list.
	Indexes []int `json:"indexes"`
	Limit   int   `json:"limit"` // of the result
}

// chunked is its result.
type chunked struct {
	Done []machine.TaskRecord `json:"done"`
	// Failed is why a task failed for good, and Index which: it ends all others.
	Failed *failure `json:"failed,omitempty"`
	Index  int      `json:"index,omitempty"`
}

const (
	chunkWorkflow = "flowc.map"
	flowWorkflow  = "flowc.flow" // keeps a definition, see [backend.UpsertFlow]
	tickWorkflow  = "flowc.tick"
	flowQueue     = "flowc.flows"
	recordQuery   = "flowc.record"
	outputQuery   = "flowc.output"
	beginQuery    = "flowc.begin"
	startSignal   = "flowc.start_at"
	startMemo     = "flowc.start_at"
	runMemo       = "flowc.run" // tells runs from other workflows of the namespace
	flowMemo      = "flowc.definition"
	runFailed     = "flowc.run_failed"
	attemptFailed = "flowc.attempt_failed"
)
