package flowtest

import (
	"encoding/json"
	"math"
	"slices"
	"time"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A flow is a definition as the database would keep it, with the handlers.
type flow struct {
	slug   string
	cron   string
	result *spec.Result
	steps  []*step // in an order that runs
}

type step struct {
	slug          string
	index         int
	isMap         bool
	deps          []int
	children      []int
	required      any // of the conditions, nil if there is none
	forbidden     any
	whenUnmet     spec.Mode
	whenExhausted spec.Mode
	maxAttempts   int
	baseDelay     int // seconds
	timeout       time.Duration
	handler       *handler.Handler
}

// newFlow reads a definition in the form in which the database takes it.
func newFlow(def spec.Flow) (*flow, error) {
	payload, err := def.Payload()
	if err != nil {
		return nil, err
	}
	type options struct{ MaxAttempts, BaseDelay, Timeout *int }
	type pattern struct {
		Defined bool
		Value   json.RawMessage
	}
	var shape struct {
		Options options
		Steps   []struct {
			Slug                  string
			StepType              spec.StepType
			Dependencies          []string
			WhenUnmet             spec.Mode
			WhenExhausted         spec.Mode
			RequiredInputPattern  pattern
			ForbiddenInputPattern pattern
			Options               options
		}
	}
	if err := json.Unmarshal(payload, &shape); err != nil {
		return nil, err
	}
	f := &flow{slug: def.Slug, cron: def.Cron, result: def.Result}
	for i, s := range shape.Steps {
		st := &step{
			slug: s.Slug, index: i, isMap: s.StepType == spec.TypeMap,
			whenUnmet: s.WhenUnmet, whenExhausted: s.WhenExhausted,
			maxAttempts: either(s.Options.MaxAttempts, shape.Options.MaxAttempts),
			baseDelay:   either(s.Options.BaseDelay, shape.Options.BaseDelay),
			timeout:     time.Duration(either(s.Options.Timeout, shape.Options.Timeout)) * time.Second,
		}
		if s.RequiredInputPattern.Defined {
			st.required = decode(s.RequiredInputPattern.Value)
		}
		if s.ForbiddenInputPattern.Defined {
			st.forbidden = decode(s.ForbiddenInputPattern.Value)
		}
		for _, dep := range s.Dependencies {
			parent := f.step(dep)
			st.deps = append(st.deps, parent.index)
			parent.children = append(parent.children, i)
		}
		slices.Sort(st.deps)
		f.steps = append(f.steps, st)
	}
	return f, nil
}

func (f *flow) step(slug string) *step {
	for _, s := range f.steps {
		if s.slug == slug {
			return s
		}
	}
	return nil
}

// hasRootMap reports whether a step maps over the run's input.
func (f *flow) hasRootMap() bool {
	return slices.ContainsFunc(f.steps, func(s *step) bool { return s.isMap && len(s.deps) == 0 })
}

// retryDelay is how long to wait after the n-th attempt: the base doubled with each
// attempt, at most six hours or the base if that is more.
func (s *step) retryDelay(n int) time.Duration {
	most := max(float64(s.baseDelay), spec.MaxRetryDelay.Seconds())
	return time.Duration(min(float64(s.baseDelay)*math.Pow(2, float64(min(n, 40))), most)) * time.Second
}

func either(own, flows *int) int {
	if own != nil {
		return *own
	}
	return *flows
}
