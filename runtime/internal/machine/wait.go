package machine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/attempt"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// An Answer is what was sent to a step that waits, or will.
type Answer struct {
	Output json.RawMessage `json:"output,omitempty"`
	// Failure, if it is not empty, fails the step.
	Failure string    `json:"failure,omitempty"`
	Sender  string    `json:"sender,omitempty"`
	At      time.Time `json:"at"`
	// Taken reports whether the step has ended with it.
	Taken bool `json:"taken,omitempty"`
}

// A Wait is a step of a run that waits for an answer.
type Wait struct {
	*Step
	Since time.Time
	Until time.Time // zero if it waits for ever
	Key   string    // empty if it has none
}

// Signal answers a step of the run: with an output or, if failure is not empty, by failing
// it. An answer that comes early is kept until the step waits. known is false if the run has
// no such step that waits.
func (r *Run) Signal(s runtime.SignalRequest, now time.Time) (result runtime.Signalled, known bool, _ error) {
	st := r.state(s.Step)
	switch {
	case st == nil || st.Type != spec.TypeWait:
		return "", false, nil
	case st.status == runtime.StepCompleted:
		return runtime.Already, true, nil
	case st.status == runtime.StepFailed || st.status == runtime.StepSkipped:
		return "", true, &runtime.NotWaitingError{RunID: r.id, Step: s.Step, Status: string(st.status)}
	case r.status.Ended():
		return "", true, &runtime.NotWaitingError{RunID: r.id, Step: s.Step, Status: string(r.status)}
	case st.answer != nil:
		return runtime.Already, true, nil
	}
	st.answer = &Answer{Output: s.Answer, Failure: s.Failure, Sender: s.Sender, At: now}
	r.takeAnswers(now)
	return runtime.Accepted, true, nil
}

// Waits returns the steps that wait for an answer.
func (r *Run) Waits() (all []Wait) {
	for _, st := range r.states {
		if st.waits() && r.status == runtime.RunRunning {
			all = append(all, Wait{Step: st.Step, Since: st.since, Until: st.until, Key: st.key})
		}
	}
	return all
}

// WaitValues returns what the one who answers a wait is shown.
func (r *Run) WaitValues(w Wait) handler.Values { return r.Values(r.state(w.Slug).task) }

// Due returns when the run next changes by itself, the zero time if it does not: a wait
// expires, or the run is beyond its deadline.
func (r *Run) Due() (due time.Time) {
	if r.status != runtime.RunRunning {
		return due
	}
	earlier := func(t time.Time) {
		if !t.IsZero() && (due.IsZero() || t.Before(due)) {
			due = t
		}
	}
	earlier(r.deadline)
	for _, st := range r.states {
		if st.waits() {
			earlier(st.until)
		}
	}
	return due
}

// Expire ends what is due: waits that nobody has answered in time, then the run if it is
// beyond its deadline.
func (r *Run) Expire(now time.Time) {
	over := func(t time.Time) bool { return !t.IsZero() && !now.Before(t) }
	for _, st := range r.states {
		if r.status == runtime.RunRunning && st.waits() && over(st.until) {
			r.Fail(st.task, fmt.Sprintf("flowc: nobody answered within %ds", int(st.Timeout.Seconds())), now)
		}
	}
	if r.status == runtime.RunRunning && over(r.deadline) {
		r.fail(r.firstUnfinished(), fmt.Sprintf("flowc: the run was not done within its deadline of %ds", int(r.flow.deadline.Seconds())), now)
	}
}

// setDeadline sets until when a run has to be done that begins now, or begins anew.
func (r *Run) setDeadline(now time.Time) {
	if r.flow.deadline > 0 {
		r.deadline = now.Add(r.flow.deadline)
	}
}

// firstUnfinished returns the first step that has started and not ended; if there is none,
// the first that has not ended.
func (r *Run) firstUnfinished() (first *state) {
	for _, status := range []runtime.StepStatus{runtime.StepStarted, runtime.StepCreated} {
		for _, st := range r.states {
			if st.status == status {
				return st
			}
		}
	}
	return nil
}

// waits reports whether a step waits for an answer.
func (st *state) waits() bool { return st.Type == spec.TypeWait && st.status == runtime.StepStarted }

// beginWait has a step that was started wait.
func (r *Run) beginWait(st *state, now time.Time) {
	st.task = &Task{Step: st.Step, run: r, state: st, retry: r.retries, attempts: 1}
	st.attempts, st.since, st.until = 1, now, time.Time{}
	if st.answer != nil && st.answer.Taken {
		st.answer = nil // with which it failed before
	}
	if st.Timeout > 0 {
		st.until = now.Add(st.Timeout)
	}
	if st.Key != nil {
		if st.key = keyOf(r.valueAt(st.Key)); len(st.key) > spec.MaxKey {
			st.broken = fmt.Sprintf("flowc: the key of step %s has more than %d bytes: %s", st.Slug, spec.MaxKey, st.Key)
			st.key = ""
		}
	}
}

