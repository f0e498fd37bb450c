package temporalflow

import (
	"cmp"
	"context"
	"fmt"

	"go.temporal.io/sdk/temporal"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// The keys of priorities: the first, the default and the last of a server.
const highKey, normalKey, lowKey = 1, 3, 5

// priorityOf returns the priority of a workflow or an activity. Without one, an activity has
// that of its workflow.
func priorityOf(p spec.Priority) temporal.Priority {
	keys := map[spec.Priority]int{spec.PriorityHigh: highKey, spec.PriorityNormal: normalKey, spec.PriorityLow: lowKey}
	return temporal.Priority{PriorityKey: keys[p]}
}

// priority returns that of a run, given the one that it is started with.
func (f *knownFlow) priority(given spec.Priority) spec.Priority { return cmp.Or(given, f.def.Priority) }

// priority returns that of the run, empty if it is normal.
func (e *execution) priority() spec.Priority {
	switch e.RawResponse.GetWorkflowExecutionInfo().GetPriority().GetPriorityKey() {
	case highKey:
		return spec.PriorityHigh
	case lowKey:
		return spec.PriorityLow
	}
	return ""
}

// SetPriority returns an [runtime.ErrNeedsEngine]: Temporal cannot change that of a workflow.
func (b backend) SetPriority(context.Context, string, runtime.Priority) (runtime.Steered, error) {
	return runtime.Steered{}, fmt.Errorf("%w: %s", runtime.ErrNeedsEngine, instead["SetPriority"])
}
