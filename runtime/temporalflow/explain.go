package temporalflow

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	enums "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"

	"github.com/flowc-dev/flowc/runtime"
)

var _ runtime.Explainer = backend{}

// ExplainRun returns what a run waits for: its start, a worker, or its tasks by step. Tasks
// in parts of large maps are not listed.
func (b backend) ExplainRun(ctx context.Context, id string) ([]runtime.Reason, error) {
	e, boxed, err := b.findAnywhere(ctx, id)
	switch {
	case errors.Is(err, runtime.ErrRunNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case boxed != nil && boxed.Status.Ended() || boxed == nil && !e.running():
		return nil, nil
	case boxed != nil:
		return b.outbox.Load().explain(ctx, boxed)
	}
	now := time.Now().UTC()
	if at := e.startAt(); !at.IsZero() {
		return []runtime.Reason{{Kind: runtime.ReasonScheduled, Flow: e.flow(), Until: at, At: now}}, nil
	}
	var reasons []runtime.Reason
	queue, err := b.client.DescribeTaskQueue(ctx, e.flow(), enums.TASK_QUEUE_TYPE_WORKFLOW)
	if err != nil {
		return nil, err
	}
	if len(queue.Pollers) == 0 {
		reasons = append(reasons, runtime.Reason{Kind: runtime.ReasonNoWorker, Flow: e.flow(), At: now})
	}
	known, err := b.known(ctx, e.flow())
	if err != nil {
		return nil, err
	}
	var tasks []runtime.Reason
	for _, a := range e.RawResponse.GetPendingActivities() {
		r := pending(a, now)
		r.Flow = e.flow()
		if r.Kind == runtime.ReasonRetry && known != nil && known.flow.Step(r.Step) != nil {
			r.MaxAttempts = max(known.flow.Step(r.Step).MaxAttempts, r.Attempt)
		}
		same := slices.IndexFunc(tasks, func(o runtime.Reason) bool { return o.Step == r.Step && o.Kind == r.Kind })
		if same < 0 {
			tasks = append(tasks, r)
		} else {
			tasks[same].Tasks++
		}
	}
	slices.SortStableFunc(tasks, func(x, y runtime.Reason) int { return cmp.Compare(x.Step, y.Step) })
	return append(reasons, tasks...), nil
}

// pending returns what an activity waits for.
func pending(a *workflowpb.PendingActivityInfo, now time.Time) runtime.Reason {
	r := runtime.Reason{Step: a.GetActivityType().GetName(), Tasks: 1, At: now}
	switch next := a.GetNextAttemptScheduleTime(); {
	case a.State == enums.PENDING_ACTIVITY_STATE_STARTED:
		r.Kind, r.Worker, r.Since = runtime.ReasonRunning, workerName(a.GetLastWorkerIdentity()), a.GetLastStartedTime().AsTime()
	case a.GetLastFailure() != nil && next != nil && next.AsTime().After(now):
		r.Kind, r.Until, r.Message = runtime.ReasonRetry, next.AsTime(), a.GetLastFailure().GetMessage()
		r.Attempt = int(a.GetAttempt()) - 1
	default:
		r.Kind, r.Since = runtime.ReasonQueued, a.GetScheduledTime().AsTime()
	}
	return r
}

// workerName returns the identity of a worker of the SDK's without the end of it that may be
// empty: process, host and group.
func workerName(identity string) string { return strings.TrimRight(identity, "@") }
