package temporalflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/machine"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// startsAtOnce is how many starts of one call are in flight.
const startsAtOnce = 16

// Start starts runs, each with a call of its own. If one fails, others may have been
// started: with the same keys, they exist the next time.
func (b backend) Start(ctx context.Context, r runtime.StartRequest) ([]runtime.StartedRun, error) {
	known, err := b.known(ctx, r.Flow)
	if err != nil {
		return nil, fmt.Errorf("flowc: starting flow %s: %w", r.Flow, err)
	}
	if known == nil {
		return nil, notStored(r.Flow)
	}
	if err := checkInputs(known.flow, r, b.limit); err != nil {
		return nil, err
	}
	at := r.At
	if r.In > 0 {
		at = time.Now().Add(r.In)
	}
	if !at.After(time.Now()) {
		at = time.Time{}
	}
	all, errs := make([]runtime.StartedRun, len(r.Runs)), make([]error, len(r.Runs))
	var wait sync.WaitGroup
	slots := make(chan struct{}, startsAtOnce)
	for i, n := range r.Runs {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			all[i], errs[i] = b.start(ctx, r.Flow, n.ID, known.priority(r.Priority), begin{Input: n.Input, Headers: headersOf(n.Headers), At: at})
		})
	}
	wait.Wait()
	for i, err := range errs {
		if err != nil {
			return nil, startError(r.Flow, i, err)
		}
	}
	return all, nil
}

// start starts a run.
func (b backend) start(ctx context.Context, flow, id string, priority spec.Priority, in begin) (runtime.StartedRun, error) {
	o := startOptions(id, flow, priority)
	if in.At.IsZero() {
		o.EnableEagerStart = true
	} else {
		o.Memo[startMemo] = in.At
	}
	_, err := b.client.ExecuteWorkflow(ctx, o, flow, in)
	if !errors.As(err, new(*serviceerror.WorkflowExecutionAlreadyStarted)) {
		return runtime.StartedRun{ScheduledAt: in.At}, err
	}
	e, err := b.find(ctx, id)
	switch {
	case errors.Is(err, runtime.ErrRunNotFound):
		return runtime.StartedRun{}, runtime.ErrRunIDTaken
	case err != nil:
		return runtime.StartedRun{}, err
	}
	return existing(flow, e.flow(), e.startAt())
}

// startOptions are those of the workflow of a run.
func startOptions(id, flow string, priority spec.Priority) client.StartWorkflowOptions {
	return client.StartWorkflowOptions{
		ID: id, TaskQueue: flow, Priority: priorityOf(priority), Memo: map[string]any{runMemo: true},
		WorkflowIDReusePolicy:                    enums.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		WorkflowExecutionErrorWhenAlreadyStarted: true,
	}
}

// startError returns the error of starting the run of an index.
func startError(flow string, index int, err error) error {
	if errors.As(err, new(*serviceerror.InvalidArgument)) {
		return &runtime.InputError{Flow: flow, Index: index, Err: err}
	}
	return fmt.Errorf("flowc: starting flow %s: %w", flow, err)
}

// checkInputs returns an error if a run of the flow cannot have its input.
func checkInputs(flow *machine.Flow, r runtime.StartRequest, limit int) error {
	for i, n := range r.Runs {
		err := flow.CheckInput(n.Input)
		if len(n.Input) > limit {
			err = tooLong("the input", len(n.Input))
		}
		if err != nil {
			return &runtime.InputError{Flow: r.Flow, Index: i, Err: err}
		}
	}
	return nil
}

// existing returns the result of starting a run whose id a run has already: one of the same
// flow, perhaps of another version.
func existing(flow, of string, at time.Time) (runtime.StartedRun, error) {
	a, _ := spec.VersionOf(flow)
	if b, _ := spec.VersionOf(of); a != b {
		return runtime.StartedRun{}, runtime.ErrRunIDTaken
	}
	return runtime.StartedRun{Existed: true, Flow: of, ScheduledAt: at}, nil
}

// headersOf returns the headers that package runtime has encoded.
func headersOf(raw json.RawMessage) (headers map[string]string) {
	if raw != nil {
		_ = json.Unmarshal(raw, &headers)
	}
	return headers
}
