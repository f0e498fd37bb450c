package runtime

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/jackc/pgx/v5"
)

// TaskInfo is a task of a run as the database keeps it: of a step its only one,
// of a map step one for each element. Times that have not come are zero.
type TaskInfo struct {
	Step   string     `json:"step"`
	Index  int        `json:"index"`
	Status TaskStatus `json:"status"`
	// Attempts is how often the task was started.
	Attempts int `json:"attempts"`
	// Error is that of its last failed try.
	Error       string    `json:"error,omitempty"`
	QueuedAt    time.Time `json:"queued_at,omitzero"`
	StartedAt   time.Time `json:"started_at,omitzero"`
	CompletedAt time.Time `json:"completed_at,omitzero"`
	FailedAt    time.Time `json:"failed_at,omitzero"`
	// Worker is the id of the worker that started it last.
	Worker string `json:"worker,omitempty"`
	// VisibleAt is when a worker may start it next, if it is queued.
	VisibleAt time.Time       `json:"visible_at,omitzero"`
	Output    json.RawMessage `json:"output,omitempty"`
	// FailedTries are the tries that failed, oldest first.
	FailedTries []FailedTry `json:"failed_tries,omitempty"`
}

// FailedTry is a failed attempt of a task.
type FailedTry struct {
	Attempt   int       `json:"attempt"`
	Worker    string    `json:"worker_id,omitempty"`
	StartedAt time.Time `json:"started_at,omitzero"`
	FailedAt  time.Time `json:"failed_at"`
	Error     string    `json:"error_message"`
}

// A TaskStatus is the state of a task.
type TaskStatus string

// The statuses of a task.
const (
	// TaskQueued is a task that waits for a worker.
	TaskQueued TaskStatus = "queued"
	// TaskStarted is a task that a worker has.
	TaskStarted TaskStatus = "started"
	// TaskCompleted is a task with an output.
	TaskCompleted TaskStatus = "completed"
	// TaskFailed is a task without tries left.
	TaskFailed TaskStatus = "failed"
)

// Word returns the status in words: queued, running, completed or failed. The values
// are those of the tables.
func (s TaskStatus) Word() string {
	if s == TaskStarted {
		return "running"
	}
	return string(s)
}

var taskStatuses = []TaskStatus{TaskQueued, TaskStarted, TaskCompleted, TaskFailed}

// ListTasks returns all tasks of a run with their outputs, in the order of the
// steps, then of the elements. A run that is not there has none. Of a map over
// many elements that is much: [FindTasks] returns portions.
//
// Errors: [ErrInvalidRunID].
func ListTasks(ctx context.Context, db DB, id string) ([]TaskInfo, error) {
	parsed, err := parseRunID(id)
	if err != nil {
		return nil, err
	}
	tasks, err := collect(ctx, db, scanTask, `
		SELECT step_slug, task_index, status, attempts, error_message, queued_at, started_at, completed_at, failed_at,
		       worker_id::text, visible_at, output, failed_attempts
		FROM flowc.list_tasks($1::text::uuid)`, parsed.String())
	if err != nil {
		return nil, fmt.Errorf("flowc: listing the tasks of run %s: %w", id, err)
	}
	return tasks, nil
}

func scanTask(row pgx.CollectableRow) (TaskInfo, error) {
	var t TaskInfo
	var message, worker *string
	var queued, started, completed, failed, visible *time.Time
	var tries []byte
	err := row.Scan(&t.Step, &t.Index, &t.Status, &t.Attempts, &message, &queued, &started, &completed, &failed,
		&worker, &visible, (*[]byte)(&t.Output), &tries)
	if err != nil {
		return t, err
	}
	t.Error, t.Worker = orZero(message), orZero(worker)
	t.QueuedAt, t.StartedAt, t.CompletedAt, t.FailedAt = orZero(queued), orZero(started), orZero(completed), orZero(failed)
	if t.Status == TaskQueued {
		t.VisibleAt = orZero(visible)
	}
	return t, json.Unmarshal(tries, &t.FailedTries)
}

// TaskFilter selects the tasks of a run that [FindTasks] returns.
type TaskFilter struct {
	// Step limits it to the tasks of one step. Empty means those of all.
	Step string
	// Statuses are the statuses that the tasks may have. Empty means any.
	Statuses []TaskStatus
	// After leaves out tasks up to this index; nil means none.
	After *int
	// PerStep is how many tasks of each step there are at most, 1 to 1000.
	// Defaults to 50.
	PerStep int
	// OutputBytes is how many bytes of the table an output may take, and four times
	// as many as text; longer ones are left out. 0 leaves all out.
	OutputBytes int
}

// FoundTask is a task with the size of its output. It has its last 20 failed tries, and
// of the error of each up to 4,000 letters.
type FoundTask struct {
	TaskInfo
	// OutputBytes is what the output takes in the table, compressed if it is
	// long; 0 if there is none.
	OutputBytes int
}

// FindTasks returns some of the tasks of a run in the order of the steps, then of
// the elements. A run that is not there has none.
//
// Errors: [ErrInvalidRunID]; [ErrInvalidOption].
func FindTasks(ctx context.Context, db DB, id string, filter TaskFilter) ([]FoundTask, error) {
	parsed, err := parseRunID(id)
	if err != nil {
		return nil, err
	}
	if filter.PerStep == 0 {
		filter.PerStep = 50
	}
	if filter.PerStep < 1 || filter.PerStep > 1000 {
		return nil, optionError("PerStep of a TaskFilter is %d, it must be 1 to 1000", filter.PerStep)
	}
	if err := checkText("Step of a TaskFilter", filter.Step); err != nil {
		return nil, err
	}
	for _, status := range filter.Statuses {
		if !slices.Contains(taskStatuses, status) {
			return nil, optionError("there is no status %q of tasks", status)
		}
	}
	var step *string
	if filter.Step != "" {
		step = &filter.Step
	}
	after := filter.After
	if after != nil {
		after = spec.Set(int(asInt4(*after)))
	}
	scan := func(row pgx.CollectableRow) (FoundTask, error) {
		var found FoundTask
		task, err := scanTask(withLast{row, &found.OutputBytes})
		found.TaskInfo = task
		return found, err
	}
	tasks, err := collect(ctx, db, scan, `
		SELECT step_slug, task_index, status, attempts, error_message, queued_at, started_at, completed_at, failed_at,
		       worker_id::text, visible_at, output, failed_attempts, bytes
		FROM flowc.find_tasks($1::text::uuid, $2, $3, $4, $5, $6)`,
		parsed.String(), step, nilIfEmpty(filter.Statuses), after, filter.PerStep, asInt4(filter.OutputBytes))
	if err != nil {
		return nil, fmt.Errorf("flowc: finding tasks of run %s: %w", id, err)
	}
	return tasks, nil
}

// withLast is a row whose last column goes to a place of its own.
type withLast struct {
	pgx.CollectableRow
	last any
}

func (r withLast) Scan(dest ...any) error { return r.CollectableRow.Scan(append(dest, r.last)...) }
