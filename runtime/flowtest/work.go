package flowtest

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/attempt"
	"github.com/flowc-dev/flowc/runtime/internal/carried"
	"github.com/flowc-dev/flowc/runtime/internal/machine"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// minSnooze is the shortest snooze: in production, it takes longer to begin anew.
const minSnooze = time.Millisecond

// A flow is a definition with its handlers, by the slugs of their steps.
type flow struct {
	*machine.Flow
	definition spec.Flow
	handlers   map[string]handler.Handler
}

// A run is done in the goroutine that starts it. The database's lock is held whenever it
// is touched.
type run struct {
	*machine.Run
	id       string
	flow     *flow
	input    json.RawMessage
	headers  map[string]string
	tick     time.Time // if its schedule started it
	tasks    []*machine.Task
	working  bool
	revoke   context.CancelCauseFunc // ends the context of the handler that runs, nil if none does
	priority runtime.Priority
}

// open returns the first open task that may be done now and for which there is a handler; if
// there is none, the first open task without a handler, and nil if there is none of these
// either.
func (r *run) open(now time.Time) (t *machine.Task, served bool) {
	r.tasks = slices.DeleteFunc(append(r.tasks, r.Next()...), func(t *machine.Task) bool { return !t.Open() })
	for _, task := range r.tasks {
		_, served := r.flow.handlers[task.Slug]
		if served && !task.At.After(now) {
			return task, true
		}
		if !served && t == nil {
			t = task
		}
	}
	return t, false
}

// due returns when the run goes on by itself, the zero time if it does not.
func (r *run) due() time.Time {
	due := r.Due()
	if t := r.timed(); t != nil && (due.IsZero() || t.At.Before(due)) {
		due = t.At
	}
	return due
}

// timed returns the task with a handler whose time comes first, nil if there is none.
func (r *run) timed() (first *machine.Task) {
	for _, t := range r.tasks {
		if _, served := r.flow.handlers[t.Slug]; served && t.Open() && (first == nil || t.At.Before(first.At)) {
			first = t
		}
	}
	return first
}

// cancel ends a run that has not ended, and reports whether it did: the context of its
// handler ends, and what the handler gives is dropped.
func (r *run) cancel(reason string, now time.Time) bool {
	if !r.Cancel(reason, now) {
		return false
	}
	if r.revoke != nil {
		r.revoke(handler.ErrTaskLost)
	}
	return true
}

// work does the tasks of a run until none is left that may be done now and for which there
// is a handler, and gives its waits the answers by key that were kept. The lock is held by the
// caller, and not while a handler runs.
func (db *DB) work(r *run) {
	if r.working { // a handler, or another goroutine, has retried it
		return
	}
	r.working = true
	defer func() { r.working = false }()
	for {
		db.takeKept(r)
		t, served := r.open(db.now)
		if !served {
			return
		}
		n := r.Begin(t)
		task := handler.Task{
			RunID: r.id, Flow: r.flow.Slug, Step: t.Slug, Index: t.Index,
			Attempt: n, MaxAttempts: t.MaxAttempts, Headers: r.headers, Tick: r.tick,
		}
		result := db.call(r, task, t.Timeout, r.Values(t), t.Kept())
		r.Expire(db.now) // the clock may have been moved meanwhile
		if result.Outcome == attempt.Lost {
			db.attempts = append(db.attempts, Attempt{Task: task, Outcome: worker.OutcomeLost})
			continue
		}
		if result.Kept != "" {
			t.SetKept(json.RawMessage(result.Kept))
		}
		if result.Outcome == attempt.Snoozed && !r.Snooze(t, max(*result.Delay, minSnooze), db.now) {
			result = machine.Oversnoozed(result)
		}
		v := t.Judge(n, result)
		db.attempts = append(db.attempts, Attempt{
			Task: task, Outcome: worker.Outcome(v.Outcome), Err: v.Err, RetryIn: v.RetryIn,
		})
		switch v.Outcome {
		case machine.Completed:
			r.Complete(t, v.Output, db.now)
		case machine.Retried, machine.Snoozed: // it keeps its place
		default:
			r.Fail(t, v.Err, db.now)
		}
	}
}

// call calls the handler of a task. Its context has nothing of the caller's: in production
// it would not have that either.
func (db *DB) call(r *run, task handler.Task, timeout time.Duration, v handler.Values, kept json.RawMessage) attempt.Result {
	ctx, revoke := context.WithCancelCause(handler.WithTask(context.Background(), task))
	defer revoke(nil)
	r.revoke = revoke
	db.mu.Unlock()
	defer func() {
		db.mu.Lock()
		r.revoke = nil
	}()
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, handler.ErrTaskTimeout)
	defer cancel()
	left := new(carried.Value)
	left.Begin(kept, nil)
	output, err := attempt.Call(context.WithValue(ctx, carried.Key{}, left), r.flow.handlers[task.Step], v)
	result := attempt.Classify(context.Cause(ctx), timeout, output, err)
	if result.Outcome != attempt.Completed {
		result.Kept = string(left.Left())
	}
	return result
}
