package worker

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/attempt"
	"github.com/flowc-dev/flowc/runtime/worker/internal/backend"
)

// A task is a claimed task: one attempt, which this worker runs.
type task struct {
	*backend.Claimed
	step       step
	ctx        *attempt.Context
	completion attempt.Completion
	tx         atomic.Pointer[transaction] // while the handler has one
}

// newTask returns a task whose handler's context is derived from ctx, which does not end
// when the worker is told to stop.
func newTask(ctx context.Context, c *backend.Claimed, step step, deadline time.Time) *task {
	info := handler.Task{
		RunID: c.RunID, Flow: c.Flow, Step: c.Step, Index: c.Index, Attempt: c.Attempt, MaxAttempts: c.MaxAttempts,
	}
	if c.Tick != nil {
		info.Tick = *c.Tick
	}
	if c.Headers != nil {
		var headers map[string]string           // not info's, which would escape to the heap for every task
		_ = json.Unmarshal(c.Headers, &headers) // those of other programs may be anything
		info.Headers = headers
	}
	t := &task{Claimed: c, step: step, ctx: attempt.NewContext(ctx, info, deadline)}
	if c.Kept != nil {
		t.ctx.Carried().Begin(c.Kept, nil)
	}
	return t
}

// info returns what the handler and metrics are told of the task.
func (t *task) info() handler.Task {
	info, _ := handler.TaskFromContext(t.ctx)
	return info
}

// attrs returns what is logged of the task.
func (t *task) attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("flow", t.Flow), slog.String("run_id", t.RunID), slog.String("step", t.Step),
		slog.Int("index", t.Index), slog.Int("attempt", t.Attempt), slog.Int("max_attempts", t.MaxAttempts),
	}
}

// revoke ends the context of the task's attempt.
func (t *task) revoke(cause error) {
	t.ctx.Revoke(cause)
	t.completion.Revoked()
}

// inflight is the tasks that are in flight: claimed, and not reported yet.
type inflight struct {
	mu      sync.Mutex
	tasks   map[message]*task
	removed chan struct{} // gets a token when a task is removed
}

// A message identifies a task. Where each flow has a queue of its own, ids repeat.
type message struct {
	flow string
	id   int64
}

func (t *task) message() message { return message{t.Flow, t.MessageID} }

func newInflight() *inflight {
	return &inflight{tasks: map[message]*task{}, removed: make(chan struct{}, 1)}
}

// add adds a task. If an earlier attempt at it is in flight, its lease has expired and it
// was reclaimed, possibly by this worker.
func (f *inflight) add(t *task) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if old := f.tasks[t.message()]; old != nil {
		old.revoke(handler.ErrTaskLost)
	}
	f.tasks[t.message()] = t
}

// remove removes a task, unless a later attempt at it has taken its place.
func (f *inflight) remove(t *task) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tasks[t.message()] == t {
		delete(f.tasks, t.message())
	}
	select {
	case f.removed <- struct{}{}:
	default:
	}
}

// waitFor waits until none of the tasks is in flight, for at most a time, and reports
// whether none is. There must be one caller at a time.
func (f *inflight) waitFor(ctx context.Context, tasks []*task, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for f.hasAny(tasks) {
		select {
		case <-f.removed:
		case <-timer.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
	return true
}

func (f *inflight) hasAny(tasks []*task) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(tasks, func(t *task) bool { return f.tasks[t.message()] == t })
}

// size returns how many tasks are in flight.
func (f *inflight) size() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.tasks)
}

// all returns the tasks in flight.
func (f *inflight) all() []*task {
	f.mu.Lock()
	defer f.mu.Unlock()
	tasks := make([]*task, 0, len(f.tasks))
	for _, t := range f.tasks {
		tasks = append(tasks, t)
	}
	return tasks
}

// overdue returns the tasks whose handlers ignore their ended contexts.
func (f *inflight) overdue() (tasks []*task) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	for _, t := range f.tasks {
		if t.completion.Overdue(now) {
			tasks = append(tasks, t)
		}
	}
	return tasks
}

// claimedOf returns what the backend knows of tasks.
func claimedOf(tasks []*task) []*backend.Claimed {
	claimed := make([]*backend.Claimed, len(tasks))
	for i, t := range tasks {
		claimed[i] = t.Claimed
	}
	return claimed
}
