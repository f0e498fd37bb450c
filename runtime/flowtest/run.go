package flowtest

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A run goes through the states that the engine would bring it to: its transitions
// are those of the engine's SQL, see there for why. The database's lock is held
// whenever it is touched.
type run struct {
	id        string
	flow      *flow
	input     json.RawMessage
	headers   map[string]string
	status    runtime.RunStatus
	startedAt time.Time
	tick      *time.Time // if its schedule started it
	endedAt   time.Time
	output    json.RawMessage
	states    []*state // of the flow's steps
	queue     []*task
}

type state struct {
	*step
	status        runtime.StepStatus
	tasks         *int // how many, once that is known
	left          *int // of them
	remainingDeps int
	attempts      int
	output        json.RawMessage
	outputs       []json.RawMessage // of the tasks
	err           string
	failedIndex   *int // of a map, the element that failed for good
	skipReason    string
	created       time.Time
	started       time.Time
	ended         time.Time
}

// A task is one that waits for an attempt.
type task struct {
	state    *state
	index    int
	attempts int
}

func newRun(id string, f *flow, input json.RawMessage) *run {
	r := &run{id: id, flow: f, input: input, status: runtime.RunRunning, startedAt: time.Now()}
	for _, s := range f.steps {
		st := &state{step: s, status: runtime.StepCreated, remainingDeps: len(s.deps), created: r.startedAt}
		switch {
		case !s.isMap:
			st.tasks = spec.Set(1)
		case len(s.deps) == 0:
			list, _ := elements(input)
			st.tasks = spec.Set(len(list))
		}
		r.states = append(r.states, st)
	}
	return r
}

// advance brings the run as far as it goes without a handler.
func (r *run) advance() {
	r.resolveConditions()
	r.completeTaskless()
	for _, st := range r.states {
		if r.status == runtime.RunRunning && st.ready() && *st.tasks > 0 {
			st.status, st.started, st.left = runtime.StepStarted, time.Now(), spec.Set(*st.tasks)
			st.outputs = make([]json.RawMessage, *st.tasks)
			for i := range *st.tasks {
				r.queue = append(r.queue, &task{state: st, index: i})
			}
		}
	}
	r.finish()
}

func (st *state) ready() bool { return st.status == runtime.StepCreated && st.remainingDeps == 0 }

// unmet are the ready steps whose condition does not hold, of a mode.
func (r *run) unmet(mode spec.Mode) (all []*state) {
	for _, st := range r.states {
		if r.status != runtime.RunRunning || !st.ready() || st.whenUnmet != mode || st.required == nil && st.forbidden == nil {
			continue
		}
		subject := decode(r.input)
		if len(st.deps) > 0 {
			subject = decode(r.outputsFor(st))
		}
		if st.required != nil && !contains(subject, st.required) || st.forbidden != nil && contains(subject, st.forbidden) {
			all = append(all, st)
		}
	}
	return all
}

// resolveConditions skips or fails what is unmet, until nothing more is.
func (r *run) resolveConditions() {
	for skips := true; skips; {
		skips = false
		if failing := r.unmet(spec.ModeFail); len(failing) > 0 {
			r.fail(failing[0], "Condition not met")
		}
		plain := r.unmet(spec.ModeSkip)
		for _, st := range plain {
			st.skip("condition_unmet", "")
			skips = true
		}
		for _, st := range plain {
			r.settle(st)
		}
		for _, st := range r.unmet(spec.ModeSkipCascade) {
			if st.status == runtime.StepCreated { // it may be behind the one before
				r.cascade(st, "condition_unmet")
			}
			skips = true
		}
	}
}

// completeTaskless completes, wave by wave, the steps that are ready and have no tasks.
func (r *run) completeTaskless() {
	for again := true; again && r.status == runtime.RunRunning; {
		again = false
		var wave []*state
		for _, st := range r.states {
			if st.ready() && *st.tasks == 0 {
				now := time.Now()
				st.status, st.started, st.ended, st.left = runtime.StepCompleted, now, now, spec.Set(0)
				st.output = json.RawMessage("[]")
				wave = append(wave, st)
			}
		}
		for _, st := range wave {
			r.settle(st)
			again = true
		}
		r.resolveConditions()
	}
}

// settle tells the steps behind one, which is completed or skipped, that they need
// not wait for it any longer.
func (r *run) settle(done *state) {
	for _, i := range done.children {
		child := r.states[i]
		child.remainingDeps--
		if !child.isMap || child.tasks != nil {
			continue
		}
		switch {
		case done.status == runtime.StepSkipped:
			child.tasks = spec.Set(0)
		case done.isMap:
			child.tasks = done.tasks
		default:
			list, _ := elements(done.output)
			child.tasks = spec.Set(len(list))
		}
	}
}

