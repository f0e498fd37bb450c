package temporalflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.temporal.io/api/common/v1"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/machine"
)

const (
	// answerTime is how long a worker may take to answer a query.
	answerTime = 5 * time.Second
	// glanceTime is how long it may take where its answer is not needed.
	glanceTime = 500 * time.Millisecond
)

// Outcome reads how far a run is, and what is wanted of it once it has completed. While the
// server cannot answer it tries again, until ctx ends.
func (b backend) Outcome(ctx context.Context, id string, want runtime.Want) (runtime.Outcome, error) {
	for {
		o, err := b.outcome(ctx, id, want)
		if !transient(err) {
			return o, err
		}
		select {
		case <-ctx.Done():
			return runtime.Outcome{}, ctx.Err()
		case <-time.After(outcomePause):
		}
	}
}

// outcomePause is how long [backend.Outcome] waits before it tries again.
const outcomePause = 200 * time.Millisecond

// transient reports whether an error of the server's says that it may answer later.
func transient(err error) bool {
	return errors.As(err, new(*serviceerror.Unavailable)) || errors.As(err, new(*serviceerror.ResourceExhausted)) ||
		errors.As(err, new(*serviceerror.DeadlineExceeded)) || errors.Is(err, context.DeadlineExceeded)
}

func (b backend) outcome(ctx context.Context, id string, want runtime.Want) (o runtime.Outcome, _ error) {
	if r := b.ends.take(id); r != nil && !r.Short && (r.Input != nil || !want.Input && !want.Whole) {
		flow, err := flowOf(r.Flow, r.Plan.Definition)
		if err != nil {
			return o, err
		}
		return flow.Restore(id, r.Input, r.Record).Outcome(want), nil
	}
	e, boxed, err := b.findAnywhere(ctx, id)
	switch {
	case err != nil:
		return o, err
	case boxed != nil:
		o = runtime.Outcome{Flow: boxed.Flow, Status: boxed.Status, Message: boxed.Error}
		if boxed.Status == runtime.RunCancelled {
			o.Message = boxed.CancelReason
		}
		return o, nil
	case e.running() && !e.startAt().IsZero():
		return runtime.Outcome{Flow: e.flow(), Status: runtime.RunScheduled}, nil
	case e.running():
		return runtime.Outcome{Flow: e.flow(), Status: runtime.RunRunning}, nil
	case e.Status == enums.WORKFLOW_EXECUTION_STATUS_TERMINATED:
		reason, _, err := b.termination(ctx, e)
		return runtime.Outcome{Flow: e.flow(), Status: runtime.RunCancelled, Message: reason}, err
	}
	r, err := b.end(ctx, e)
	if err != nil {
		return o, err
	}
	needed := func(step string) bool { return want.Whole || slices.Contains(want.Steps, step) }
	run, err := b.restore(ctx, e, r, want.Input || want.Whole, needed)
	if err != nil {
		return o, err
	}
	return run.Outcome(want), nil
}

// Run reads a run. How far it is that has not ended, a worker is asked: without one, the
// states of its steps cannot be read, and all else can.
func (b backend) Run(ctx context.Context, id string, detail runtime.RunDetail) (*runtime.RunInfo, error) {
	e, boxed, err := b.findAnywhere(ctx, id)
	if err != nil || boxed != nil {
		return boxed, err
	}
	bare := &runtime.RunInfo{ID: id, Flow: e.flow(), Status: runtime.RunRunning, StartedAt: e.WorkflowStartTime.UTC(), Priority: e.priority()}
	if at := e.startAt(); !at.IsZero() {
		bare.Status, bare.ScheduledAt = runtime.RunScheduled, at
	}
	if e.running() && !detail.States && !detail.Payloads {
		return bare, nil
	}
	r, err := b.read(ctx, e, detail.States)
	switch {
	case err != nil && (detail.States || !e.running()):
		return nil, err
	case err != nil: // there is no worker to ask
		in, err := b.begin(ctx, e)
		bare.Input, bare.Tick = in.Input, in.Tick
		return bare, err
	}
	run, err := b.restore(ctx, e, r, detail.Payloads, func(string) bool { return detail.Payloads })
	if err != nil {
		return nil, err
	}
	info := run.Info(detail)
	info.Tick, info.ScheduledAt, info.Priority = r.Tick, r.ScheduledAt, e.priority()
	return info, nil
}

