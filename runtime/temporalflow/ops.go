package temporalflow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/client"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// What package ops asks for: definitions and schedules can be read, and schedules paused.
// For the rest there is Temporal's own, of which the sentences tell.
var (
	_ ops.Definer   = backend{}
	_ ops.Scheduler = backend{}
	_ ops.Lister    = backend{}
	_ ops.Inspector = backend{}
	_ ops.Operator  = backend{}

	_ ops.GateKeeper = backend{}
)

// noGates says what limits tasks on Temporal: steps with limits are refused by Upsert.
const noGates = "handler.Limit limits a worker, and TaskQueueActivitiesPerSecond of its options the rate of a queue"

// instead says what to use for what Temporal cannot do, by functions, most of package ops.
var instead = map[string]string{
	"ListRuns":          "Temporal's UI lists runs, as `temporal workflow list --query \"WorkflowType = 'the flow'\"` does",
	"ListFailures":      "Temporal's UI lists them, as `temporal workflow list --query \"ExecutionStatus = 'Failed'\"` does",
	"AdjacentRuns":      "Temporal's UI lists runs in the order of their starts",
	"ListFlows":         "Temporal's UI counts workflows by their types, which are the slugs of flows; ops.GetDefinition reads the definition of one",
	"ListRequests":      "what controls a run is done at once, so that no request is left",
	"Throughput":        "the metrics of Temporal's server and of its SDK have it",
	"ListWorkers":       "`temporal task-queue describe --task-queue FLOW` lists who polls the queue of a flow",
	"ListTasksInFlight": "Temporal's UI shows the pending activities of a run; runtime.ExplainRun lists what it waits for",
	"ListTasks":         "the history of a run has its tasks: `temporal workflow show`, or Temporal's UI; runtime.GetRun with runtime.WithStates reads its steps",
	"ListPayloads":      "runtime.GetRun with runtime.WithStates reads the values of a run",
	"GetPayload":        "runtime.GetRun with runtime.WithStates reads the values of a run",
	"ListGates":         noGates,
	"SetGate":           noGates,
	"HoldGate":          noGates,
	"RunNow":            "Temporal keeps the time of the next attempt: `temporal activity reset` makes it now",
	"PauseFlow":         "stop the workers of the flow, and its runs wait; ops.PauseSchedule pauses its schedule",
	"ResumeFlow":        "Temporal cannot pause a flow: start its workers",
	"DeleteRun":         "ended runs leave a namespace when its retention is over; runtime.CancelRun ends a run",
	"SetPriority":       "a run keeps the priority that it was started with, which runtime.WithPriority sets",
	"Prune":             "runs leave a namespace when its retention is over (`temporal operator namespace update --retention`)",
}

// refuse returns the error of a function that Temporal cannot do.
func refuse[T any](function string) (T, error) {
	return *new(T), fmt.Errorf("flowc: ops.%s: %w: %s", function, runtime.ErrNeedsEngine, instead[function])
}

func (backend) ListRuns(context.Context, ops.RunFilter) ([]ops.RunSummary, error) {
	return refuse[[]ops.RunSummary]("ListRuns")
}

func (backend) ListFailures(context.Context, time.Time, int) ([]ops.RunSummary, error) {
	return refuse[[]ops.RunSummary]("ListFailures")
}

func (backend) ListFlows(context.Context, time.Time) ([]ops.FlowInfo, error) {
	return refuse[[]ops.FlowInfo]("ListFlows")
}

func (backend) Throughput(context.Context, time.Time, time.Duration) ([]ops.ThroughputPoint, error) {
	return refuse[[]ops.ThroughputPoint]("Throughput")
}

func (backend) ListWorkers(context.Context, time.Time) ([]ops.WorkerInfo, error) {
	return refuse[[]ops.WorkerInfo]("ListWorkers")
}

func (backend) ListTasksInFlight(context.Context, int) ([]ops.TaskInFlight, error) {
	return refuse[[]ops.TaskInFlight]("ListTasksInFlight")
}

func (backend) ListTasks(context.Context, string, ops.TaskFilter) ([]ops.TaskInfo, error) {
	return refuse[[]ops.TaskInfo]("ListTasks")
}

func (backend) ListPayloads(context.Context, string, int) ([]ops.Payload, error) {
	return refuse[[]ops.Payload]("ListPayloads")
}

func (backend) GetPayload(context.Context, string, ops.PayloadFilter) (*ops.Payload, error) {
	return refuse[*ops.Payload]("GetPayload")
}

func (backend) AdjacentRuns(context.Context, string) (newer, older string, err error) {
	_, err = refuse[string]("AdjacentRuns")
	return "", "", err
}

func (backend) RunNow(context.Context, string, string) (int, error) { return refuse[int]("RunNow") }

func (backend) PauseFlow(context.Context, string, string) (bool, error) {
	return refuse[bool]("PauseFlow")
}

func (backend) ResumeFlow(context.Context, string) (bool, error) { return refuse[bool]("ResumeFlow") }

func (backend) Prune(context.Context, ops.PruneOptions) (int, error) { return refuse[int]("Prune") }

