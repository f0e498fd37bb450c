package flowtest

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/attempt"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// work does the tasks of a run until none is left, or none that anybody does. The
// lock is held by the caller, and not while a handler runs.
func (db *DB) work(r *run) {
	r.advance()
	for {
		at := -1
		for i, t := range r.queue {
			if t.state.handler != nil {
				at = i
				break
			}
		}
		if at < 0 {
			return
		}
		t := r.queue[at]
		t.attempts++
		t.state.attempts++
		info := handler.Task{
			RunID: r.id, Flow: r.flow.slug, Step: t.state.slug, Index: t.index,
			Attempt: t.attempts, MaxAttempts: t.state.maxAttempts, Headers: r.headers,
		}
		if r.tick != nil {
			info.ScheduledAt = *r.tick
		}
		result := db.call(t, info, r.values(t))
		db.settle(r, t, at, info, result)
	}
}

// call calls the handler. Its context has nothing of the caller's: in production
// it would not have that either.
func (db *DB) call(t *task, info handler.Task, v handler.Values) attempt.Result {
	db.mu.Unlock()
	defer db.mu.Lock()
	ctx, cancel := context.WithTimeoutCause(handler.WithTask(context.Background(), info), t.state.timeout, handler.ErrTaskTimeout)
	defer cancel()
	output, err := attempt.Call(ctx, *t.state.handler, v)
	return attempt.Classify(context.Cause(ctx), t.state.timeout, output, err)
}

// settle records an attempt and does what follows from it.
func (db *DB) settle(r *run, t *task, at int, info handler.Task, result attempt.Result) {
	record := Attempt{Task: info, Err: result.Err}
	st := t.state
	switch {
	case result.Outcome == attempt.Completed:
		record.Outcome = worker.OutcomeCompleted
	case result.Outcome == attempt.Failed && t.attempts < st.maxAttempts:
		record.Outcome, record.RetryIn = worker.OutcomeRetried, st.retryDelay(t.attempts)
		if result.Delay != nil {
			record.RetryIn = *result.Delay
		}
		st.err = ""
	case result.Outcome == attempt.Skipped && st.whenExhausted == spec.ModeFail:
		record.Outcome = worker.OutcomeFailed
		record.Err = fmt.Sprintf(`flowc: the handler asked to skip step %s (%s), which does not allow it: add when_exhausted:"skip" to the step`, st.slug, result.Err)
	case result.Outcome == attempt.Skipped:
		record.Outcome = worker.OutcomeSkipped
	default:
		record.Outcome = worker.OutcomeFailed
	}
	db.attempts = append(db.attempts, record)
	if record.Outcome == worker.OutcomeRetried {
		return // it keeps its place
	}
	r.queue = append(r.queue[:at:at], r.queue[at+1:]...)
	if record.Outcome == worker.OutcomeCompleted {
		r.complete(t, json.RawMessage(result.Output))
		return
	}
	r.exhaust(t, record.Err)
}

// stuckAt is a step whose tasks nobody does, if the run stands still for that.
func (r *run) stuckAt() *step {
	for _, t := range r.queue {
		if t.state.handler == nil {
			return t.state.step
		}
	}
	return nil
}
