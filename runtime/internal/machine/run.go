package machine

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A Run is a run of a flow. It must not be used by several goroutines at once.
type Run struct {
	id        string
	flow      *Flow
	input     json.RawMessage
	status    runtime.RunStatus
	startedAt time.Time
	endedAt   time.Time
	deadline  time.Time // zero if there is none
	output    json.RawMessage
	reason    string   // why it was cancelled
	states    []*state // of the flow's steps
	next      []*Task
	retries   int
}

type state struct {
	*Step
	status        runtime.StepStatus
	tasks         *int // how many, once that is known
	left          *int // of them
	remainingDeps int
	attempts      int
	items         []json.RawMessage // of a map, what its tasks work on
	outputs       []json.RawMessage // of the tasks that have completed
	taken         []int             // attempts of the tasks that have completed
	output        json.RawMessage
	err           string
	failedIndex   *int // of a map, the element that failed for good
	skipReason    string
	created       time.Time
	started       time.Time
	ended         time.Time

	broken string                  // why it cannot go on: what it needs cannot be read
	kept   map[int]json.RawMessage // what attempts have kept for the next ones, by the tasks' indexes

	// Of a wait:
	task   *Task
	since  time.Time
	until  time.Time // zero if it waits for ever
	key    string
	answer *Answer
}

// Why a step was skipped.
const (
	conditionUnmet    = "condition_unmet"
	handlerFailed     = "handler_failed"
	dependencySkipped = "dependency_skipped"
)

// A Task is one execution of a step's handler, or one of those of a map.
type Task struct {
	*Step
	Index int // of the element of a map
	// At is when the task may be begun, if it has to wait for its time. One that a retry
	// resumed waits for what is left of the start delay of its step.
	At time.Time

	run          *Run
	state        *state
	retry        int // of the run, when the task came up
	attempts     int
	ended        bool
	snoozedSince time.Time
}

// Start starts a run, whose input [Flow.CheckInput] has checked.
func (f *Flow) Start(id string, input json.RawMessage, now time.Time) *Run {
	r := f.Schedule(id, input, now)
	r.Start(now)
	return r
}

// Schedule returns a run that is started later, whose input [Flow.CheckInput] has checked.
func (f *Flow) Schedule(id string, input json.RawMessage, now time.Time) *Run {
	r := &Run{id: id, flow: f, input: input, status: runtime.RunScheduled, startedAt: now}
	for _, s := range f.Steps {
		st := &state{Step: s, status: runtime.StepCreated, remainingDeps: len(s.deps), created: now}
		switch {
		case !s.isMap():
			st.tasks = spec.Set(1)
		case len(s.deps) == 0:
			list, _ := elements(input)
			st.tasks = spec.Set(len(list))
		}
		r.states = append(r.states, st)
	}
	return r
}

// Start starts a scheduled run. It does nothing if the run is in another status.
func (r *Run) Start(now time.Time) {
	if r.status == runtime.RunScheduled {
		r.status, r.startedAt = runtime.RunRunning, now
		r.setDeadline(now)
		r.advance(now)
	}
}

// Next returns the tasks that have come up since it was last called, in the order in
// which they did. Steps that wait for an answer have none.
func (r *Run) Next() []*Task {
	next := r.next
	r.next = nil
	return next
}

// Open reports whether a task still is to be done. The end of its step or of the run
// closes it, too; a retry has a new task in its place.
func (t *Task) Open() bool {
	return !t.ended && t.retry == t.run.retries && t.state.status == runtime.StepStarted && t.run.status == runtime.RunRunning
}

// Status returns the status of the run.
func (r *Run) Status() runtime.RunStatus { return r.status }

// Begin counts an attempt at a task, and returns which one it is.
func (r *Run) Begin(t *Task) (n int) {
	t.attempts++
	t.state.attempts++
	return t.attempts
}

// Values returns what the handler of a task is given.
func (r *Run) Values(t *Task) handler.Values {
	v := handler.Values{Input: r.input}
	if t.isMap() {
		v.Item = t.state.items[t.Index]
	} else {
		v.Outputs = r.outputsFor(t.state)
	}
	return v
}

