package machine

import (
	"encoding/json"
	"slices"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// Info returns the run as it is now.
func (r *Run) Info(detail runtime.RunDetail) *runtime.RunInfo {
	info := &runtime.RunInfo{
		ID: r.id, Flow: r.flow.Slug, Status: r.shownStatus(), RemainingSteps: r.remainingSteps(), StartedAt: r.startedAt,
	}
	switch r.status {
	case runtime.RunCompleted:
		info.CompletedAt = r.endedAt
	case runtime.RunFailed:
		info.FailedAt = r.endedAt
	case runtime.RunCancelled:
		info.FailedAt, info.CancelledAt, info.CancelReason = r.endedAt, r.endedAt, r.reason
	}
	info.FailedStep, info.FailedIndex, info.Error = r.Failure()
	if detail.Payloads {
		info.Input, info.Result, info.Output = r.input, r.result(), r.output
	}
	if detail.States {
		for i, st := range r.states {
			info.States = append(info.States, st.info(i, detail.Payloads, r.status == runtime.RunRunning))
		}
	}
	return info
}

// Outcome returns how far the run is and, once it has completed, what is wanted of it.
func (r *Run) Outcome(want runtime.Want) runtime.Outcome {
	o := runtime.Outcome{Flow: r.flow.Slug, Status: r.shownStatus()}
	o.FailedStep, o.FailedIndex, o.Message = r.Failure()
	if r.status == runtime.RunCancelled {
		o.Message = r.reason
	}
	if r.status != runtime.RunCompleted {
		return o
	}
	outputs := map[string]json.RawMessage{}
	for _, st := range r.states {
		if slices.Contains(want.Steps, st.Slug) && st.status == runtime.StepCompleted {
			outputs[st.Slug] = st.output
		}
	}
	o.Values.Outputs = encode(outputs)
	if want.Input {
		o.Values.Input = r.input
	}
	if want.Whole {
		o.Result, o.Output = r.result(), r.output
	}
	return o
}

// Failure returns the step that made the run fail, if one did.
func (r *Run) Failure() (step string, index *int, message string) {
	for _, st := range r.states {
		if st.status == runtime.StepFailed {
			return st.Slug, st.failedIndex, st.err
		}
	}
	return "", nil, ""
}

// info returns the state as others see it.
func (st *state) info(index int, payloads, running bool) runtime.StepState {
	s := runtime.StepState{
		Step: st.Slug, Index: index, Type: st.Type, Status: st.status,
		RemainingTasks: st.left, InitialTasks: st.tasks, RemainingDeps: st.remainingDeps, Attempts: st.attempts,
		Wait: st.wait(running), Error: st.err, FailedIndex: st.failedIndex, SkipReason: st.skipReason, CreatedAt: st.created, StartedAt: st.started,
	}
	if payloads {
		s.Output = st.output
	}
	switch st.status {
	case runtime.StepCompleted:
		s.CompletedAt = st.ended
	case runtime.StepFailed:
		s.FailedAt = st.ended
	case runtime.StepSkipped:
		s.SkippedAt = st.ended
	}
	return s
}

// result returns what the definition says that the completed run gave, nil if it does
// not say.
func (r *Run) result() json.RawMessage {
	result := r.flow.result
	if r.status != runtime.RunCompleted || result == nil || result.From == "" && result.Fields == nil {
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
	return encode(members)
}

// given returns the output of a step, or the input of the run.
func (r *Run) given(from string) json.RawMessage {
	if from == spec.RunKey {
		return r.input
	}
	for _, st := range r.states {
		if st.Slug == from && st.status == runtime.StepCompleted {
			return st.output
		}
	}
	return json.RawMessage("null")
}