// GetDefinition returns the definition of a flow.
func (b backend) GetDefinition(ctx context.Context, slug string) (spec.Flow, error) {
	f, err := b.stored(ctx, slug)
	switch {
	case err != nil:
		return spec.Flow{}, err
	case f == nil:
		return spec.Flow{}, notStored(slug)
	}
	return f.def, nil
}

// ListSchedules returns the schedules of flows, of all if there are no slugs.
func (b backend) ListSchedules(ctx context.Context, slugs ...string) ([]ops.ScheduleInfo, error) {
	if len(slugs) == 0 {
		all, err := b.client.ScheduleClient().List(ctx, client.ScheduleListOptions{PageSize: 100})
		for err == nil && all.HasNext() {
			var s *client.ScheduleListEntry
			if s, err = all.Next(); err == nil {
				if slug, ok := strings.CutPrefix(s.ID, scheduleID("")); ok {
					slugs = append(slugs, slug)
				}
			}
		}
		if err != nil {
			return nil, fmt.Errorf("flowc: listing schedules: %w", err)
		}
	}
	slices.Sort(slugs)
	var infos []ops.ScheduleInfo
	for _, slug := range slices.Compact(slugs) {
		d, err := b.client.ScheduleClient().GetHandle(ctx, scheduleID(slug)).Describe(ctx)
		if isNotFound(err) {
			continue
		}
		f, flowErr := b.stored(ctx, slug)
		if err := errors.Join(err, flowErr); err != nil {
			return nil, fmt.Errorf("flowc: listing schedules: %w", err)
		}
		s := ops.ScheduleInfo{Flow: slug, CreatedAt: d.Info.CreatedAt.UTC()}
		if f != nil {
			s.Cron = f.def.Cron
		}
		if d.Schedule.State.Paused {
			s.PausedAt, s.PauseReason = pausedAt(d.Info), d.Schedule.State.Note
		} else if len(d.Info.NextActionTimes) > 0 {
			s.NextAt = d.Info.NextActionTimes[0].UTC()
		}
		if n := len(d.Info.RecentActions); n > 0 {
			s.LastAt = d.Info.RecentActions[n-1].ScheduleTime.UTC()
		}
		infos = append(infos, s)
	}
	return infos, nil
}

// pausedAt returns when a paused schedule was paused, as far as the server tells: when it was
// last updated, or created. It keeps no time of a pause by its UI or its command.
func pausedAt(info client.ScheduleInfo) time.Time {
	if info.LastUpdateAt.After(info.CreatedAt) { // else it never was
		return info.LastUpdateAt.UTC()
	}
	return info.CreatedAt.UTC()
}

// PauseSchedule pauses the schedule of a flow, by an update, whose time the server keeps.
func (b backend) PauseSchedule(ctx context.Context, slug, reason string) (bool, error) {
	return b.pauseSchedule(ctx, slug, true, func(h client.ScheduleHandle) error {
		return h.Update(ctx, client.ScheduleUpdateOptions{
			DoUpdate: func(in client.ScheduleUpdateInput) (*client.ScheduleUpdate, error) {
				updated := in.Description.Schedule
				updated.State.Paused, updated.State.Note = true, reason
				return &client.ScheduleUpdate{Schedule: &updated}, nil
			},
		})
	})
}

// ResumeSchedule resumes the schedule of a flow.
func (b backend) ResumeSchedule(ctx context.Context, slug string) (bool, error) {
	return b.pauseSchedule(ctx, slug, false, func(h client.ScheduleHandle) error {
		return h.Unpause(ctx, client.ScheduleUnpauseOptions{})
	})
}

// pauseSchedule calls change unless the schedule is as it should be.
func (b backend) pauseSchedule(ctx context.Context, slug string, paused bool, change func(client.ScheduleHandle) error) (bool, error) {
	h := b.client.ScheduleClient().GetHandle(ctx, scheduleID(slug))
	d, err := h.Describe(ctx)
	if err == nil && d.Schedule.State.Paused == paused {
		return false, nil
	}
	if err == nil {
		err = change(h)
	}
	if isNotFound(err) {
		err = runtime.ErrNoSchedule
	}
	if err != nil {
		return false, fmt.Errorf("flowc: the schedule of flow %s: %w", slug, err)
	}
	return true, nil
}

// NextTicks returns the next ticks of a schedule.
func (b backend) NextTicks(_ context.Context, expression string, n int) ([]time.Time, error) {
	at, ticks := time.Now(), []time.Time{}
	for range n {
		next, err := nextTick(expression, at)
		if err != nil {
			return nil, fmt.Errorf("flowc: %w: %q: %w", runtime.ErrInvalidOption, expression, err)
		}
		if next.IsZero() {
			break
		}
		ticks, at = append(ticks, next), next
	}
	return ticks, nil
}

func (backend) ListGates(context.Context, ops.GateFilter) ([]ops.Gate, error) {
	return refuse[[]ops.Gate]("ListGates")
}

func (backend) SetGate(context.Context, string, ops.GateLimits) error {
	_, err := refuse[struct{}]("SetGate")
	return err
}

func (backend) HoldGate(context.Context, string, *string, time.Duration) error {
	_, err := refuse[struct{}]("HoldGate")
	return err
}
