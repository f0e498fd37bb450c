package handler

import (
	"fmt"
	"maps"
)

// Limit lets a worker run at most n handlers of the flow at once or, if steps are named, at
// most n of each of these. Tasks beyond that are not claimed, so that other workers can
// claim them. A handler that has not returned after its timeout does not count any more.
//
//	processorder.Serve(h, handler.Limit(8), handler.Limit(1, processorder.StepCharge))
//
// The limit is for one process: several workers together run as many as their limits add up
// to. It panics if n is less than 1, or the flow has no such step.
func Limit(n int, steps ...string) ServeOption {
	return serveOption(func(s *Service) {
		if n < 1 {
			panic(fmt.Sprintf("flowc: Limit(%d) for flow %s: it must be at least 1, use Without to leave out steps", n, s.definition.Slug))
		}
		limits := map[string]int{}
		maps.Copy(limits, s.limits)
		if len(steps) == 0 {
			limits[""] = n
		}
		for _, step := range steps {
			if s.definition.Step(step) == nil {
				panic(fmt.Sprintf("flowc: Limit(%d, %q): the flow %s has no such step", n, step, s.definition.Slug))
			}
			limits[step] = n
		}
		s.limits = limits
	})
}

// Limit returns how many handlers of a step, or of the whole flow if the step is empty, a
// worker may run at once. Zero means no limit of its own.
func (s Service) Limit(step string) int { return s.limits[step] }
