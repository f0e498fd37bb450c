package temporalflow

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/machine"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A flow is stored as the memo of a workflow that nobody works on: it is there until it is
// terminated, and one with the same id replaces it in one step.

// knownTime is for how long a stored flow is not read again.
const knownTime = 10 * time.Second

// A knownFlow is a flow as it was stored when it was last read.
type knownFlow struct {
	flow     *machine.Flow
	def      spec.Flow
	payload  json.RawMessage
	separate []string // steps that have a task queue of their own, sorted
	at       time.Time
}

func flowID(slug string) string { return "flowc.flow/" + slug }

// known returns a flow that was read lately, or reads it; nil if it is not stored.
func (b backend) known(ctx context.Context, slug string) (*knownFlow, error) {
	if f, ok := b.flows.Load(slug); ok && time.Since(f.(*knownFlow).at) < knownTime {
		return f.(*knownFlow), nil
	}
	return b.stored(ctx, slug)
}

// stored reads a flow; nil if it is not stored.
func (b backend) stored(ctx context.Context, slug string) (*knownFlow, error) {
	d, err := b.client.DescribeWorkflow(ctx, flowID(slug), "")
	if isNotFound(err) || err == nil && d.Status != enums.WORKFLOW_EXECUTION_STATUS_RUNNING {
		b.flows.Delete(slug)
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	f := &knownFlow{at: time.Now()}
	var p plan
	if err = d.GetMemoValue(flowMemo, &p); err == nil {
		f.payload, f.separate = p.Definition, p.Separate
		f.def, err = spec.Parse(slug, f.payload)
	}
	if err == nil {
		f.flow, err = machine.New(f.def)
	}
	if err != nil {
		return nil, fmt.Errorf("flowc: reading flow %s: %w", slug, err)
	}
	b.flows.Store(slug, f)
	return f, nil
}

// store stores a flow in place of the one with its slug.
func (b backend) store(ctx context.Context, slug string, payload json.RawMessage, separate []string) error {
	_, err := b.client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: flowID(slug), TaskQueue: flowQueue, Memo: map[string]any{flowMemo: plan{Definition: payload, Separate: separate}},
		WorkflowIDReusePolicy:    enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING,
	}, flowWorkflow)
	if err != nil {
		return fmt.Errorf("flowc: storing flow %s: %w", slug, err)
	}
	_, err = b.stored(ctx, slug)
	return err
}

// checkSupported refuses a flow that waits for more than Temporal's workflows here can, or
// has limits that hold over all workers.
func checkSupported(flow spec.Flow) error {
	switch {
	case !flow.NeedsEngine():
		return nil
	case flow.Unique != nil:
		return fmt.Errorf("flowc: flow %s: %w: on Temporal, the id of a workflow is that of its run, so that runs are not unique by their input: start them with an idempotency key", flow.Slug, runtime.ErrNeedsEngine)
	case flow.Concurrency != 0:
		return fmt.Errorf("flowc: flow %s: %w: its concurrency is %d, and on Temporal, nobody counts the runs in progress: limit its workers instead (handler.Limit)",
			flow.Slug, runtime.ErrNeedsEngine, flow.Concurrency)
	}
	if i := slices.IndexFunc(flow.Steps, spec.Step.IsGated); i >= 0 {
		s := flow.Steps[i]
		return fmt.Errorf("flowc: flow %s: %w: step %s runs %s, and on Temporal, tasks have no limits or turns by key: limit its workers instead (handler.Limit), or give it a flow of its own and limit the rate of the queue (TaskQueueActivitiesPerSecond)",
			flow.Slug, runtime.ErrNeedsEngine, s.Slug, s.Limits().At(s.Gate, s.Key.String()))
	}
	return fmt.Errorf("flowc: flow %s: %w: on Temporal, steps cannot wait for answers, read when to start, have limits and turns by key, or commit with their effects, and runs have no deadlines", flow.Slug, runtime.ErrNeedsEngine)
}

