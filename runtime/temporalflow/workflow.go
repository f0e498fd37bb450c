package temporalflow

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/machine"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// keepFor is how long a run that has failed waits for the parts of its maps to tell what
// they have completed, which a retry then keeps.
const keepFor = 10 * time.Second

// A driver drives a run in its workflow. All that it does has to follow from the history:
// it reads no clock but the workflow's and ranges over no map.
type driver struct {
	ctx      workflow.Context // does not end when the workflow is cancelled
	slug     string
	in       begin
	plan     plan
	needs    func(step string) bool // whether the handler of a step reads the run's input
	run      *machine.Run
	at       time.Time         // when the run starts, if it has not
	ended    workflow.Channel  // an ending for each unit of work, and one for a cancellation
	cancels  map[string]func() // of the units of work of a step
	children int               // parts of maps that have not ended
	paced    int               // bytes in the commands since the last pause
}

// A unit is work that is handed out as a whole: one task, or a part of a map.
type unit struct {
	tasks []*machine.Task
	step  *machine.Step
	part  bool
}

// An ending is what became of a unit; without one, the workflow was cancelled.
type ending struct {
	unit *unit
	one  done
	many chunked
	err  error
}

// runWorkflow is the workflow of a run. newPlan is that of a run which this worker begins.
func runWorkflow(ctx workflow.Context, in begin, newPlan func() plan, needs func(step string) bool) (*record, error) {
	free, _ := workflow.NewDisconnectedContext(ctx)
	d := &driver{
		ctx: free, slug: workflow.GetInfo(ctx).WorkflowType.Name, in: in, needs: needs,
		ended: workflow.NewBufferedChannel(ctx, 1<<20), cancels: map[string]func(){},
	}
	if in.Plan != nil {
		d.plan = *in.Plan
	} else if err := workflow.SideEffect(ctx, func(workflow.Context) any { return newPlan() }).Get(&d.plan); err != nil {
		return nil, err
	}
	flow, err := flowOf(d.slug, d.plan.Definition)
	if err != nil {
		return nil, err
	}
	d.run = flow.Schedule(workflow.GetInfo(ctx).WorkflowExecution.ID, in.Input, d.now())
	if err := d.answer(); err != nil {
		return nil, err
	}
	cancelled := ctx.Done()
	workflow.Go(free, func(ctx workflow.Context) {
		cancelled.Receive(ctx, nil)
		d.ended.Send(ctx, ending{})
	})
	d.begin(flow)
	for d.dispatch(); !d.run.Status().Ended(); d.dispatch() {
		var e ending
		d.ended.Receive(d.ctx, &e)
		d.settle(e)
		for !d.run.Status().Ended() && d.ended.ReceiveAsync(&e) {
			d.settle(e)
		}
	}
	d.keep(flow)
	return d.end()
}

// begin starts the run when it is due, or resumes the one that a retry follows.
func (d *driver) begin(flow *machine.Flow) {
	if d.in.Resumed == nil {
		if d.sleep() {
			d.run.Start(d.now())
		} else {
			d.run.Cancel(cancelledOutside, d.now())
		}
		return
	}
	d.run = flow.Restore(workflow.GetInfo(d.ctx).WorkflowExecution.ID, d.in.Input, *d.in.Resumed)
	if d.in.RetryStep == "" {
		d.run.Retry(d.now())
	} else {
		d.run.RetryStep(d.in.RetryStep, d.now())
	}
}

const cancelledOutside = "cancelled in Temporal"

// flowOf returns the flow of a definition that a history keeps.
func flowOf(slug string, definition json.RawMessage) (*machine.Flow, error) {
	def, err := spec.Parse(slug, definition)
	if err != nil {
		return nil, err
	}
	return machine.New(def)
}

func (d *driver) now() time.Time { return workflow.Now(d.ctx).UTC() }

// answer answers queries. Outputs that do not fit into one answer are asked for
// one by one, in pieces.
func (d *driver) answer() error {
	return errors.Join(
		workflow.SetQueryHandler(d.ctx, recordQuery, func() (*record, error) { return d.record(), nil }),
		workflow.SetQueryHandler(d.ctx, beginQuery, func() (begin, error) {
			return begin{Input: d.in.Input, Headers: d.in.Headers, Tick: d.in.Tick}, nil
		}),
		workflow.SetQueryHandler(d.ctx, outputQuery, func(step string, from int) (piece, error) {
			for _, s := range d.run.Record().Steps {
				if s.Step == step && from <= len(s.Output) {
					return piece{Bytes: s.Output[from:min(from+pieceBytes, len(s.Output))], Size: len(s.Output)}, nil
				}
			}
			return piece{}, nil
		}))
}

