package worker

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/flowc-dev/flowc/runtime/handler"
)

// A task is one try that this worker has claimed.
type task struct {
	claimed
	served
	ctx    *tryContext
	ending ending
}

// begin makes the context that the handler gets. It does not end when the worker
// is told to stop, but when draining has lasted too long.
func (t *task) begin(ctx context.Context, deadline time.Time) {
	info := handler.Task{
		RunID: t.RunID, Flow: t.Flow, Step: t.Step, Index: t.Index, Attempt: t.Attempt, MaxAttempts: t.MaxAttempts,
	}
	if t.ScheduledAt != nil {
		info.ScheduledAt = *t.ScheduledAt
	}
	if t.Headers != nil {
		var headers map[string]string           // and not info's, which would be on the heap for all
		_ = json.Unmarshal(t.Headers, &headers) // what is not ours stays away
		info.Headers = headers
	}
	t.ctx = newTryContext(ctx, info, deadline)
}

// info is what the handler and metrics get to know.
func (t *task) info() handler.Task {
	info, _ := handler.TaskFromContext(t.ctx)
	return info
}

// hand is the tries that the worker has: claimed, and not yet reported.
type hand struct {
	mu    sync.Mutex
	tasks map[message]*task
	left  chan struct{} // gets a token when a task leaves
}

// A message stands for a task. Where there is a queue for each flow, ids repeat.
type message struct {
	flow string
	id   int64
}

func (t *task) message() message { return message{t.Flow, t.MessageID} }

func newHand() *hand { return &hand{tasks: map[message]*task{}, left: make(chan struct{}, 1)} }

// add takes a try in hand. If an earlier one of the same task is there, its lease
// ended and it was reclaimed, possibly by this worker.
func (h *hand) add(t *task) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if old := h.tasks[t.message()]; old != nil {
		old.revoke(handler.ErrTaskLost)
	}
	h.tasks[t.message()] = t
}

func (h *hand) remove(t *task) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tasks[t.message()] == t {
		delete(h.tasks, t.message())
	}
	select {
	case h.left <- struct{}{}:
	default:
	}
}

// hasAny reports whether one of these tries is there.
func (h *hand) hasAny(tasks []*task) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(tasks, func(t *task) bool { return h.tasks[t.message()] == t })
}

func (h *hand) size() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.tasks)
}

// all is what the worker has at this moment.
func (h *hand) all() []*task {
	h.mu.Lock()
	defer h.mu.Unlock()
	tasks := make([]*task, 0, len(h.tasks))
	for _, t := range h.tasks {
		tasks = append(tasks, t)
	}
	return tasks
}

// overdue are the tries that are to be abandoned.
func (h *hand) overdue() (tasks []*task) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for _, t := range h.tasks {
		if t.ending.overdue(now) {
			tasks = append(tasks, t)
		}
	}
	return tasks
}

// keys returns the flows, messages and claim numbers of tasks, as the engine takes them.
func keys(tasks []*task) (flows []string, messages []int64, claims []int32) {
	flows, messages, claims = []string{}, []int64{}, []int32{}
	for _, t := range tasks {
		flows = append(flows, t.Flow)
		messages = append(messages, t.MessageID)
		claims = append(claims, t.ClaimNumber)
	}
	return flows, messages, claims
}
