package runtime

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
)

// RunFilter says which runs [ListRuns] returns. The zero value means all.
type RunFilter struct {
	// Flows are slugs of flows, Statuses statuses; empty means any.
	Flows    []string
	Statuses []RunStatus
	// StartedFrom and StartedBefore bound the time the run started at. Zero
	// means no bound.
	StartedFrom, StartedBefore time.Time
	// InputContains is JSON that the run's input has to contain, as PostgreSQL's
	// operator @> has it. No index serves it: bound the time as well.
	InputContains json.RawMessage
	// After is the last run of the page before; nil means the first page.
	After *RunSummary
	// Limit is how many runs a page has at most, 1 to 1000. Defaults to 50.
	Limit int
}

// RunSummary is a run in a list: without its input and output. Times that have
// not come are zero.
type RunSummary struct {
	ID     string    `json:"id"`
	Flow   string    `json:"flow"`
	Status RunStatus `json:"status"`
	// Steps is how many steps the flow has, RemainingSteps how many of them are
	// neither completed nor skipped.
	Steps          int       `json:"steps"`
	RemainingSteps int       `json:"remaining_steps"`
	StartedAt      time.Time `json:"started_at,omitzero"`
	EndedAt        time.Time `json:"ended_at,omitzero"`
	// ScheduledAt is when a run that waits for its start will start, and of a run
	// that a schedule started its tick.
	ScheduledAt time.Time `json:"scheduled_at,omitzero"`
	// FailedStep is the step that made the run fail, and Error its last error.
	FailedStep string `json:"failed_step,omitempty"`
	Error      string `json:"error,omitempty"`
}

// ListRuns returns a page of runs, newest first.
//
// Errors: [ErrInvalidOption]; [ErrInvalidRunID] for that of [RunFilter.After].
func ListRuns(ctx context.Context, db DB, filter RunFilter) ([]RunSummary, error) {
	if filter.Limit == 0 {
		filter.Limit = 50
	}
	if filter.Limit < 1 || filter.Limit > 1000 {
		return nil, optionError("Limit of a RunFilter is %d, it must be 1 to 1000", filter.Limit)
	}
	for _, flow := range filter.Flows {
		if err := checkText("a flow of a RunFilter", flow); err != nil {
			return nil, err
		}
	}
	for what, t := range map[string]time.Time{"StartedFrom": filter.StartedFrom, "StartedBefore": filter.StartedBefore} {
		if err := checkTime(what+" of a RunFilter", t); err != nil {
			return nil, err
		}
	}
	for _, status := range filter.Statuses {
		if !slices.Contains(runStatuses, status) {
			return nil, optionError("there is no status %q of runs", status)
		}
	}
	var contains *string
	if filter.InputContains != nil {
		if !json.Valid(filter.InputContains) {
			return nil, optionError("InputContains of a RunFilter is not JSON: %s", filter.InputContains)
		}
		contains = Set(string(filter.InputContains))
	}
	var afterTime *time.Time
	var afterID *string
	if filter.After != nil {
		parsed, err := parseRunID(filter.After.ID)
		if err != nil {
			return nil, err
		}
		afterTime, afterID = &filter.After.StartedAt, Set(parsed.String())
	}
	runs, err := collect(ctx, db, scanSummary, `
		SELECT run_id::text, flow_slug, status, steps, remaining_steps, started_at, ended_at, scheduled_at, failed_step, error_message
		FROM flowc.list_runs($1, $2, $3, $4, $5::text::jsonb, $6, $7::text::uuid, $8)`,
		nilIfEmpty(filter.Flows), nilIfEmpty(filter.Statuses), nilIfZero(filter.StartedFrom), nilIfZero(filter.StartedBefore),
		contains, afterTime, afterID, filter.Limit)
	switch {
	case contains != nil && pgerr.Unstorable(err):
		return nil, optionError("InputContains of a RunFilter is nothing that an input can contain: %v", err)
	case err != nil:
		return nil, fmt.Errorf("flowc: listing runs: %w", err)
	}
	return runs, nil
}

var runStatuses = []RunStatus{RunScheduled, RunStarted, RunCompleted, RunFailed, RunCancelled}

func scanSummary(row pgx.CollectableRow) (RunSummary, error) {
	var s RunSummary
	var ended, scheduled *time.Time
	var step, message *string
	err := row.Scan(&s.ID, &s.Flow, &s.Status, &s.Steps, &s.RemainingSteps, &s.StartedAt, &ended, &scheduled, &step, &message)
	s.EndedAt, s.ScheduledAt, s.FailedStep, s.Error = orZero(ended), orZero(scheduled), orZero(step), orZero(message)
	return s, err
}

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

