package ops

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/pgcall"
	"github.com/flowc-dev/flowc/runtime/internal/valid"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/jackc/pgx/v5"
)

// A TaskInfo is a task of a run as the database stores it: the only one of a step, or that
// of one element of a map step. Times that have not come are zero.
type TaskInfo struct {
	Step   string     `json:"step"`
	Index  int        `json:"index"`
	Status TaskStatus `json:"status"`
	// Priority is that of its step, else that of the run; empty means normal.
	Priority runtime.Priority `json:"priority,omitempty"`
	// Attempts is how often the task was started.
	Attempts int `json:"attempts"`
	// Error is the error of its last failed attempt.
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
	// OutputBytes is the size of the output in the table, compressed if it is long; 0 if
	// there is none.
	OutputBytes int `json:"output_bytes,omitempty"`
	// FailedAttempts are the last 20 attempts that failed, oldest first, with up to
	// 4,000 characters of the error of each.
	FailedAttempts []FailedAttempt `json:"failed_attempts,omitempty"`
}

// A FailedAttempt is a failed attempt of a task.
type FailedAttempt struct {
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
	// TaskStarted is a task that a worker has claimed.
	TaskStarted TaskStatus = "started"
	// TaskCompleted is a task with an output.
	TaskCompleted TaskStatus = "completed"
	// TaskFailed is a task without attempts left.
	TaskFailed TaskStatus = "failed"
)

// Word returns the status as a word: queued, running, completed or failed. The values are
// those of the tables.
func (s TaskStatus) Word() string {
	if s == TaskStarted {
		return "running"
	}
	return string(s)
}

var taskStatuses = []TaskStatus{TaskQueued, TaskStarted, TaskCompleted, TaskFailed}

func scanTask(row pgx.CollectableRow) (TaskInfo, error) {
	var t TaskInfo
	var message, worker, priority *string
	var queued, started, completed, failed, visible *time.Time
	var attempts []byte
	err := row.Scan(&t.Step, &t.Index, &t.Status, &t.Attempts, &message, &queued, &started, &completed, &failed,
		&worker, &visible, (*[]byte)(&t.Output), &attempts, &t.OutputBytes, &priority)
	if err != nil {
		return t, err
	}
	t.Priority = runtime.Priority(pgcall.OrZero(priority))
	t.Error, t.Worker = pgcall.OrZero(message), pgcall.OrZero(worker)
	t.QueuedAt, t.StartedAt, t.CompletedAt, t.FailedAt = pgcall.OrZero(queued), pgcall.OrZero(started), pgcall.OrZero(completed), pgcall.OrZero(failed)
	if t.Status == TaskQueued {
		t.VisibleAt = pgcall.OrZero(visible)
	}
	return t, json.Unmarshal(attempts, &t.FailedAttempts)
}

// A TaskFilter selects the tasks of a run that [ListTasks] returns. The zero value selects
// all, without their outputs.
type TaskFilter struct {
	// Step limits it to the tasks of one step. Empty means those of all.
	Step string
	// Statuses are the statuses that the tasks may have. Empty means any.
	Statuses []TaskStatus
	// After leaves out tasks up to this index; nil means none.
	After *int
	// PerStep limits the number of tasks of each step. Zero means all, which may be many
	// for a map.
	PerStep int
	// OutputBytes is how many bytes an output may take in the table, and a quarter of what
	// it may take as text; longer ones are left out. Zero leaves out all, [AllOutputs] none.
	OutputBytes int
}

// AllOutputs is the value of [TaskFilter].OutputBytes that leaves out no output.
const AllOutputs = math.MaxInt32

// ListTasks returns tasks of a run in the order of the steps, then of the elements. For a
// run that does not exist, it returns none.
//
// Errors: [runtime.ErrInvalidRunID]; [runtime.ErrInvalidOption].
func ListTasks(ctx context.Context, db runtime.DB, id string, filter TaskFilter) ([]TaskInfo, error) {
	parsed, err := valid.RunID(id)
	if err != nil {
		return nil, err
	}
	if filter.PerStep < 0 {
		return nil, valid.Option("PerStep of a TaskFilter is %d, it must not be negative", filter.PerStep)
	}
	if err := valid.Text("Step of a TaskFilter", filter.Step); err != nil {
		return nil, err
	}
	for _, status := range filter.Statuses {
		if !slices.Contains(taskStatuses, status) {
			return nil, valid.Option("there is no status %q of tasks", status)
		}
	}
	if r, ok := backendOf[runtime.Router](db); ok {
		return route(ctx, r, id, func(db runtime.DB) ([]TaskInfo, error) { return ListTasks(ctx, db, id, filter) })
	}
	if b, ok := backendOf[Inspector](db); ok {
		return b.ListTasks(ctx, parsed.String(), filter)
	}
	var step *string
	if filter.Step != "" {
		step = &filter.Step
	}
	after := filter.After
	if after != nil {
		after = spec.Set(int(asInt4(*after)))
	}
	tasks, err := pgcall.Engine(ctx, db, scanTask, `
		SELECT step_slug, task_index, status, attempts, error_message, queued_at, started_at, completed_at, failed_at,
		       worker_id::text, visible_at, output, failed_attempts, bytes, priority
		FROM flowc.list_tasks($1::text::uuid, $2, $3, $4, $5, $6)`,
		parsed.String(), step, pgcall.NilIfEmpty(filter.Statuses), after, asInt4(cmp.Or(filter.PerStep, math.MaxInt32)), asInt4(filter.OutputBytes))
	if err != nil {
		return nil, fmt.Errorf("flowc: listing the tasks of run %s: %w", id, err)
	}
	return tasks, nil
}
