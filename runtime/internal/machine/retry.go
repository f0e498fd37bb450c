package machine

import (
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// Cancel ends a run that has not ended, and reports whether it did.
func (r *Run) Cancel(reason string, now time.Time) bool {
	if r.status.Ended() {
		return false
	}
	r.status, r.endedAt, r.reason, r.next = runtime.RunCancelled, now, reason, nil
	return true
}

// Retry resumes a run that failed or was cancelled, and reports whether it did: what
// completed is kept, and all other tasks get all their attempts again, wait for what is
// left of their start delays, and may be snoozed for as long again.
func (r *Run) Retry(now time.Time) bool {
	if r.status != runtime.RunFailed && r.status != runtime.RunCancelled {
		return false
	}
	r.status, r.endedAt, r.reason, r.next = runtime.RunRunning, time.Time{}, "", nil
	r.retries++
	r.setDeadline(now)
	for _, st := range r.states {
		if st.status == runtime.StepFailed {
			st.status, st.err, st.failedIndex, st.ended = runtime.StepStarted, "", nil, time.Time{}
			if st.started.IsZero() { // its condition failed it, and is evaluated again
				st.status = runtime.StepCreated
			}
		}
		if st.status == runtime.StepStarted {
			st.attempts = 0
			for _, n := range st.taken {
				st.attempts += n
			}
			r.enqueue(st, now)
		}
	}
	r.advance(now)
	return true
}

// RetryStep re-runs a step of an ended run and everything downstream of it, and resumes
// what else did not complete. found is false if the run has no such step, and done if it
// has not ended, or the step stays skipped because of one that is not re-run.
func (r *Run) RetryStep(step string, now time.Time) (found, done bool) {
	first := -1
	for i, st := range r.states {
		if st.Slug == step {
			first = i
		}
	}
	if first < 0 || !r.status.Ended() {
		return first >= 0, false
	}
	downstream, stays := make([]bool, len(r.states)), make([]bool, len(r.states))
	downstream[first] = true
	for i, st := range r.states { // each after its dependencies
		for _, dep := range st.deps {
			downstream[i] = downstream[i] || downstream[dep]
		}
		for _, dep := range st.deps {
			stays[i] = stays[i] || downstream[i] && (stays[dep] || !downstream[dep] && r.states[dep].cascades())
		}
	}
	if stays[first] {
		return true, false
	}
	for i, st := range r.states {
		if downstream[i] && !stays[i] {
			*st = state{Step: st.Step, status: runtime.StepCreated, tasks: st.tasks, created: st.created}
		}
	}
	for i, st := range r.states {
		if downstream[i] {
			r.recount(st, func(dep int) bool { return downstream[dep] && !stays[dep] })
		}
	}
	r.status, r.output = runtime.RunFailed, nil
	return true, r.Retry(now)
}

// recount counts again what a step waits for, of which some steps are re-run.
func (r *Run) recount(st *state, rerun func(dep int) bool) {
	st.remainingDeps = 0
	for _, dep := range st.deps {
		if s := r.states[dep].status; s != runtime.StepCompleted && s != runtime.StepSkipped {
			st.remainingDeps++
		}
		if st.isMap() && rerun(dep) {
			st.tasks = nil
		}
	}
}

// cascades reports whether the steps downstream of a step are skipped because it is.
func (st *state) cascades() bool {
	if st.status != runtime.StepSkipped {
		return false
	}
	switch st.skipReason {
	case dependencySkipped:
		return true
	case conditionUnmet:
		return st.WhenUnmet == spec.ModeSkipCascade
	}
	return st.WhenExhausted == spec.ModeSkipCascade
}