// FailedTry is a try of a task that failed.
type FailedTry struct {
	Attempt   int       `json:"attempt"`
	Worker    string    `json:"worker_id,omitempty"`
	StartedAt time.Time `json:"started_at,omitzero"`
	FailedAt  time.Time `json:"failed_at"`
	Error     string    `json:"error_message"`
}

// A TaskStatus says how far a task is.
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
		       worker_id::text, visible_at, output, failed_tries
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

// FlowInfo is a flow in the database, with figures.
type FlowInfo struct {
	Slug string `json:"slug"`
	// Definition is the document that [Definition.Payload] makes.
	Definition json.RawMessage `json:"definition"`
	CreatedAt  time.Time       `json:"created_at"`
	// Started counts the runs that started in the time asked for; Completed,
	// Failed (cancelled ones included) and Running say what became of those.
	Started   int `json:"started"`
	Completed int `json:"completed"`
	Failed    int `json:"failed"`
	Running   int `json:"running"`
	// MeanTime and P95Time are how long the completed ones took; 0 if there are none.
	MeanTime time.Duration `json:"mean_time"`
	P95Time  time.Duration `json:"p95_time"`
	// Waiting are tasks that a worker could start now, Delayed those that wait
	// for their time, InHand those that a worker of this project has.
	Waiting int `json:"waiting"`
	Delayed int `json:"delayed"`
	InHand  int `json:"in_hand"`
	// OldestWaiting is since when the oldest task of Waiting exists; zero if none.
	OldestWaiting time.Time `json:"oldest_waiting,omitzero"`
	// Workers is how many workers serve it now.
	Workers int `json:"workers"`
	// PausedAt is since when it is paused; zero if it is not.
	PausedAt time.Time `json:"paused_at,omitzero"`
}

// ListFlows returns all flows by slug, with the figures of runs that started
// since a time. It reads every such run: ask for a day rather than for ever.
//
// Errors: [ErrInvalidOption] for a time that is in no year with four digits.
func ListFlows(ctx context.Context, db DB, since time.Time) ([]FlowInfo, error) {
	if err := checkTime("since", since); err != nil {
		return nil, err
	}
	flows, err := collect(ctx, db, scanFlow, `
		SELECT flow_slug, definition, created_at, started, completed, failed, running, mean_seconds, p95_seconds,
		       waiting, delayed, in_hand, oldest_waiting, workers, paused_at
		FROM flowc.list_flows($1)`, since)
	if err != nil {
		return nil, fmt.Errorf("flowc: listing flows: %w", err)
	}
	return flows, nil
}

func scanFlow(row pgx.CollectableRow) (FlowInfo, error) {
	var f FlowInfo
	var mean, p95 *float64
	var oldest, paused *time.Time
	err := row.Scan(&f.Slug, (*[]byte)(&f.Definition), &f.CreatedAt, &f.Started, &f.Completed, &f.Failed, &f.Running, &mean, &p95,
		&f.Waiting, &f.Delayed, &f.InHand, &oldest, &f.Workers, &paused)
	f.MeanTime = time.Duration(orZero(mean) * float64(time.Second))
	f.P95Time = time.Duration(orZero(p95) * float64(time.Second))
	f.OldestWaiting, f.PausedAt = orZero(oldest), orZero(paused)
	return f, err
}

// ThroughputPoint is what happened to runs in a stretch of time that begins at From.
type ThroughputPoint struct {
	From      time.Time `json:"from"`
	Started   int       `json:"started"`
	Completed int       `json:"completed"`
	Failed    int       `json:"failed"`
}

// maxPoints is how many stretches of time Throughput returns at most.
const maxPoints = 10_000

// Throughput counts, for each stretch of time since a time until now, the runs
// that started, completed and failed in it, of those that started since then.
//
// Errors: [ErrInvalidOption] if the stretch is less than a second, or there were
// more than 10 000 of them.
func Throughput(ctx context.Context, db DB, since time.Time, stretch time.Duration) ([]ThroughputPoint, error) {
	if stretch < time.Second {
		return nil, optionError("the stretch of Throughput is %s, it must be at least a second", stretch)
	}
	if err := checkTime("since", since); err != nil {
		return nil, err
	}
	if time.Since(since)/stretch > maxPoints {
		return nil, optionError("since %s there were more than %d stretches of %s", since.Format(time.RFC3339), maxPoints, stretch)
	}
	points, err := collect(ctx, db, pgx.RowToStructByPos[ThroughputPoint],
		`SELECT from_time, started, completed, failed FROM flowc.throughput($1, $2::interval)`, since, stretch)
	if err != nil {
		return nil, fmt.Errorf("flowc: counting runs: %w", err)
	}
	return points, nil
}