// AwaitRun waits for the end of a run, first until it is out of the outbox.
func (b backend) AwaitRun(ctx context.Context, id string) error {
	if o := b.outbox.Load(); o != nil {
		_, boxed, err := b.findAnywhere(ctx, id)
		if err == nil && boxed != nil {
			err = o.await(ctx, id)
		}
		if err != nil {
			return err
		}
	}
	r := new(record)
	err := b.client.GetWorkflow(ctx, id, "").Get(ctx, r)
	ended := err == nil || errors.As(err, new(*temporal.WorkflowExecutionError))
	if err != nil {
		r, _ = recordOf(err)
	}
	if r != nil && r.Status.Ended() {
		b.ends.put(id, r)
	}
	if ended {
		return nil
	}
	return err
}

// ends are the records that waits have just got with the ends of runs, so that they need
// not ask for them again.
type ends struct {
	mu  sync.Mutex
	all map[string]freshEnd
}

type freshEnd struct {
	record *record
	at     time.Time
}

const (
	// maxEnds is how many are kept: those that nobody reads must not pile up.
	maxEnds = 256
	// freshTime is how long they are: the run may be retried.
	freshTime = time.Second
)

func (e *ends) put(id string, r *record) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.all == nil || len(e.all) >= maxEnds {
		e.all = map[string]freshEnd{}
	}
	e.all[id] = freshEnd{r, time.Now()}
}

// take returns the record of a run that has just ended, once.
func (e *ends) take(id string) *record {
	e.mu.Lock()
	defer e.mu.Unlock()
	end := e.all[id]
	delete(e.all, id)
	if time.Since(end.at) > freshTime {
		return nil
	}
	return end.record
}

// read returns the record of a run that goes on or has ended.
func (b backend) read(ctx context.Context, e *execution, states bool) (*record, error) {
	limit := answerTime
	if !states {
		limit = glanceTime
	}
	switch {
	case e.running():
		return b.ask(ctx, e, limit)
	case e.Status != enums.WORKFLOW_EXECUTION_STATUS_TERMINATED:
		return b.end(ctx, e)
	}
	reason, at, err := b.termination(ctx, e)
	if err != nil {
		return nil, err
	}
	r, err := b.ask(ctx, e, limit) // which knows nothing of its end
	if err != nil && !states {
		r, err = b.unbegun(ctx, e)
	}
	if err != nil {
		return nil, err
	}
	flow, err := flowOf(e.flow(), r.Plan.Definition)
	if err != nil {
		return nil, err
	}
	run := flow.Restore(e.id, r.Input, r.Record)
	run.Cancel(reason, at)
	r.Record, r.ScheduledAt = run.Record(), time.Time{}
	return r, nil
}

// unbegun returns the record of a run of which no worker knows anything.
func (b backend) unbegun(ctx context.Context, e *execution) (*record, error) {
	in, err := b.begin(ctx, e)
	if err != nil {
		return nil, err
	}
	if in.Resumed != nil {
		flow, err := flowOf(e.flow(), in.Plan.Definition)
		if err != nil {
			return nil, err
		}
		run := flow.Restore(e.id, in.Input, *in.Resumed)
		if _, _, err := resume(run, *in.Plan, in, in.RetryStep); err != nil {
			return nil, err
		}
		return &record{Record: run.Record(), Plan: *in.Plan, Input: in.Input, Tick: in.Tick}, nil
	}
	known, err := b.known(ctx, e.flow())
	if err == nil && known == nil {
		err = notStored(e.flow())
	}
	if err != nil {
		return nil, err
	}
	run := known.flow.Schedule(e.id, in.Input, e.WorkflowStartTime.UTC())
	r := &record{Plan: plan{Definition: known.payload}, Input: in.Input, Tick: in.Tick, ScheduledAt: e.startAt()}
	if e.running() && r.ScheduledAt.IsZero() {
		run.Start(e.WorkflowStartTime.UTC())
	}
	r.Record = run.Record()
	return r, nil
}

// end returns the record of a run that has ended by itself.
func (b backend) end(ctx context.Context, e *execution) (*record, error) {
	r := new(record)
	err := b.client.GetWorkflow(ctx, e.id, e.runID()).Get(ctx, r)
	if err == nil || ctx.Err() != nil {
		return r, err
	}
	known, recordErr := recordOf(err)
	if recordErr == nil {
		return known, nil
	}
	if !errors.As(err, new(*temporal.WorkflowExecutionError)) {
		return nil, notFound(e.id, err)
	}
	// It ended by a limit of Temporal's, or a fault of ours.
	if r, err = b.unbegun(ctx, e); err != nil {
		return nil, err
	}
	r.Status, r.EndedAt, r.Reason = runtime.RunCancelled, *e.WorkflowCloseTime, recordErr.Error()
	return r, nil
}

