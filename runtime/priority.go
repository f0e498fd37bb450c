package runtime

import (
	"context"

	"github.com/flowc-dev/flowc/runtime/internal/valid"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A Priority is the order in which workers claim the tasks of a flow: those with a high one
// first, and those with a low one while there is nothing else. It is strict, and no way to
// share workers fairly: while there is always something to do with a higher priority, what
// has a lower one waits. Tasks in flight are not interrupted.
//
// It orders what a worker claims together: the tasks of one flow, or of one step that has a
// limit of its own. Other flows and their priorities do not count.
type Priority = spec.Priority

// The priorities.
const (
	High   = spec.PriorityHigh
	Normal = spec.PriorityNormal
	Low    = spec.PriorityLow
)

// WithPriority sets the priority of the run's tasks, except those of steps with the tag
// priority. Without it, that is the priority of the flow. If the run exists already, it
// keeps its own.
//
// Errors: [ErrInvalidOption] unless it is [High], [Normal] or [Low].
func WithPriority(priority Priority) StartOption {
	return startOption(func(o *startOptions) error {
		o.priority = priority
		return checkPriority(priority)
	})
}

func checkPriority(priority Priority) error {
	switch priority {
	case High, Normal, Low:
		return nil
	}
	return valid.Option("the priority is %q: priority is high, normal or low", string(priority))
}

// SetPriority sets the priority of a run: of its tasks that wait and of those to come, except
// those of steps with the tag priority. Tasks in flight continue; what becomes of them has
// the new priority, too.
//
// Errors: [ErrInvalidRunID]; [ErrInvalidOption] unless it is [High], [Normal] or [Low];
// [ErrRunNotFound]; [ErrWrongStatus] if the run has completed; [ErrRequested].
//
// In a transaction it is requested, as with [CancelRun].
func SetPriority(ctx context.Context, db DB, id string, priority Priority) error {
	if err := checkPriority(priority); err != nil {
		return err
	}
	const doing = "setting the priority of"
	s, err := steerWith(ctx, db, id, doing, func(b Prioritizer) (Steered, error) { return b.SetPriority(ctx, id, priority) })
	if err != nil || s.Done || s.Requested {
		return err
	}
	return wrongStatus(doing, id, "it has completed")
}