// sleep waits for the start of a delayed run. It returns false if the workflow is cancelled
// before. (A start delay of Temporal's own would not do: while it lasts, no signal is
// heard.)
func (d *driver) sleep() bool {
	moves := workflow.GetSignalChannel(d.ctx, startSignal)
	d.at = d.in.At
	for d.now().Before(d.at) {
		timed, stop := workflow.WithCancel(d.ctx)
		cancelled := false
		workflow.NewSelector(d.ctx).
			AddFuture(workflow.NewTimer(timed, d.at.Sub(d.now())), func(workflow.Future) {}).
			AddReceive(moves, func(c workflow.ReceiveChannel, _ bool) {
				c.Receive(d.ctx, &d.at)
				_ = workflow.UpsertMemo(d.ctx, map[string]any{startMemo: d.at})
			}).
			AddReceive(d.ended, func(c workflow.ReceiveChannel, _ bool) {
				c.Receive(d.ctx, nil)
				cancelled = true
			}).
			Select(d.ctx)
		stop()
		if cancelled {
			return false
		}
	}
	d.at = time.Time{}
	return true
}

// dispatch hands out the tasks that have come up, and those that come up because of one
// that cannot be handed out.
func (d *driver) dispatch() {
	for tasks := d.run.Next(); len(tasks) > 0; tasks = append(tasks, d.run.Next()...) {
		n := 1
		for n < len(tasks) && tasks[n].Step == tasks[0].Step {
			n++
		}
		if tasks[0].Open() {
			d.start(tasks[:n:n])
		}
		tasks = tasks[n:]
	}
}

// start hands out tasks of a step.
func (d *driver) start(tasks []*machine.Task) {
	step := tasks[0].Step
	ctx, cancel := workflow.WithCancel(d.ctx)
	d.cancels[step.Slug] = cancel
	first := d.run.Values(tasks[0])
	base := task{
		RunID: workflow.GetInfo(ctx).WorkflowExecution.ID, Flow: d.slug,
		MaxAttempts: step.MaxAttempts, BaseDelay: *step.BaseDelay, Timeout: step.Timeout, Exhausted: step.WhenExhausted,
		Headers: d.in.Headers, Tick: d.in.Tick, Outputs: first.Outputs,
	}
	if d.needs(step.Slug) {
		base.Input = first.Input
		if len(base.Input) > inlineInput && len(tasks) > 1 {
			base.Input, base.NoInput = nil, true
		}
	}
	if step.Type != spec.TypeMap {
		d.startTask(ctx, tasks[0], base)
		return
	}
	items := make([]json.RawMessage, len(tasks))
	total := 0
	for i, t := range tasks {
		items[i] = d.run.Values(t).Item
		total += len(items[i])
	}
	if len(tasks) <= inlineMap && total <= chunkBytes {
		for i, t := range tasks {
			mine := base
			mine.Index, mine.Item = t.Index, items[i]
			if t.Open() {
				d.startTask(ctx, t, mine)
			}
		}
		return
	}
	for from := 0; from < len(tasks) && tasks[from].Open(); {
		to, size := from, 0
		for to < len(tasks) && to-from < chunkItems && (to == from || size+len(items[to]) <= chunkBytes) {
			size += len(items[to])
			to++
		}
		d.startPart(ctx, tasks[from:to], base, items[from:to])
		from = to
	}
}

// startTask hands out a task.
func (d *driver) startTask(ctx workflow.Context, t *machine.Task, in task) {
	u := &unit{tasks: []*machine.Task{t}, step: t.Step}
	if !d.fits(t, in) {
		return
	}
	d.spawn(ctx, u, func(ctx workflow.Context) (e ending) {
		e.err = attemptActivity(ctx, t.Slug, d.queue(t.Slug), t.Step.Priority, in).Get(ctx, &e.one)
		return e
	})
}

// startPart hands out a part of a map.
func (d *driver) startPart(ctx workflow.Context, tasks []*machine.Task, base task, items []json.RawMessage) {
	u := &unit{tasks: tasks, step: tasks[0].Step, part: true}
	c := chunk{Step: u.step.Slug, Queue: d.queue(u.step.Slug), Priority: u.step.Priority, Task: base, Items: items, Limit: d.plan.Limit}
	for _, t := range tasks {
		c.Indexes = append(c.Indexes, t.Index)
	}
	if !d.fits(tasks[0], c) {
		return
	}
	d.children++
	d.spawn(ctx, u, func(ctx workflow.Context) (e ending) {
		ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
			WorkflowID:          fmt.Sprintf("%s/%s/%d", base.RunID, u.step.Slug, tasks[0].Index),
			WaitForCancellation: true, // it tells what it has completed
		})
		e.err = workflow.ExecuteChildWorkflow(ctx, chunkWorkflow, c).Get(ctx, &e.many)
		return e
	})
}

// spawn does a unit of work when the start delay of its step is over.
func (d *driver) spawn(ctx workflow.Context, u *unit, work func(workflow.Context) ending) {
	workflow.Go(ctx, func(ctx workflow.Context) {
		var e ending
		if delay := u.tasks[0].At.Sub(workflow.Now(ctx)); delay > 0 {
			e.err = workflow.Sleep(ctx, delay)
		}
		if e.err == nil {
			e = work(ctx)
		}
		e.unit = u
		d.ended.Send(ctx, e)
	})
}

// queue returns the task queue of a step.
func (d *driver) queue(step string) string {
	if slices.Contains(d.plan.Separate, step) {
		return separateQueue(d.slug, step)
	}
	return d.slug
}

