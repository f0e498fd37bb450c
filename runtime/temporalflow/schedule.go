package temporalflow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/robfig/cron/v3"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/flowc-dev/flowc/runtime/internal/runid"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A schedule of Temporal's starts a small workflow, since it appends a time to the ids of
// what it starts: the workflow starts the run. While one waits for a worker, one more tick
// is kept and the others are dropped; each of the two starts the run of the last tick that
// is due by then, so that all ticks without a worker become one run.

func scheduleID(slug string) string { return "flowc.cron/" + slug }

// tick is the input of the workflow that a schedule starts.
type tick struct {
	Flow string `json:"flow"`
	Cron string `json:"cron"`
}

// checkCron returns what is wrong with a schedule besides its form.
func checkCron(flow spec.Flow) error {
	if flow.Cron == "" {
		return nil
	}
	_, err := nextTick(flow.Cron, time.Now())
	fault := ""
	if err != nil {
		fault = fmt.Sprintf("its cron %q is not valid: %v", flow.Cron, err)
	}
	for _, s := range flow.Steps {
		if s.Type == spec.TypeMap && len(s.Deps) == 0 {
			fault = fmt.Sprintf("its cron %q starts it with {}, and step %s is a map over the input, which has to be a list", flow.Cron, s.Slug)
		}
	}
	if fault == "" {
		return nil
	}
	return &spec.InvalidFlowError{Flow: flow.Slug, Faults: []spec.Fault{{Problem: fault}}}
}

// schedule has the clock start runs of a flow, or not any more.
func (b backend) schedule(ctx context.Context, flow spec.Flow) error {
	if flow.Cron == "" {
		return b.unschedule(ctx, flow.Slug)
	}
	s := client.ScheduleSpec{CronExpressions: []string{flow.Cron}}
	action := &client.ScheduleWorkflowAction{
		ID: "flowc.tick/" + flow.Slug, Workflow: tickWorkflow, TaskQueue: flow.Slug, Args: []any{tick{flow.Slug, flow.Cron}},
		Priority: priorityOf(flow.Priority), // which the run inherits
	}
	_, err := b.client.ScheduleClient().Create(ctx, client.ScheduleOptions{
		ID: scheduleID(flow.Slug), Spec: s, Action: action, Overlap: enums.SCHEDULE_OVERLAP_POLICY_BUFFER_ONE,
	})
	if errors.Is(err, temporal.ErrScheduleAlreadyRunning) {
		err = b.client.ScheduleClient().GetHandle(ctx, scheduleID(flow.Slug)).Update(ctx, client.ScheduleUpdateOptions{
			DoUpdate: func(in client.ScheduleUpdateInput) (*client.ScheduleUpdate, error) {
				updated := in.Description.Schedule
				updated.Spec, updated.Action = &s, action
				return &client.ScheduleUpdate{Schedule: &updated}, nil
			},
		})
	} else if err == nil {
		err = b.pauseOlder(ctx, flow.Slug)
	}
	if invalid := new(serviceerror.InvalidArgument); errors.As(err, &invalid) {
		return &spec.InvalidFlowError{Flow: flow.Slug, Faults: []spec.Fault{{Problem: fmt.Sprintf("its cron %q is not valid: %s", flow.Cron, invalid.Message)}}}
	}
	if err != nil {
		return fmt.Errorf("flowc: setting the schedule of flow %s: %w", flow.Slug, err)
	}
	return nil
}

// unschedule removes the schedule of a flow, if it has one.
func (b backend) unschedule(ctx context.Context, slug string) error {
	err := b.client.ScheduleClient().GetHandle(ctx, scheduleID(slug)).Delete(ctx)
	if err != nil && !isNotFound(err) {
		return fmt.Errorf("flowc: removing the schedule of flow %s: %w", slug, err)
	}
	return nil
}

// pauseOlder pauses the schedules of earlier versions of a flow, which would run beside
// that of this one.
func (b backend) pauseOlder(ctx context.Context, slug string) error {
	base, version := spec.VersionOf(slug)
	for v := version - 1; v > 0; v-- {
		older := base
		if v > 1 {
			older = fmt.Sprintf("%s_v%d", base, v)
		}
		err := b.client.ScheduleClient().GetHandle(ctx, scheduleID(older)).Pause(ctx, client.SchedulePauseOptions{Note: slug + " took over"})
		if err != nil && !isNotFound(err) {
			return err
		}
	}
	return nil
}

// RunSchedule starts a run with the time of the call as its tick.
func (b backend) RunSchedule(ctx context.Context, slug, id string) (ok bool, _ error) {
	f, err := b.stored(ctx, slug)
	if err != nil || f == nil || f.def.Cron == "" {
		return false, err
	}
	_, err = b.start(ctx, slug, id, f.def.Priority, begin{Input: []byte("{}"), Tick: time.Now().UTC().Truncate(time.Microsecond)})
	return err == nil, err
}

var tickTime = temporal.NewSearchAttributeKeyTime("TemporalScheduledStartTime")

// runTick is the workflow that starts the run of a tick.
func runTick(ctx workflow.Context, t tick) (string, error) {
	due, ok := workflow.GetTypedSearchAttributes(ctx).GetTime(tickTime)
	if !ok {
		due = workflow.Now(ctx)
	}
	var at time.Time
	err := workflow.SideEffect(ctx, func(workflow.Context) any { return lastTick(t.Cron, due, workflow.Now(ctx)) }).Get(&at)
	if err != nil {
		return "", err
	}
	id := tickRunID(t.Flow, at).String()
	run := workflow.ExecuteChildWorkflow(workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID: id, WorkflowIDReusePolicy: enums.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		ParentClosePolicy: enums.PARENT_CLOSE_POLICY_ABANDON, Memo: map[string]any{runMemo: true},
	}), t.Flow, begin{Input: []byte("{}"), Tick: at})
	err = run.GetChildWorkflowExecution().Get(ctx, nil)
	if temporal.IsWorkflowExecutionAlreadyStartedError(err) {
		return id, nil
	}
	return id, err
}

// lastTick returns the last tick of a schedule between one that is due and now.
func lastTick(expression string, due, now time.Time) time.Time {
	for due = due.UTC(); ; {
		next, err := nextTick(expression, due) // the server takes more forms than we do
		if err != nil || next.IsZero() || next.After(now) {
			return due
		}
		due = next
	}
}

// nextTick returns the first tick of a schedule after a time; the zero time if there is
// none. Those of "@every" are counted from the beginning of 1970, as the server does it.
func nextTick(expression string, after time.Time) (time.Time, error) {
	schedule, err := cron.ParseStandard(expression)
	if err != nil {
		return time.Time{}, err
	}
	if every, ok := schedule.(cron.ConstantDelaySchedule); ok {
		return time.Unix(0, after.UnixNano()/int64(every.Delay)*int64(every.Delay)).Add(every.Delay).UTC(), nil
	}
	return schedule.Next(after.UTC()).UTC(), nil
}

// tickRunID returns the id of the run of a tick, so that no tick is run twice.
func tickRunID(slug string, at time.Time) uuid.UUID {
	return runid.Derive("/tick/" + slug + "/" + at.UTC().Format(time.RFC3339))
}