// UpsertFlow stores a flow. What is stored is for new runs: those that have begun go on
// with the shape and the options that they have, so that data loss loses none.
func (b backend) UpsertFlow(ctx context.Context, flow spec.Flow, o runtime.UpsertOptions) (runtime.UpsertResult, error) {
	r := runtime.UpsertResult{Status: runtime.UpsertCompiled, Differences: []string{}}
	payload, err := flow.Payload()
	if err == nil {
		err = checkCron(flow)
	}
	if err == nil {
		err = checkSupported(flow)
	}
	if err != nil {
		return r, err
	}
	old, err := b.stored(ctx, flow.Slug)
	if err != nil {
		return r, err
	}
	var separate []string
	if old != nil {
		separate, r.Status = old.separate, runtime.UpsertVerified
		if differences := spec.Compare(old.def, flow); len(differences) > 0 {
			r.Status = runtime.UpsertOptionsUpdated
			r.Differences = shapeDifferences(differences)
		}
	}
	switch {
	case len(r.Differences) > 0 && !o.AllowDataLoss:
		r.Status = runtime.UpsertMismatch
		return r, mismatch(flow.Slug, r.Differences)
	case len(r.Differences) > 0:
		r.Status = runtime.UpsertRecompiled
	}
	if r.Status != runtime.UpsertVerified {
		if err := b.store(ctx, flow.Slug, payload, separate); err != nil {
			return r, err
		}
	}
	return r, b.schedule(ctx, flow)
}

// shapeDifferences returns those that are not in place, in words.
func shapeDifferences(all []spec.Difference) []string {
	words := []string{}
	for _, d := range all {
		if !d.InPlace() {
			words = append(words, d.String())
		}
	}
	return words
}

// FlowExists reports whether a flow is stored.
func (b backend) FlowExists(ctx context.Context, slug string) (bool, error) {
	f, err := b.stored(ctx, slug)
	return f != nil, err
}

// DeleteFlow forgets a flow and its schedule. Runs that have ended stay until the retention
// of the namespace is over.
func (b backend) DeleteFlow(ctx context.Context, slug string, o runtime.DeleteOptions) (runtime.Deleted, error) {
	f, err := b.stored(ctx, slug)
	if err != nil || f == nil {
		return runtime.Deleted{}, err
	}
	switch open, err := b.countOpen(ctx, slug); {
	case err != nil:
		return runtime.Deleted{}, fmt.Errorf("flowc: counting the runs of flow %s: %w", slug, err)
	case open > 0 && o.AllowDataLoss:
		return runtime.Deleted{}, fmt.Errorf("flowc: deleting flow %s: %w: Temporal cannot delete the runs of a flow at once: %s, and delete the flow then", slug, runtime.ErrNeedsEngine, endRuns(slug))
	case open > 0:
		return runtime.Deleted{}, activeRuns(slug, open)
	}
	if err := b.unschedule(ctx, slug); err != nil {
		return runtime.Deleted{}, err
	}
	b.flows.Delete(slug)
	if err := b.client.TerminateWorkflow(ctx, flowID(slug), "", "deleted"); err != nil && !isNotFound(err) {
		return runtime.Deleted{}, fmt.Errorf("flowc: deleting flow %s: %w", slug, err)
	}
	return runtime.Deleted{Existed: true, Steps: len(f.def.Steps)}, nil
}

// countOpen counts the runs of a flow that have not ended. The server's lists lag behind, so
// that it counts until it finds the same number three times in a row.
func (b backend) countOpen(ctx context.Context, slug string) (n int, err error) {
	n = -1
	for same := 0; same < 2; time.Sleep(200 * time.Millisecond) {
		open, err := b.client.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{
			Query: fmt.Sprintf("WorkflowType = '%s' AND ExecutionStatus = 'Running'", slug),
		})
		if err != nil {
			return 0, err
		}
		if same++; n != int(open.Count) {
			n, same = int(open.Count), 0
		}
	}
	return n, nil
}