// takeAnswers ends the steps that wait and have an answer, as long as there are any: each
// may have others begin to wait.
func (r *Run) takeAnswers(now time.Time) {
	for again := true; again; {
		again = false
		for _, st := range r.states {
			if r.status != runtime.RunRunning || !st.waits() || st.answer == nil {
				continue
			}
			again, st.answer.Taken = true, true
			if st.answer.Failure != "" {
				r.Fail(st.task, st.answer.Failure, now)
			} else {
				r.Complete(st.task, st.answer.Output, now)
			}
		}
	}
}

// shownStatus returns the status as others see it: a run that does nothing but wait is
// waiting.
func (r *Run) shownStatus() runtime.RunStatus {
	waiting := false
	for _, st := range r.states {
		if st.status == runtime.StepStarted && !st.waits() {
			return r.status
		}
		waiting = waiting || st.waits()
	}
	if waiting && r.status == runtime.RunRunning {
		return runtime.RunWaiting
	}
	return r.status
}

// wait returns what others see of a wait, nil if the step is none.
func (st *state) wait(running bool) *runtime.WaitState {
	if st.Type != spec.TypeWait {
		return nil
	}
	w := &runtime.WaitState{}
	if st.waits() && running {
		w.Since, w.Until, w.Key = st.since, st.until, st.key
	}
	if a := st.answer; a != nil && a.Taken {
		w.AnsweredAt, w.AnsweredBy = a.At, a.Sender
	}
	return w
}

// state returns the state of a step, nil if there is no such step.
func (r *Run) state(step string) *state {
	for _, st := range r.states {
		if st.Slug == step {
			return st
		}
	}
	return nil
}

// valueAt returns the value that a path leads to, nil if there is none.
func (r *Run) valueAt(path spec.Path) json.RawMessage {
	value := r.input
	if path[0] != spec.RunKey {
		value = nil
		if st := r.state(path[0]); st.status == runtime.StepCompleted {
			value = st.output
		}
	}
	return follow(value, path[1:])
}

// follow returns the value that names and indexes lead to from another, nil if there is none
// or it is null.
func follow(value json.RawMessage, names []string) json.RawMessage {
	for _, name := range names {
		if list, ok := elements(value); ok {
			i, err := strconv.Atoi(name)
			if err != nil || i >= len(list) || i < 0 {
				return nil
			}
			value = list[i]
			continue
		}
		var object map[string]json.RawMessage
		if json.Unmarshal(value, &object) != nil {
			return nil
		}
		value = object[name]
	}
	if bytes.Equal(bytes.TrimSpace(value), []byte("null")) {
		return nil
	}
	return value
}

// keyOf returns a value as the key of a wait, empty if it cannot be one; it may be too long.
func keyOf(raw json.RawMessage) (key string) {
	switch v := decode(raw).(type) {
	case string:
		key = v
	case json.Number:
		if len(v) > spec.MaxKey && !strings.ContainsAny(v.String(), ".eE") {
			return v.String()
		}
		if n, ok := new(big.Rat).SetString(v.String()); ok && len(v) <= spec.MaxKey && n.IsInt() {
			key = n.Num().String()
		}
	}
	return key
}

// startAt returns when the tasks of a step may start that has started at now. ok is false if
// the value that says so is of another form.
func (r *Run) startAt(st *state, now time.Time) (at time.Time, ok bool) {
	path := st.StartAt
	if path == nil {
		path = st.StartDelayFrom
	}
	if path == nil {
		return now.Add(st.StartDelay), true
	}
	raw := r.valueAt(path)
	if raw == nil {
		return now, true
	}
	if st.StartAt != nil {
		var text string
		if json.Unmarshal(raw, &text) != nil {
			return now, false
		}
		at, err := time.Parse(time.RFC3339Nano, text)
		return at, err == nil
	}
	delay, err := strconv.ParseFloat(string(bytes.TrimSpace(raw)), 64)
	if delay >= math.MaxInt64 {
		return now.Add(math.MaxInt64), err == nil
	}
	return now.Add(time.Duration(max(delay, 0))), err == nil
}

// unreadableStart returns what is wrong with a step whose start cannot be read.
func unreadableStart(st *state) string {
	if st.StartAt != nil {
		return fmt.Sprintf("flowc: start_at of step %s is no time: %s", st.Slug, st.StartAt)
	}
	return fmt.Sprintf("flowc: start_delay of step %s is no number of nanoseconds: %s", st.Slug, st.StartDelayFrom)
}

// Snooze puts a task off that was begun: the attempt does not count, and the task may be
// begun again at t.At. ok is false if the task has been snoozed for as long as it may be.
func (r *Run) Snooze(t *Task, delay time.Duration, now time.Time) (ok bool) {
	if t.snoozedSince.IsZero() {
		t.snoozedSince = now
	}
	until := t.snoozedSince.Add(t.MaxWait)
	if !now.Before(until) {
		return false
	}
	t.At = now.Add(delay)
	if t.At.After(until) {
		t.At = until
	}
	t.attempts--
	t.state.attempts--
	return true
}

// Oversnoozed returns the result of an attempt that asked to snooze a task for longer than
// it may be: it failed.
func Oversnoozed(r attempt.Result) attempt.Result {
	return attempt.Result{Outcome: attempt.Failed, Err: "flowc: it was snoozed for as long as it may be: " + r.Err, Kept: r.Kept}
}
