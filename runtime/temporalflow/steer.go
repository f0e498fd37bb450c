package temporalflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/machine"
)

// found calls do with the last execution of a run, if there is one. A run that is still in
// the outbox can only be cancelled.
func (b backend) found(ctx context.Context, id string, do func(*execution) (done bool, _ error)) (runtime.Steered, error) {
	e, boxed, err := b.findAnywhere(ctx, id)
	switch {
	case errors.Is(err, runtime.ErrRunNotFound):
		return runtime.Steered{}, nil
	case err != nil:
		return runtime.Steered{}, err
	case boxed != nil:
		return runtime.Steered{Found: true}, fmt.Errorf("%w: it is %s in the outbox: Temporal does not have it", runtime.ErrWrongStatus, boxed.Status)
	}
	done, err := do(e)
	return runtime.Steered{Found: true, Done: done}, err
}

// CancelRun ends a run at once. It asks no worker: the handlers hear of it with their next
// heartbeat. A run that is still in the outbox is cancelled there.
func (b backend) CancelRun(ctx context.Context, id, reason string) (runtime.Steered, error) {
	if _, boxed, err := b.findAnywhere(ctx, id); err == nil && boxed != nil {
		err := runtime.CancelRun(ctx, b.outbox.Load().pg, job(id), reason)
		if err != nil && !errors.Is(err, runtime.ErrWrongStatus) {
			return runtime.Steered{Found: true}, err
		}
		if _, found := b.find(ctx, id); err == nil && errors.Is(found, runtime.ErrRunNotFound) {
			return runtime.Steered{Found: true, Done: true}, nil
		} // it has just come out
	}
	return b.found(ctx, id, func(e *execution) (bool, error) {
		return unlessEnded(b.client.TerminateWorkflow(ctx, id, e.runID(), reason))
	})
}

// unlessEnded returns what a call did that is for runs which have not ended.
func unlessEnded(err error) (done bool, _ error) {
	if isNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// RescheduleRun moves the start of a run.
func (b backend) RescheduleRun(ctx context.Context, id string, at time.Time) (runtime.Steered, error) {
	return b.found(ctx, id, func(e *execution) (bool, error) {
		if e.startAt().IsZero() {
			return false, nil
		}
		return unlessEnded(b.client.SignalWorkflow(ctx, id, e.runID(), startSignal, at))
	})
}

// RetryRun resumes a run.
func (b backend) RetryRun(ctx context.Context, id string) (runtime.Steered, error) {
	return b.found(ctx, id, func(e *execution) (bool, error) {
		if e.running() || e.Status == enums.WORKFLOW_EXECUTION_STATUS_COMPLETED {
			return false, nil
		}
		return b.retry(ctx, e, "")
	})
}

// RetryStep re-runs a step of a run. A run without such a step is not found.
func (b backend) RetryStep(ctx context.Context, id, step string) (runtime.Steered, error) {
	missing := false
	s, err := b.found(ctx, id, func(e *execution) (done bool, err error) {
		if e.running() {
			known, err := b.known(ctx, e.flow())
			missing = err == nil && known != nil && known.flow.Step(step) == nil
			return false, err
		}
		if done, err = b.retry(ctx, e, step); errors.Is(err, errNoStep) {
			missing, err = true, nil
		}
		return done, err
	})
	s.Found = s.Found && !missing
	return s, err
}

var errNoStep = errors.New("no such step")

// retry executes the workflow of a run again, with how far the last execution came.
func (b backend) retry(ctx context.Context, e *execution, step string) (bool, error) {
	r, err := b.read(ctx, e, true)
	if err != nil {
		return false, err
	}
	in, err := b.begin(ctx, e)
	if err != nil {
		return false, err
	}
	run, err := b.restore(ctx, e, r, true, func(string) bool { return true })
	if err != nil {
		return false, err
	}
	next, done, err := resume(run, r.Plan, in, step)
	if err != nil || !done {
		return false, err
	}
	if raw, err := json.Marshal(next); err != nil {
		return false, err
	} else if len(raw) > b.limit {
		return false, tooLong("what the retry keeps of the run", len(raw))
	}
	b.ends.take(e.id)
	o := startOptions(e.id, e.flow(), e.priority())
	o.WorkflowIDReusePolicy = enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
	_, err = b.client.ExecuteWorkflow(ctx, o, e.flow(), next)
	if errors.As(err, new(*serviceerror.WorkflowExecutionAlreadyStarted)) {
		return false, nil // another retry was first
	}
	return err == nil, err
}

// resume returns the input of the workflow that retries a run, or one of its steps. done is
// false if it cannot be retried.
func resume(run *machine.Run, p plan, in begin, step string) (next begin, done bool, _ error) {
	rec := run.Record()
	if step == "" {
		done = run.Retry(time.Now())
	} else {
		var found bool
		if found, done = run.RetryStep(step, time.Now()); !found {
			return next, false, errNoStep
		}
	}
	return begin{Input: in.Input, Headers: in.Headers, Tick: in.Tick, Resumed: &rec, Plan: &p, RetryStep: step}, done, nil
}

// DeleteRun returns an [runtime.ErrNeedsEngine]: the server deletes some time after the call,
// so that a start with the same key would be told of the run that is there yet, and lose it.
func (b backend) DeleteRun(context.Context, string, runtime.DeleteOptions) (runtime.Steered, error) {
	return runtime.Steered{}, fmt.Errorf("%w: %s", runtime.ErrNeedsEngine, instead["DeleteRun"])
}
