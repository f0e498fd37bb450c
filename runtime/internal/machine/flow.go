package machine

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/flowc-dev/flowc/runtime/internal/jsontext"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A Flow is a definition that can be run.
type Flow struct {
	Slug  string
	Steps []*Step // each after those that it waits for

	result   *spec.Result
	deadline time.Duration // of its runs, 0 if there is none
}

// A Step is a step of a flow, with the options that it inherits.
type Step struct {
	spec.Step

	deps, children      []int // by their places in the flow
	required, forbidden any   // what its conditions compare with, nil if there is none
}

// New returns a flow in the form in which a database would keep it.
func New(def spec.Flow) (*Flow, error) {
	payload, err := def.Payload()
	if err != nil {
		return nil, err
	}
	if def, err = spec.Parse(def.Slug, payload); err != nil {
		return nil, err
	}
	f := &Flow{Slug: def.Slug, result: def.Result, deadline: def.Deadline}
	places := map[string]int{}
	for i, s := range def.Steps {
		places[s.Slug] = i
		step := &Step{Step: s, required: pattern(s.If), forbidden: pattern(s.IfNot)}
		if s.MaxAttempts == 0 {
			step.MaxAttempts = def.MaxAttempts
		}
		if s.BaseDelay == nil {
			step.BaseDelay = def.BaseDelay
		}
		if s.MaxWait == 0 {
			step.MaxWait = spec.DefaultMaxWait
		}
		if s.Timeout == 0 && s.Type != spec.TypeWait {
			step.Timeout = def.Timeout
		}
		for _, dep := range s.Deps {
			step.deps = append(step.deps, places[dep])
			f.Steps[places[dep]].children = append(f.Steps[places[dep]].children, i)
		}
		slices.Sort(step.deps)
		f.Steps = append(f.Steps, step)
	}
	return f, nil
}

func pattern(condition json.RawMessage) any {
	if condition == nil {
		return nil
	}
	return decode(condition)
}

// Step returns the step with a slug, nil if the flow has none.
func (f *Flow) Step(slug string) *Step {
	for _, s := range f.Steps {
		if s.Slug == slug {
			return s
		}
	}
	return nil
}

// CheckInput returns an error if no run can have the input: a map over it needs an array.
func (f *Flow) CheckInput(input json.RawMessage) error {
	overInput := slices.ContainsFunc(f.Steps, func(s *Step) bool { return s.isMap() && len(s.deps) == 0 })
	if _, ok := elements(input); overInput && !ok {
		return fmt.Errorf("Flow %s has root map steps but input is not an array (got %s)", f.Slug, typeOf(input))
	}
	return nil
}

func (s *Step) isMap() bool { return s.Type == spec.TypeMap }

// retryDelay returns how long to wait after the n-th attempt: the base delay doubled with
// each attempt, at most [spec.MaxRetryDelay] or the base delay if that is longer.
func (s *Step) retryDelay(n int) time.Duration {
	delay, most := *s.BaseDelay, max(*s.BaseDelay, spec.MaxRetryDelay)
	for range n {
		if delay > most/2 {
			return most
		}
		delay *= 2
	}
	return delay
}

// meets reports whether the conditions of a step hold for what they are about.
func (s *Step) meets(subject any) bool {
	if s.required != nil {
		if _, ok := jsontext.Contains(subject, s.required); !ok {
			return false
		}
	}
	if s.forbidden != nil {
		if _, ok := jsontext.Contains(subject, s.forbidden); ok {
			return false
		}
	}
	return true
}
