package runtime

import (
	"context"
	"time"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A delegate is the backend of a database that may turn out to have only pgflow. Starts
// coalesce as those of [StartFlow] do.
type delegate struct{ db DB }

func (d delegate) Start(ctx context.Context, r StartRequest) ([]StartedRun, error) {
	return send(ctx, d.db, r)
}

func (d delegate) Run(ctx context.Context, id string, detail RunDetail) (*RunInfo, error) {
	return onBackend(ctx, d.db, func(b Backend) (*RunInfo, error) { return b.Run(ctx, id, detail) })
}

func (d delegate) Outcome(ctx context.Context, id string, want Want) (Outcome, error) {
	return onBackend(ctx, d.db, func(b Backend) (Outcome, error) { return b.Outcome(ctx, id, want) })
}

func (d delegate) UpsertFlow(ctx context.Context, flow spec.Flow, o UpsertOptions) (UpsertResult, error) {
	return onBackend(ctx, d.db, func(b Backend) (UpsertResult, error) { return b.UpsertFlow(ctx, flow, o) })
}

func (d delegate) DeleteFlow(ctx context.Context, slug string, o DeleteOptions) (Deleted, error) {
	return onBackend(ctx, d.db, func(b Backend) (Deleted, error) { return b.DeleteFlow(ctx, slug, o) })
}

func (d delegate) FlowExists(ctx context.Context, slug string) (bool, error) {
	return onBackend(ctx, d.db, func(b Backend) (bool, error) { return b.FlowExists(ctx, slug) })
}

func (d delegate) CancelRun(ctx context.Context, id, reason string) (Steered, error) {
	return onCapable(ctx, d.db, func(b Steerer) (Steered, error) { return b.CancelRun(ctx, id, reason) })
}

func (d delegate) RetryRun(ctx context.Context, id string) (Steered, error) {
	return onCapable(ctx, d.db, func(b Steerer) (Steered, error) { return b.RetryRun(ctx, id) })
}

func (d delegate) RetryStep(ctx context.Context, id, step string) (Steered, error) {
	return onCapable(ctx, d.db, func(b Steerer) (Steered, error) { return b.RetryStep(ctx, id, step) })
}

func (d delegate) RescheduleRun(ctx context.Context, id string, at time.Time) (Steered, error) {
	return onCapable(ctx, d.db, func(b Steerer) (Steered, error) { return b.RescheduleRun(ctx, id, at) })
}

func (d delegate) DeleteRun(ctx context.Context, id string, o DeleteOptions) (Steered, error) {
	return onCapable(ctx, d.db, func(b Steerer) (Steered, error) { return b.DeleteRun(ctx, id, o) })
}

func (d delegate) SetPriority(ctx context.Context, id string, priority Priority) (Steered, error) {
	return onCapable(ctx, d.db, func(b Prioritizer) (Steered, error) { return b.SetPriority(ctx, id, priority) })
}

func (d delegate) Signal(ctx context.Context, s SignalRequest) (Signalled, error) {
	return onCapable(ctx, d.db, func(b Signaller) (Signalled, error) { return b.Signal(ctx, s) })
}

func (d delegate) SignalBy(ctx context.Context, s KeyedSignal) (bool, error) {
	return onCapable(ctx, d.db, func(b Signaller) (bool, error) { return b.SignalBy(ctx, s) })
}

func (d delegate) ListWaiting(ctx context.Context, f WaitingFilter) ([]Waiting[handler.Values], error) {
	return onCapable(ctx, d.db, func(b Signaller) ([]Waiting[handler.Values], error) { return b.ListWaiting(ctx, f) })
}

func (d delegate) RunSchedule(ctx context.Context, flow, id string) (bool, error) {
	return onCapable(ctx, d.db, func(b Scheduler) (bool, error) { return b.RunSchedule(ctx, flow, id) })
}

func (d delegate) ExplainRun(ctx context.Context, id string) ([]Reason, error) {
	return onCapable(ctx, d.db, func(b Explainer) ([]Reason, error) { return b.ExplainRun(ctx, id) })
}
