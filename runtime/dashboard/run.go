package dashboard

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

const (
	// inlineBytes is how much of the table a payload may take to be on a page.
	inlineBytes = 16 << 10
	// tasksShown is how many tasks of a step are on the page of the run.
	tasksShown = 20
	// attemptsCounted is up to how many tasks of a step the progress of a run counts
	// attempts.
	attemptsCounted = 100
	// stepsShown is how many steps are on the page of the run in full. The others have
	// pages of their own.
	stepsShown = 200
)

// A runPage shows one run.
type runPage struct {
	*runtime.RunInfo
	Ended        time.Time
	Graph        *drawing
	Timeline     *timeline
	Steps        []stepView
	Input        value
	Result       *value           // what the flow returned, if its definition declares a result
	Output       *value           // what its last steps returned
	Reasons      []runtime.Reason // what it waits for
	Waits        []waitView       // steps that wait for an answer
	ReplacedBy   string           // a newer version of its flow
	Shard        string           // empty if there is one database
	Attempts     int              // 0 if there are too many to be counted
	Newer, Older string
	CanCancel    bool
	CanRetry     bool
	Priorities   []runtime.Priority // that it may be given
	CanRepeat    bool               // whether steps can run again
	Events       string             // where changes are streamed from, empty if there will be none
	Delayed      int                // delayed tasks
}

// A stepView is a step of a run.
type stepView struct {
	runtime.StepState
	Options stepOptions
	Look    stepLook
	Took    string
	Inputs  []value
	Output  *value
	Tasks   []taskView
	Total   int // tasks, shown or not
	Done    int
	Failed  int       // attempts that failed, of the tasks shown
	Next    time.Time // when the first of its delayed tasks is due; zero if there is none
	Brief   bool      // whether only its name and its state are on the page
}

// Hidden returns how many tasks are not shown.
func (s stepView) Hidden() int { return s.Total - len(s.Tasks) }

// A taskView is a task of a step.
type taskView struct {
	ops.TaskInfo
	Took   string
	Result *value
	Next   time.Time // when it is due, if it waits
}

func (h *Handler) showRun(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), queryTime)
	defer cancel()
	id, now := r.PathValue("id"), time.Now()
	run, def, err := h.readRun(ctx, id)
	if err != nil {
		return err
	}
	tasks, err := ops.ListTasks(ctx, h.db, id, ops.TaskFilter{PerStep: tasksShown, OutputBytes: inlineBytes})
	if err != nil {
		return err
	}
	h.redactTasks(run.Flow, tasks)
	payloads, err := ops.ListPayloads(ctx, h.db, id, inlineBytes)
	if err != nil {
		return err
	}
	newer, older, err := ops.AdjacentRuns(ctx, h.db, id)
	if err = h.tolerate(r.Context(), err); err != nil {
		return err
	}
	graph, err := runGraph(def, run)
	if err != nil {
		return err
	}
	values := h.values(run, payloads)
	run.Error, run.CancelReason = values.errorText(run.Error), shorten(run.CancelReason, mostText)
	page := runPage{
		RunInfo: run, Ended: runEnd(run), Graph: graph, Timeline: newTimeline(run, tasks, now), Input: values.input(),
		Result: values.result(), Output: values.output(def.Result != nil), Newer: newer, Older: older,
		CanCancel: !run.Status.Ended(), CanRetry: run.Status == runtime.RunFailed || run.Status == runtime.RunCancelled,
		CanRepeat: run.Status.Ended(),
	}
	if run.Status != runtime.RunCompleted {
		page.Priorities = []runtime.Priority{runtime.High, runtime.Normal, runtime.Low}
	}
	if !run.Status.Ended() {
		page.Events = h.config.Prefix + "/runs/" + url.PathEscape(id) + "/events"
	}
	if page.Reasons, err = runtime.ExplainRun(ctx, h.db, id); err != nil {
		return err
	}
	h.redactReasons(page.Reasons)
	if slices.ContainsFunc(run.States, waits) && !run.Status.Ended() {
		if page.Waits, err = h.waits(ctx, runtime.WaitingFilter{RunID: id, Limit: waitsPerPage}); err != nil {
			return err
		}
		for i := range page.Waits {
			page.Waits[i].Open = true
		}
	}
	if page.Shard, err = ops.ShardOf(ctx, h.db, id); err != nil {
		return err
	}
	flows, err := h.flows(ctx, ranges[0].Span)
	if err != nil {
		return err
	}
	for _, f := range flows {
		if f.Slug == run.Flow {
			page.ReplacedBy = f.ReplacedBy
		}
	}
	counted := true
	for _, state := range run.States {
		step := h.stepView(run, def, state, tasks, values, now)
		step.Brief = len(page.Steps) >= stepsShown
		page.Steps = append(page.Steps, step)
		page.Attempts += state.Attempts
		counted = counted && step.Total <= attemptsCounted
		if !step.Next.IsZero() {
			page.Delayed++
		}
	}
	if !counted {
		page.Attempts = 0
	}
	f := h.frame(r, "runs", run.Flow+" "+shortID(run.ID), page)
	f.Refresh = !run.Status.Ended()
	return h.render(w, http.StatusOK, "run", f)
}