// Complete ends a task with the output of its handler. It does nothing if the task is
// not open.
func (r *Run) Complete(t *Task, output json.RawMessage, now time.Time) {
	if !t.Open() {
		return
	}
	st := t.state
	if _, list := elements(output); !list && !st.isMap() {
		for _, i := range st.children {
			if child := r.states[i]; child.isMap() && child.tasks == nil {
				r.fail(st, fmt.Sprintf("[TYPE_VIOLATION] Map step %s expects array input but dependency %s produced %s", child.Slug, st.Slug, typeOf(output)), now)
				return
			}
		}
	}
	t.ended = true
	st.outputs[t.Index], st.taken[t.Index] = output, t.attempts
	*st.left--
	if *st.left > 0 {
		return
	}
	st.status, st.ended, st.output = runtime.StepCompleted, now, output
	if st.isMap() {
		st.output = encode(st.outputs)
	}
	r.settle(st)
	r.advance(now)
}

// Keep notes the output of a task that the end of its run has cut short: a retry does not
// do the task again.
func (r *Run) Keep(t *Task, output json.RawMessage) {
	st := t.state
	if t.ended || t.retry != r.retries || st.status != runtime.StepStarted && st.status != runtime.StepFailed {
		return
	}
	t.ended = true
	st.outputs[t.Index], st.taken[t.Index] = output, t.attempts
	*st.left--
}

// Kept returns what an attempt has kept for the next one.
func (t *Task) Kept() json.RawMessage { return t.state.kept[t.Index] }

// SetKept notes what an attempt has kept for the next one, also if a retry of the run begins
// that.
func (t *Task) SetKept(value json.RawMessage) {
	if t.state.kept == nil {
		t.state.kept = map[int]json.RawMessage{}
	}
	t.state.kept[t.Index] = value
}

// Fail ends a task for good that did not complete: its step fails the run or is skipped,
// as its when_exhausted says. It does nothing if the task is not open.
func (r *Run) Fail(t *Task, message string, now time.Time) {
	if !t.Open() {
		return
	}
	st := t.state
	if st.isMap() {
		st.failedIndex = &t.Index
	}
	if st.WhenExhausted == spec.ModeFail {
		r.fail(st, message, now)
		return
	}
	st.skip(handlerFailed, now)
	st.err = message
	if st.WhenExhausted == spec.ModeSkipCascade {
		r.cascade(st, handlerFailed, now)
		r.finish(now)
		return
	}
	r.settle(st)
	r.advance(now)
}

// advance brings the run as far as it goes without a handler.
func (r *Run) advance(now time.Time) {
	r.resolveConditions(now)
	r.completeTaskless(now)
	for _, st := range r.states {
		if r.status == runtime.RunRunning && st.ready() && *st.tasks > 0 {
			r.startStep(st, now)
		}
	}
	r.finish(now)
	r.takeAnswers(now)
	for _, st := range r.states {
		if why := st.broken; why != "" {
			st.broken = ""
			r.Fail(&Task{Step: st.Step, run: r, state: st, retry: r.retries}, why, now)
		}
	}
}

func (r *Run) startStep(st *state, now time.Time) {
	st.status, st.started, st.left = runtime.StepStarted, now, spec.Set(*st.tasks)
	st.outputs, st.taken = make([]json.RawMessage, *st.tasks), make([]int, *st.tasks)
	r.enqueue(st, now)
}

// enqueue adds the tasks of a step that have not completed to the next ones, or has the step
// wait for an answer.
func (r *Run) enqueue(st *state, now time.Time) {
	if st.isMap() {
		over := r.input
		if len(st.deps) > 0 {
			over = r.states[st.deps[0]].output
		}
		st.items, _ = elements(over)
	}
	if st.Type == spec.TypeWait {
		r.beginWait(st, now)
		return
	}
	at, ok := r.startAt(st, st.started)
	if !ok {
		st.broken = unreadableStart(st)
		return
	}
	if at.Before(now) {
		at = now
	}
	for i := range *st.tasks {
		if st.outputs[i] == nil {
			r.next = append(r.next, &Task{Step: st.Step, Index: i, At: at, run: r, state: st, retry: r.retries})
		}
	}
}

func (st *state) ready() bool { return st.status == runtime.StepCreated && st.remainingDeps == 0 }