// recordOf returns the record in the error of a workflow that has ended.
func recordOf(err error) (*record, error) {
	r := new(record)
	var application *temporal.ApplicationError
	var cancelled *temporal.CanceledError
	switch {
	case errors.As(err, &application) && application.Type() == runFailed:
		return r, application.Details(r)
	case errors.As(err, &cancelled) && cancelled.HasDetails():
		return r, cancelled.Details(r)
	}
	return nil, err
}

// termination returns why and when a run was cancelled.
func (b backend) termination(ctx context.Context, e *execution) (reason string, at time.Time, _ error) {
	events := b.client.GetWorkflowHistory(ctx, e.id, e.runID(), false, enums.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		if err != nil {
			return "", at, notFound(e.id, err)
		}
		reason, at = event.GetWorkflowExecutionTerminatedEventAttributes().GetReason(), event.EventTime.AsTime()
	}
	return reason, at, nil
}

// ask asks a worker how far a run is.
func (b backend) ask(ctx context.Context, e *execution, limit time.Duration) (*record, error) {
	if e.unbegun() {
		return b.unbegun(ctx, e)
	}
	r := new(record)
	err := b.query(ctx, e, limit, r, recordQuery)
	if errors.As(err, new(*serviceerror.WorkflowNotReady)) { // no worker has begun it
		return b.unbegun(ctx, e)
	}
	return r, err
}

// query has a worker answer a query within a time: there may be none.
func (b backend) query(ctx context.Context, e *execution, limit time.Duration, answer any, query string, args ...any) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	value, err := b.client.QueryWorkflow(limited, e.id, e.runID(), query, args...)
	switch {
	case err == nil:
		return value.Get(answer)
	case ctx.Err() != nil:
		return ctx.Err()
	case limited.Err() != nil:
		return fmt.Errorf("flowc: reading run %s: no worker of flow %s has answered within %s; only workers know how far a run on Temporal is", e.id, e.flow(), limit)
	}
	return notFound(e.id, err)
}

// begin returns what a run was started with.
func (b backend) begin(ctx context.Context, e *execution) (in begin, _ error) {
	page, err := b.client.WorkflowService().GetWorkflowExecutionHistory(ctx, &workflowservice.GetWorkflowExecutionHistoryRequest{
		Namespace: b.namespace, Execution: &common.WorkflowExecution{WorkflowId: e.id, RunId: e.runID()}, MaximumPageSize: 1,
	})
	if err != nil {
		return in, notFound(e.id, err)
	}
	payloads := page.History.Events[0].GetWorkflowExecutionStartedEventAttributes().GetInput().GetPayloads()
	if len(payloads) == 1 && string(payloads[0].Metadata[converter.MetadataEncoding]) == converter.MetadataEncodingJSON {
		return in, converter.GetDefaultDataConverter().FromPayload(payloads[0], &in)
	}
	// The client has a converter or a storage of its own, which only a worker uses here.
	return in, b.query(ctx, e, answerTime, &in, beginQuery)
}

// restore returns the run of a record, with the values that are needed.
func (b backend) restore(ctx context.Context, e *execution, r *record, input bool, needed func(step string) bool) (*machine.Run, error) {
	for i := range r.Steps {
		s := &r.Steps[i]
		if !r.Short || s.Status != runtime.StepCompleted || s.Output != nil || !needed(s.Step) {
			continue
		}
		output, err := wholeOutput(func(from int) (p piece, err error) {
			return p, b.query(ctx, e, answerTime, &p, outputQuery, s.Step, from)
		})
		if err != nil {
			return nil, fmt.Errorf("flowc: reading the output of step %s, which is too long to be kept with the end of the run: %w", s.Step, err)
		}
		s.Output = output
	}
	if input && r.Input == nil {
		in, err := b.begin(ctx, e)
		if err != nil {
			return nil, err
		}
		r.Input = in.Input
	}
	flow, err := flowOf(e.flow(), r.Plan.Definition)
	if err != nil {
		return nil, err
	}
	return flow.Restore(e.id, r.Input, r.Record), nil
}

// wholeOutput puts an output together.
func wholeOutput(ask func(from int) (piece, error)) (output json.RawMessage, _ error) {
	for {
		p, err := ask(len(output))
		if err != nil {
			return nil, err
		}
		output = append(output, p.Bytes...)
		if len(p.Bytes) == 0 || len(output) >= p.Size {
			return output, nil
		}
	}
}

// inputOf reads the input of a run for a worker.
func (b backend) inputOf(ctx context.Context, id string) (json.RawMessage, error) {
	e, err := b.find(ctx, id)
	if err != nil {
		return nil, err
	}
	in, err := b.begin(ctx, e)
	return in.Input, err
}