// readRun reads the state of a run and the definition of its flow.
func (h *Handler) readRun(ctx context.Context, id string) (*runtime.RunInfo, spec.Flow, error) {
	run, err := runtime.GetRun(ctx, h.db, id, runtime.WithStates(), runtime.WithoutPayloads())
	if err != nil {
		return nil, spec.Flow{}, err
	}
	h.redactRun(run)
	def, err := ops.GetDefinition(ctx, h.db, run.Flow)
	return run, def, err
}

// waits reports whether a step waits for an answer.
func waits(s runtime.StepState) bool {
	return s.Type == spec.TypeWait && s.Status == runtime.StepStarted
}

func (h *Handler) stepView(run *runtime.RunInfo, def spec.Flow, state runtime.StepState, tasks []ops.TaskInfo, values *values, now time.Time) stepView {
	v := stepView{StepState: state, Look: lookOf(run, state), Total: number(state.InitialTasks)}
	v.Done = v.Total - number(state.RemainingTasks)
	v.Error = values.errorText(state.Error)
	v.SkipReason = shorten(state.SkipReason, mostText)
	for _, o := range effective(def) {
		if o.Slug == state.Step {
			v.Options = o
		}
	}
	v.Output = values.step(state.Step)
	v.Inputs = values.inputs(v.Options)
	for _, task := range tasks {
		if task.Step == state.Step && state.Type != spec.TypeWait { // its task is not a worker's
			t := h.taskView(run, task, v.Options, values, now)
			v.Failed += len(task.FailedAttempts)
			if !t.Next.IsZero() && (v.Next.IsZero() || t.Next.Before(v.Next)) {
				v.Next = t.Next
			}
			v.Tasks = append(v.Tasks, t)
		}
	}
	switch {
	case !state.CompletedAt.IsZero():
		v.Took = took(since(state.StartedAt, state.CompletedAt))
	case !state.FailedAt.IsZero() && !state.StartedAt.IsZero():
		v.Took = took(since(state.StartedAt, state.FailedAt))
	}
	return v
}

func (h *Handler) taskView(run *runtime.RunInfo, task ops.TaskInfo, step stepOptions, values *values, now time.Time) taskView {
	t := taskView{TaskInfo: task}
	for i, try := range task.FailedAttempts {
		t.FailedAttempts[i].Error = values.errorText(try.Error)
	}
	if begin, end := worked(task, now, run); !begin.IsZero() {
		t.Took = took(since(begin, end))
	}
	if task.Status == ops.TaskQueued && task.VisibleAt.After(now) && !run.Status.Ended() {
		t.Next = task.VisibleAt
	}
	if step.Map && task.OutputBytes > 0 {
		result := values.made("Output of task "+strconv.Itoa(task.Index), step.Slug, task.Output, task.OutputBytes, url.Values{
			"of": {string(ops.PayloadTaskOutput)}, "step": {step.Slug}, "index": {strconv.Itoa(task.Index)},
		})
		t.Result = &result
	}
	return t
}