func (st *state) skip(reason, err string) {
	st.status, st.skipReason, st.ended, st.left = runtime.StepSkipped, reason, time.Now(), nil
	if err != "" {
		st.err = err
	}
}

// cascade skips a step and everything behind it.
func (r *run) cascade(first *state, reason string) {
	if first.status == runtime.StepCreated || first.status == runtime.StepStarted {
		first.skip(reason, "")
	}
	for _, i := range first.children {
		r.cascade(r.states[i], "dependency_skipped")
	}
}

func (r *run) fail(st *state, err string) {
	st.status, st.err, st.ended = runtime.StepFailed, err, time.Now()
	r.status, r.endedAt, r.queue = runtime.RunFailed, st.ended, nil
}

// finish completes the run if it waits for no step any more.
func (r *run) finish() {
	if r.status != runtime.RunRunning || r.remainingSteps() > 0 {
		return
	}
	leaves := map[string]json.RawMessage{}
	for _, st := range r.states {
		if len(st.children) == 0 && st.status == runtime.StepCompleted {
			leaves[st.slug] = st.output
		}
	}
	if len(leaves) > 0 {
		r.output = object(leaves)
	}
	r.status, r.endedAt = runtime.RunCompleted, time.Now()
}

func (r *run) remainingSteps() (n int) {
	for _, st := range r.states {
		if st.status != runtime.StepCompleted && st.status != runtime.StepSkipped {
			n++
		}
	}
	return n
}

// result is what the definition says that the completed run gave; nil if it does not say.
func (r *run) result() json.RawMessage {
	result := r.flow.result
	if result == nil || result.From == "" && result.Fields == nil {
		return nil
	}
	if result.From != "" {
		return r.given(result.From)
	}
	members := map[string]json.RawMessage{}
	for _, f := range result.Fields {
		if f.Name != "" {
			members[f.Name] = r.given(f.From)
		}
	}
	for _, f := range result.Fields {
		var inner map[string]json.RawMessage
		if f.Name == "" && json.Unmarshal(r.given(f.From), &inner) == nil {
			for name, value := range inner {
				if _, hidden := members[name]; !hidden {
					members[name] = value
				}
			}
		}
	}
	return object(members)
}

// given is the output of a step, or the input of the run.
func (r *run) given(from string) json.RawMessage {
	if from == spec.RunKey {
		return r.input
	}
	for _, st := range r.states {
		if st.slug == from && st.status == runtime.StepCompleted && st.output != nil {
			return st.output
		}
	}
	return json.RawMessage("null")
}

// complete ends a task with what its handler gave.
func (r *run) complete(t *task, output json.RawMessage) {
	st := t.state
	if _, list := elements(output); !list && !st.isMap {
		for _, i := range st.children {
			if child := r.states[i]; child.isMap && child.tasks == nil {
				r.fail(st, fmt.Sprintf("[TYPE_VIOLATION] Map step %s expects array input but dependency %s produced %s", child.slug, st.slug, typeOf(output)))
				return
			}
		}
	}
	st.outputs[t.index] = output
	*st.left--
	if *st.left > 0 {
		return
	}
	st.status, st.ended, st.output = runtime.StepCompleted, time.Now(), output
	if st.isMap {
		st.output = list(st.outputs)
	}
	r.settle(st)
	r.advance()
}

// exhaust ends a task for good that did not complete.
func (r *run) exhaust(t *task, err string) {
	st := t.state
	if st.isMap {
		st.failedIndex = &t.index
	}
	if st.whenExhausted == spec.ModeFail {
		r.fail(st, err)
		return
	}
	r.queue = slices.DeleteFunc(r.queue, func(t *task) bool { return t.state == st })
	st.skip("handler_failed", err)
	if st.whenExhausted == spec.ModeSkipCascade {
		r.cascade(st, "handler_failed")
		r.finish()
		return
	}
	r.settle(st)
	r.advance()
}

// outputsFor is what a step finds of the steps that it waits for.
func (r *run) outputsFor(st *state) json.RawMessage {
	outputs := map[string]json.RawMessage{}
	for _, i := range st.deps {
		if dep := r.states[i]; dep.status == runtime.StepCompleted {
			outputs[dep.slug] = dep.output
		}
	}
	return object(outputs)
}

// values are what the handler of a task is given.
func (r *run) values(t *task) handler.Values {
	v := handler.Values{Input: r.input}
	if !t.state.isMap {
		v.Outputs = r.outputsFor(t.state)
		return v
	}
	over := r.input
	if len(t.state.deps) > 0 {
		over = r.states[t.state.deps[0]].output
	}
	items, _ := elements(over)
	v.Item = items[t.index]
	return v
}

func list(values []json.RawMessage) json.RawMessage {
	raw, err := json.Marshal(values)
	if err != nil {
		panic(err) // they have been checked
	}
	return raw
}