// WorkerInfo is a worker as the database knows it.
type WorkerInfo struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Queue is the flow that a worker of another language serves; "*" for a
	// worker of this project, which serves any number.
	Queue string `json:"queue"`
	// Flows are those that it serves; none once it has stopped.
	Flows           []string     `json:"flows"`
	Status          WorkerStatus `json:"status"`
	StartedAt       time.Time    `json:"started_at"`
	LastHeartbeatAt time.Time    `json:"last_heartbeat_at"`
	// DeprecatedAt is since when it drains, StoppedAt since when it is gone;
	// zero if it does not and is not.
	DeprecatedAt time.Time `json:"deprecated_at,omitzero"`
	StoppedAt    time.Time `json:"stopped_at,omitzero"`
	// InHand is how many tasks it has; 0 for a worker of another language.
	InHand int `json:"in_hand"`
}

// A WorkerStatus says how a worker is.
type WorkerStatus string

// The statuses of a worker.
const (
	// WorkerWorking is a worker that lives.
	WorkerWorking WorkerStatus = "working"
	// WorkerDraining is a worker that lives and takes no more tasks.
	WorkerDraining WorkerStatus = "draining"
	// WorkerSilent is a worker that has not been heard of for 5 seconds.
	WorkerSilent WorkerStatus = "silent"
	// WorkerStopped is a worker that stopped, or was found dead.
	WorkerStopped WorkerStatus = "stopped"
)

// ListWorkers returns the workers that have not stopped and those that were heard
// of since a time, newest first.
//
// Errors: [ErrInvalidOption] for a time that is in no year with four digits.
func ListWorkers(ctx context.Context, db DB, since time.Time) ([]WorkerInfo, error) {
	if err := checkTime("since", since); err != nil {
		return nil, err
	}
	workers, err := collect(ctx, db, scanWorker, `
		SELECT worker_id::text, name, queue_name, status, started_at, last_heartbeat_at, deprecated_at, stopped_at, in_hand, to_jsonb(flow_slugs)
		FROM flowc.list_workers($1)`, since)
	if err != nil {
		return nil, fmt.Errorf("flowc: listing workers: %w", err)
	}
	return workers, nil
}

func scanWorker(row pgx.CollectableRow) (WorkerInfo, error) {
	var w WorkerInfo
	var deprecated, stopped *time.Time
	var flows []byte // as JSON, since drivers of database/sql differ in what they make of an array
	err := row.Scan(&w.ID, &w.Name, &w.Queue, &w.Status, &w.StartedAt, &w.LastHeartbeatAt, &deprecated, &stopped, &w.InHand, &flows)
	if err == nil && flows != nil {
		err = json.Unmarshal(flows, &w.Flows)
	}
	w.DeprecatedAt, w.StoppedAt = orZero(deprecated), orZero(stopped)
	return w, err
}

// TaskInHand is a task that a worker does now.
type TaskInHand struct {
	Worker    string    `json:"worker"` // its id
	Flow      string    `json:"flow"`
	RunID     string    `json:"run_id"`
	Step      string    `json:"step"`
	Index     int       `json:"index"` // of the element that a map step's task works on
	Attempt   int       `json:"attempt"`
	StartedAt time.Time `json:"started_at"`
	// DueAt is when others take it to be lost, shortly after its timeout.
	DueAt time.Time `json:"due_at"`
}

// ListTasksInHand returns the tasks that workers of this project do now, those
// begun first before others. It reads the whole queue.
//
// Errors: [ErrInvalidOption] unless limit is 1 to 1000.
func ListTasksInHand(ctx context.Context, db DB, limit int) ([]TaskInHand, error) {
	if limit < 1 || limit > 1000 {
		return nil, optionError("the limit of ListTasksInHand is %d, it must be 1 to 1000", limit)
	}
	tasks, err := collect(ctx, db, pgx.RowToStructByPos[TaskInHand], `
		SELECT worker_id::text, flow_slug, run_id::text, step_slug, task_index, attempt, started_at, due_at
		FROM flowc.tasks_in_hand($1)`, limit)
	if err != nil {
		return nil, fmt.Errorf("flowc: listing tasks in hand: %w", err)
	}
	return tasks, nil
}

func nilIfEmpty[S ~[]T, T ~string](s S) []string {
	if len(s) == 0 {
		return nil
	}
	texts := make([]string, len(s))
	for i, v := range s {
		texts[i] = string(v)
	}
	return texts
}

func nilIfZero(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
