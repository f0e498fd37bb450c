package runtime

import (
	"encoding/json"
	"time"

	"github.com/flowc-dev/flowc/runtime/internal/words"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A RunStatus is the state of a run.
type RunStatus string

// The statuses of a run.
const (
	// RunScheduled is a run that starts later.
	RunScheduled RunStatus = "scheduled"
	// RunRunning is a run that has started and not ended, and is not waiting. In the tables of pgflow it is
	// "started".
	RunRunning RunStatus = "running"
	// RunWaiting is a run whose steps do nothing but wait for answers: [spec.TypeWait]. In the
	// tables of pgflow it is "started".
	RunWaiting RunStatus = "waiting"
	// RunCompleted is a run whose steps are all completed or skipped.
	RunCompleted RunStatus = "completed"
	// RunFailed is a run that ended because a step failed.
	RunFailed RunStatus = "failed"
	// RunCancelled is a run that was cancelled.
	RunCancelled RunStatus = "cancelled"
)

// Ended reports whether the run has ended: completed, failed or cancelled.
func (s RunStatus) Ended() bool {
	return s == RunCompleted || s == RunFailed || s == RunCancelled
}

// A RunInfo is a run as the database stores it. Times that have not come are zero.
type RunInfo struct {
	ID     string          `json:"id"`
	Flow   string          `json:"flow"`
	Status RunStatus       `json:"status"`
	Input  json.RawMessage `json:"input"`
	// Result is the result of the run, composed of the outputs of steps as its definition
	// declares: the Out of the declaration. It is nil unless the run is completed, and
	// if the definition declares none ([spec.Flow.Result]) or dsl.None.
	Result json.RawMessage `json:"result,omitempty"`
	// Output is what pgflow's contract calls the output: an object with the outputs, by
	// slug, of the completed steps that no other step waits for. It is nil unless the
	// run is completed.
	Output json.RawMessage `json:"output,omitempty"`
	// RemainingSteps is how many steps are neither completed nor skipped.
	RemainingSteps int `json:"remaining_steps"`
	// Unique is which values make the run unique, such as "account_id=7", by the flow's
	// [spec.Flow.Unique]; empty if it has none.
	Unique string `json:"unique,omitempty"`
	// Priority is that of the run's tasks, except those of steps that have their own: that of
	// [WithPriority] or [SetPriority], else that of the flow. Empty means [Normal].
	Priority Priority `json:"priority,omitempty"`
	// ScheduledAt is when a scheduled run will start; zero once it has started. It has passed
	// if the run waits in line ([spec.Flow.Concurrency]).
	ScheduledAt time.Time `json:"scheduled_at,omitzero"`
	// Tick is the time for which a schedule started the run; zero for other runs.
	Tick         time.Time `json:"tick,omitzero"`
	StartedAt    time.Time `json:"started_at,omitzero"`
	CompletedAt  time.Time `json:"completed_at,omitzero"`
	FailedAt     time.Time `json:"failed_at,omitzero"`
	CancelledAt  time.Time `json:"cancelled_at,omitzero"`
	CancelReason string    `json:"cancel_reason,omitempty"`
	// FailedStep is the slug of the step that made the run fail, and Error its
	// last error. FailedIndex is the element that failed, if the step is a map.
	FailedStep  string `json:"failed_step,omitempty"`
	FailedIndex *int   `json:"failed_index,omitempty"`
	Error       string `json:"error,omitempty"`
	// States holds the states of the steps in the order of the definition, nil unless
	// [WithStates] was given.
	States []StepState `json:"states,omitempty"`
}

// Skips counts the skipped steps among [RunInfo.States]: gaveUp counts those whose last
// attempt failed, skipped the others.
func (r *RunInfo) Skips() (skipped, gaveUp int) {
	for _, s := range r.States {
		switch {
		case s.GaveUp():
			gaveUp++
		case s.Status == StepSkipped:
			skipped++
		}
	}
	return skipped, gaveUp
}

// Progress returns how many steps completed, and how many were skipped or gave up:
// "6/8, 1 skipped, 1 gave up". It needs [RunInfo.States].
func (r *RunInfo) Progress() string {
	skipped, gaveUp := r.Skips()
	return words.Progress(len(r.States)-r.RemainingSteps-skipped-gaveUp, len(r.States), skipped, gaveUp)
}

// Failed returns the step that made the run fail, for a map with its element: "pack[3]".
func (r *RunInfo) Failed() string { return words.Element(r.FailedStep, r.FailedIndex) }

// A StepStatus is the state of a step of a run.
type StepStatus string

// The statuses of a step.
const (
	// StepCreated is a step that waits for others.
	StepCreated StepStatus = "created"
	// StepStarted is a step whose tasks are queued or running.
	StepStarted StepStatus = "started"
	// StepCompleted is a step whose tasks are all completed.
	StepCompleted StepStatus = "completed"
	// StepFailed is a step that made its run fail.
	StepFailed StepStatus = "failed"
	// StepSkipped is a step that ended without an output, see [StepState.SkipReason].
	StepSkipped StepStatus = "skipped"
)

// Word returns the status as a word: waiting, running, completed, failed or skipped. The
// values are those of the tables.
func (s StepStatus) Word() string {
	switch s {
	case StepCreated:
		return "waiting"
	case StepStarted:
		return "running"
	}
	return string(s)
}

// A StepState is a step of a run as the database stores it. Times that have not come are
// zero.
type StepState struct {
	Step   string        `json:"step_slug"`
	Index  int           `json:"step_index"`
	Type   spec.StepType `json:"step_type"`
	Status StepStatus    `json:"status"`
	// RemainingTasks is how many tasks are not completed, nil before they exist.
	RemainingTasks *int `json:"remaining_tasks"`
	// InitialTasks is how many tasks the step has, nil before it is known.
	InitialTasks *int `json:"initial_tasks"`
	// RemainingDeps is how many steps it still waits for.
	RemainingDeps int `json:"remaining_deps"`
	// Attempts is how often its tasks were started, in total.
	Attempts int `json:"attempts"`
	// Output is the output of the step, for a map step an array in the order of its
	// tasks. It is nil unless the step is completed.
	Output json.RawMessage `json:"output,omitempty"`
	Error  string          `json:"error_message,omitempty"`
	// FailedIndex is the element of a map step whose last attempt failed.
	FailedIndex *int `json:"failed_index,omitempty"`
	// Wait is what is known of the wait of a [spec.TypeWait], nil for any other step.
	Wait *WaitState `json:"wait,omitempty"`
	// SkipReason is condition_unmet, handler_failed or dependency_skipped, or the
	// reason that a handler gave.
	SkipReason  string    `json:"skip_reason,omitempty"`
	CreatedAt   time.Time `json:"created_at,omitzero"`
	StartedAt   time.Time `json:"started_at,omitzero"`
	CompletedAt time.Time `json:"completed_at,omitzero"`
	FailedAt    time.Time `json:"failed_at,omitzero"`
	SkippedAt   time.Time `json:"skipped_at,omitzero"`
}

// A WaitState is the wait of a step. Times that have not come are zero.
type WaitState struct {
	// Since is when it began to wait, Until when it gives up, as long as it waits.
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
	// Key is the key with which it waits.
	Key string `json:"key,omitempty"`
	// AnsweredAt is when the answer was sent, and AnsweredBy who sent it: see [WithSender].
	AnsweredAt time.Time `json:"answered_at,omitzero"`
	AnsweredBy string    `json:"answered_by,omitempty"`
}

// GaveUp reports whether the step was skipped because its last attempt failed.
func (s StepState) GaveUp() bool { return s.Status == StepSkipped && s.SkipReason == gaveUpReason }

// gaveUpReason is the skip reason of the engine for a step that has no attempts left.
const gaveUpReason = "handler_failed"

// Word returns the state as a word: that of its status, "gave up", or "waiting for an answer".
func (s StepState) Word() string {
	switch {
	case s.GaveUp():
		return "gave up"
	case s.Type == spec.TypeWait && s.Status == StepStarted:
		return "waiting for an answer"
	}
	return s.Status.Word()
}

// Failed returns the step, for a map with the element that failed: "pack[3]".
func (s StepState) Failed() string { return words.Element(s.Step, s.FailedIndex) }