// fits fails a task whose values are too long to be handed out, and pauses when the
// commands of one workflow task would be too long together.
func (d *driver) fits(t *machine.Task, in any) bool {
	raw, err := json.Marshal(in)
	if err == nil && len(raw) > d.plan.Limit {
		err = tooLong(fmt.Sprintf("the values that step %s is given", t.Slug), len(raw))
	}
	if err != nil {
		d.run.Fail(t, err.Error(), d.now())
		d.cancels[t.Slug]() // the other tasks of a map
		return false
	}
	if d.paced += len(raw); d.paced > pauseBytes {
		_ = workflow.Sleep(d.ctx, time.Millisecond)
		d.paced = len(raw)
	}
	return true
}

// attemptActivity starts the activity of a task. Without a priority it has that of the run.
func attemptActivity(ctx workflow.Context, step, queue string, priority spec.Priority, in task) workflow.Future {
	return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:           queue,
		StartToCloseTimeout: slotWait + in.Timeout + hardLimit,
		HeartbeatTimeout:    heartbeatTimeout,
		Priority:            priorityOf(priority),
		// The activity itself says how long to wait and when to give up; this is for
		// attempts that were lost with their worker.
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: time.Millisecond, BackoffCoefficient: 1},
	}), step, in)
}

// settle takes in what became of a unit of work.
func (d *driver) settle(e ending) {
	if e.unit == nil {
		d.run.Cancel(cancelledOutside, d.now())
		return
	}
	tasks := e.unit.tasks
	fail := func(t *machine.Task, f failure) {
		d.count(t, f.Attempts)
		if t.Open() {
			d.run.Fail(t, f.Err, d.now())
			d.cancels[e.unit.step.Slug]()
		}
	}
	if e.unit.part {
		d.children--
		for _, r := range e.many.Done {
			t := tasks[place(tasks, r.Index)]
			d.count(t, r.Attempts)
			if d.run.Status().Ended() {
				d.run.Keep(t, r.Output)
			} else {
				d.run.Complete(t, r.Output, d.now())
			}
		}
	}
	switch {
	case e.err != nil:
		fail(tasks[0], failureOf(e.err))
	case e.many.Failed != nil:
		fail(tasks[place(tasks, e.many.Index)], *e.many.Failed)
	case !e.unit.part:
		d.count(tasks[0], e.one.Attempts)
		d.run.Complete(tasks[0], e.one.Output, d.now())
		if d.run.Status() == runtime.RunFailed { // the output is no list for a map
			d.cancels[e.unit.step.Slug]()
		}
	}
}

func place(tasks []*machine.Task, index int) int {
	return slices.IndexFunc(tasks, func(t *machine.Task) bool { return t.Index == index })
}

func (d *driver) count(t *machine.Task, attempts int) {
	for range attempts {
		d.run.Begin(t)
	}
}

// keep asks the parts of maps of a run that has failed for what they have completed.
func (d *driver) keep(flow *machine.Flow) {
	if d.run.Status() != runtime.RunFailed || d.children == 0 {
		return
	}
	for _, s := range flow.Steps {
		if cancel := d.cancels[s.Slug]; cancel != nil {
			cancel()
		}
	}
	enough, stop := workflow.WithCancel(d.ctx)
	defer stop()
	timer := workflow.NewTimer(enough, keepFor)
	for d.children > 0 && !timer.IsReady() {
		workflow.NewSelector(d.ctx).
			AddFuture(timer, func(workflow.Future) {}).
			AddReceive(d.ended, func(c workflow.ReceiveChannel, _ bool) {
				var e ending
				if c.Receive(d.ctx, &e); e.unit != nil {
					d.settle(e)
				}
			}).
			Select(d.ctx)
	}
}

// failureOf returns why an activity or a part of a map has failed.
func failureOf(err error) (f failure) {
	var application *temporal.ApplicationError
	if errors.As(err, &application) {
		if application.HasDetails() && application.Details(&f) == nil && f.Err != "" {
			return f
		}
		return failure{Err: application.Message(), Attempts: 1} // of a worker in another language
	}
	var timeout *temporal.TimeoutError
	if errors.As(err, &timeout) {
		return failure{Err: fmt.Sprintf("flowc: Temporal ended the attempt: %v", timeout), Attempts: 1}
	}
	return failure{Err: err.Error(), Attempts: 1}
}

// end ends the workflow of a run that has ended.
func (d *driver) end() (*record, error) {
	r := d.record()
	switch r.Status {
	case runtime.RunCompleted:
		return r, nil
	case runtime.RunCancelled:
		return nil, temporal.NewCanceledError(r)
	}
	step, _, message := d.run.Failure()
	return nil, temporal.NewApplicationErrorWithOptions(fmt.Sprintf("step %s: %s", step, message), runFailed,
		temporal.ApplicationErrorOptions{NonRetryable: true, Details: []any{r}})
}

// record returns how far the run is, as much of it as fits.
func (d *driver) record() *record {
	r := &record{Record: d.run.Record(), Flow: d.slug, Plan: d.plan, Input: d.in.Input, Tick: d.in.Tick, ScheduledAt: d.at}
	r.shorten()
	return r
}