// unmet returns the ready steps of a mode whose conditions do not hold.
func (r *Run) unmet(mode spec.Mode) (all []*state) {
	for _, st := range r.states {
		if r.status != runtime.RunRunning || !st.ready() || st.WhenUnmet != mode || st.required == nil && st.forbidden == nil {
			continue
		}
		subject := r.input
		if len(st.deps) > 0 {
			subject = r.outputsFor(st)
		}
		if !st.meets(decode(subject)) {
			all = append(all, st)
		}
	}
	return all
}

// resolveConditions skips or fails what is unmet, until nothing more is.
func (r *Run) resolveConditions(now time.Time) {
	for skips := true; skips; {
		skips = false
		if failing := r.unmet(spec.ModeFail); len(failing) > 0 {
			r.fail(failing[0], "Condition not met", now)
		}
		plain := r.unmet(spec.ModeSkip)
		for _, st := range plain {
			st.skip(conditionUnmet, now)
			skips = true
		}
		for _, st := range plain {
			r.settle(st)
		}
		for _, st := range r.unmet(spec.ModeSkipCascade) {
			if st.status == runtime.StepCreated { // it may be downstream of the one before
				r.cascade(st, conditionUnmet, now)
			}
			skips = true
		}
	}
}

// completeTaskless completes, wave by wave, the steps that are ready and have no tasks.
func (r *Run) completeTaskless(now time.Time) {
	for again := true; again && r.status == runtime.RunRunning; {
		again = false
		var wave []*state
		for _, st := range r.states {
			if st.ready() && *st.tasks == 0 {
				st.status, st.started, st.ended, st.left = runtime.StepCompleted, now, now, spec.Set(0)
				st.output = json.RawMessage("[]")
				wave = append(wave, st)
			}
		}
		for _, st := range wave {
			r.settle(st)
			again = true
		}
		r.resolveConditions(now)
	}
}

// settle tells the children of a step that is completed or skipped that they need not
// wait for it any longer.
func (r *Run) settle(done *state) {
	for _, i := range done.children {
		child := r.states[i]
		child.remainingDeps--
		if !child.isMap() || child.tasks != nil {
			continue
		}
		switch {
		case done.status == runtime.StepSkipped:
			child.tasks = spec.Set(0)
		case done.isMap():
			child.tasks = done.tasks
		default:
			list, _ := elements(done.output)
			child.tasks = spec.Set(len(list))
		}
	}
}

func (st *state) skip(reason string, now time.Time) {
	st.status, st.skipReason, st.ended, st.left = runtime.StepSkipped, reason, now, nil
}

// cascade skips a step and everything downstream of it.
func (r *Run) cascade(first *state, reason string, now time.Time) {
	if first.status == runtime.StepCreated || first.status == runtime.StepStarted {
		first.skip(reason, now)
	}
	for _, i := range first.children {
		r.cascade(r.states[i], dependencySkipped, now)
	}
}

func (r *Run) fail(st *state, message string, now time.Time) {
	st.status, st.err, st.ended = runtime.StepFailed, message, now
	r.status, r.endedAt, r.next = runtime.RunFailed, now, nil
}

// finish completes the run if it waits for no step any more.
func (r *Run) finish(now time.Time) {
	if r.status != runtime.RunRunning || r.remainingSteps() > 0 {
		return
	}
	leaves := map[string]json.RawMessage{}
	for _, st := range r.states {
		if len(st.children) == 0 && st.status == runtime.StepCompleted {
			leaves[st.Slug] = st.output
		}
	}
	if len(leaves) > 0 {
		r.output = encode(leaves)
	}
	r.status, r.endedAt = runtime.RunCompleted, now
}

func (r *Run) remainingSteps() (n int) {
	for _, st := range r.states {
		if st.status != runtime.StepCompleted && st.status != runtime.StepSkipped {
			n++
		}
	}
	return n
}

// outputsFor returns the outputs of the steps that a step waits for.
func (r *Run) outputsFor(st *state) json.RawMessage {
	outputs := map[string]json.RawMessage{}
	for _, i := range st.deps {
		if dep := r.states[i]; dep.status == runtime.StepCompleted {
			outputs[dep.Slug] = dep.output
		}
	}
	return encode(outputs)
}
