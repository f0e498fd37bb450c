package flowtest

import (
	"context"
	"slices"
	"time"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/attempt"
	"github.com/flowc-dev/flowc/runtime/internal/machine"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

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
	id      string
	flow    *flow
	headers map[string]string
	tick    time.Time // if its schedule started it
	tasks   []*machine.Task
	working bool
}

// open returns the first open task for which there is a handler; if there is none, the
// first open task, and nil if there is none of these either.
func (r *run) open() (t *machine.Task, served bool) {
	r.tasks = slices.DeleteFunc(append(r.tasks, r.Next()...), func(t *machine.Task) bool { return !t.Open() })
	for _, task := range r.tasks {
		if _, served := r.flow.handlers[task.Slug]; served {
			return task, true
		}
	}
	if len(r.tasks) > 0 {
		return r.tasks[0], false
	}
	return nil, false
}

// work does the tasks of a run until none is left for which there is a handler. The lock
// is held by the caller, and not while a handler runs.
func (db *DB) work(r *run) {
	if r.working { // a handler, or another goroutine, has retried it
		return
	}
	r.working = true
	defer func() { r.working = false }()
	for {
		t, served := r.open()
		if !served {
			return
		}
		n := r.Begin(t)
		task := handler.Task{
			RunID: r.id, Flow: r.flow.Slug, Step: t.Slug, Index: t.Index,
			Attempt: n, MaxAttempts: t.MaxAttempts, Headers: r.headers, Tick: r.tick,
		}
		v := t.Judge(n, db.call(r.flow.handlers[t.Slug], task, t.Timeout, r.Values(t)))
		db.attempts = append(db.attempts, Attempt{
			Task: task, Outcome: worker.Outcome(v.Outcome), Err: v.Err, RetryIn: v.RetryIn,
		})
		switch v.Outcome {
		case machine.Completed:
			r.Complete(t, v.Output, time.Now())
		case machine.Retried: // it keeps its place
		default:
			r.Fail(t, v.Err, time.Now())
		}
	}
}

// call calls a handler. Its context has nothing of the caller's: in production it would
// not have that either.
func (db *DB) call(h handler.Handler, task handler.Task, timeout time.Duration, v handler.Values) attempt.Result {
	db.mu.Unlock()
	defer db.mu.Lock()
	ctx, cancel := context.WithTimeoutCause(handler.WithTask(context.Background(), task), timeout, handler.ErrTaskTimeout)
	defer cancel()
	output, err := attempt.Call(ctx, h, v)
	return attempt.Classify(context.Cause(ctx), timeout, output, err)
}
