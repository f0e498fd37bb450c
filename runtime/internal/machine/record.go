package machine

import (
	"encoding/json"
	"time"

	"github.com/flowc-dev/flowc/runtime"
)

// A Record is how far a run is, as plain data. With the flow, the id and the input, it is
// the run: see [Flow.Restore].
type Record struct {
	Status    runtime.RunStatus `json:"status"`
	StartedAt time.Time         `json:"started_at"`
	EndedAt   time.Time         `json:"ended_at,omitzero"`
	Reason    string            `json:"cancel_reason,omitempty"`
	Deadline  time.Time         `json:"deadline,omitzero"`
	Steps     []StepRecord      `json:"steps"`
}

// A StepRecord is how far a step is.
type StepRecord struct {
	runtime.StepState
	// Tasks are those that have completed of a step that has not.
	Tasks []TaskRecord `json:"tasks,omitempty"`
	// Answer is what was sent to a step that waits, or will.
	Answer *Answer `json:"answer,omitempty"`
}

// A TaskRecord is a task that has completed.
type TaskRecord struct {
	Index    int             `json:"index"`
	Output   json.RawMessage `json:"output"`
	Attempts int             `json:"attempts"`
}

// Record returns how far the run is.
func (r *Run) Record() Record {
	rec := Record{Status: r.status, StartedAt: r.startedAt, EndedAt: r.endedAt, Reason: r.reason, Deadline: r.deadline}
	for i, st := range r.states {
		s := StepRecord{StepState: st.info(i, true, r.status == runtime.RunRunning), Answer: st.answer}
		for n, output := range st.outputs {
			if output != nil && st.status != runtime.StepCompleted {
				s.Tasks = append(s.Tasks, TaskRecord{n, output, st.taken[n]})
			}
		}
		rec.Steps = append(rec.Steps, s)
	}
	return rec
}

// Restore returns the run of which a record was made. It has no next tasks: those of a run
// that goes on belong to whoever drives it.
func (f *Flow) Restore(id string, input json.RawMessage, rec Record) *Run {
	r := &Run{id: id, flow: f, input: input, status: rec.Status, startedAt: rec.StartedAt, endedAt: rec.EndedAt, reason: rec.Reason, deadline: rec.Deadline}
	leaves := map[string]json.RawMessage{}
	for i, s := range rec.Steps {
		st := &state{
			Step: f.Steps[i], status: s.Status, tasks: s.InitialTasks, left: s.RemainingTasks, remainingDeps: s.RemainingDeps,
			attempts: s.Attempts, output: s.Output, err: s.Error, failedIndex: s.FailedIndex, skipReason: s.SkipReason,
			created: s.CreatedAt, started: s.StartedAt, ended: latest(s.CompletedAt, s.FailedAt, s.SkippedAt),
		}
		if !st.started.IsZero() && st.tasks != nil {
			st.outputs, st.taken = make([]json.RawMessage, *st.tasks), make([]int, *st.tasks)
		}
		for _, t := range s.Tasks {
			st.outputs[t.Index], st.taken[t.Index] = t.Output, t.Attempts
		}
		if st.answer = s.Answer; st.waits() {
			st.task = &Task{Step: st.Step, run: r, state: st, attempts: 1}
			if s.Wait != nil {
				st.since, st.until, st.key = s.Wait.Since, s.Wait.Until, s.Wait.Key
			}
		}
		r.states = append(r.states, st)
		if len(st.children) == 0 && st.status == runtime.StepCompleted {
			leaves[st.Slug] = st.output
		}
	}
	if r.status == runtime.RunCompleted && len(leaves) > 0 {
		r.output = encode(leaves)
	}
	return r
}

// latest returns the one of some times that is not zero.
func latest(times ...time.Time) (at time.Time) {
	for _, t := range times {
		if t.After(at) {
			at = t
		}
	}
	return at
}
