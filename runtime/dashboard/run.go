package dashboard

import (
	"bytes"
	"context"
	"encoding/json"
	"html/template"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/flowc-dev/flowc/runtime"
)

const (
	// inlineBytes is how much of the table a payload may take to be on a page.
	inlineBytes = 16 << 10
	// tasksShown is how many tasks of a step are on the page of the run.
	tasksShown = 20
	// triesCounted is up to how many tasks of a step runtime.GetRunProgress counts
	// their tries.
	triesCounted = 100
	// tasksPerPage is how many are on the page of the step.
	tasksPerPage = 100
)

// value is a payload on a page.
type value struct {
	Label string
	View  template.HTML // empty if it is too long, or not there
	Bytes int           // what it takes in the table; 0 if that is not known
	Raw   string        // where it is on its own, empty if it is nowhere
}

// runPage is one run.
type runPage struct {
	*runtime.RunInfo
	Ended        time.Time
	Graph        *drawing
	Timeline     *timeline
	Steps        []stepView
	Input        value
	Output       *value
	Tries        int // 0 if there are too many to be counted
	Done         int
	Newer, Older string
	CanCancel    bool
	CanRetry     bool
	CanRepeat    bool   // whether steps can be done again
	Events       string // where changes are streamed from, empty if there will be none
	Delayed      int    // tasks that wait for their time
}

// Progress is how many of the steps are over.
func (p runPage) Progress() string {
	return strconv.Itoa(p.Done) + " of " + strconv.Itoa(len(p.States))
}

// stepView is a step of a run.
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
	Failed  int       // tries that failed, of the tasks shown
	Next    time.Time // when the first of its delayed tasks is due; zero if there is none
}

// Hidden is how many tasks are not shown.
func (s stepView) Hidden() int { return s.Total - len(s.Tasks) }

// taskView is a task of a step.
type taskView struct {
	runtime.FoundTask
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
	tasks, err := runtime.FindTasks(ctx, h.db, id, runtime.TaskFilter{PerStep: tasksShown, OutputBytes: inlineBytes})
	if err != nil {
		return err
	}
	payloads, err := runtime.ListPayloads(ctx, h.db, id, inlineBytes)
	if err != nil {
		return err
	}
	newer, older, err := runtime.Neighbours(ctx, h.db, id)
	if err != nil {
		return err
	}
	graph, err := runGraph(def, run)
	if err != nil {
		return err
	}
	values := h.values(run, payloads)
	page := runPage{
		RunInfo: run, Ended: runEnd(run), Graph: graph, Timeline: newTimeline(run, tasks, now), Input: values.input(), Output: values.output(),
		Newer: newer, Older: older, Done: len(run.States) - run.RemainingSteps,
		CanCancel: !run.Status.Ended(), CanRetry: run.Status == runtime.RunFailed || run.Status == runtime.RunCancelled,
		CanRepeat: run.Status.Ended(),
	}
	if !run.Status.Ended() {
		page.Events = h.config.Prefix + "/runs/" + url.PathEscape(id) + "/events"
	}
	counted := true
	for _, state := range run.States {
		step := h.stepView(run, def, state, tasks, values, now)
		page.Steps = append(page.Steps, step)
		page.Tries += state.Attempts
		counted = counted && step.Total <= triesCounted
		if !step.Next.IsZero() {
			page.Delayed++
		}
	}
	if !counted {
		page.Tries = 0
	}
	f := h.frame(r, "runs", run.Flow+" "+shortID(run.ID), page)
	f.Refresh = !run.Status.Ended()
	return h.render(w, http.StatusOK, "run", f)
}

// readRun reads a run as it stands and the definition of its flow.
func (h *Handler) readRun(ctx context.Context, id string) (*runtime.RunInfo, runtime.Definition, error) {
	run, err := runtime.GetRunProgress(ctx, h.db, id)
	if err != nil {
		return nil, runtime.Definition{}, err
	}
	def, err := runtime.GetDefinition(ctx, h.db, run.Flow)
	return run, def, err
}

func (h *Handler) stepView(run *runtime.RunInfo, def runtime.Definition, state runtime.StepState, tasks []runtime.FoundTask, values values, now time.Time) stepView {
	v := stepView{StepState: state, Look: lookOf(run, state), Total: number(state.InitialTasks)}
	v.Done = v.Total - number(state.RemainingTasks)
	for _, o := range effective(def) {
		if o.Slug == state.Step {
			v.Options = o
		}
	}
	v.Output = values.step(state.Step)
	v.Inputs = values.inputs(v.Options)
	for _, task := range tasks {
		if task.Step == state.Step {
			t := h.taskView(run, task, v.Options, values, now)
			v.Failed += len(task.FailedTries)
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

func (h *Handler) taskView(run *runtime.RunInfo, task runtime.FoundTask, step stepOptions, values values, now time.Time) taskView {
	t := taskView{FoundTask: task}
	if begin, end := worked(task, now, run); !begin.IsZero() {
		t.Took = took(since(begin, end))
	}
	if task.Status == runtime.TaskQueued && task.VisibleAt.After(now) && !run.Status.Ended() {
		t.Next = task.VisibleAt
	}
	if step.Map && task.OutputBytes > 0 {
		result := values.made("Output of task "+strconv.Itoa(task.Index), step.Slug, task.Output, task.OutputBytes, url.Values{
			"of": {string(runtime.TaskOutputPayload)}, "step": {step.Slug}, "index": {strconv.Itoa(task.Index)},
		})
		t.Result = &result
	}
	return t
}

// values shows the payloads of a run.
type values struct {
	h    *Handler
	run  *runtime.RunInfo
	all  []runtime.Payload
	path string
}

func (h *Handler) values(run *runtime.RunInfo, payloads []runtime.Payload) values {
	return values{h, run, payloads, h.config.Prefix + "/runs/" + url.PathEscape(run.ID) + "/payload"}
}

// find shows a payload; nil if it is not there.
func (v values) find(label string, kind runtime.PayloadKind, step string) *value {
	for _, p := range v.all {
		if p.Kind == kind && p.Step == step {
			where := url.Values{"of": {string(kind)}}
			if step != "" {
				where.Set("step", step)
			}
			made := v.made(label, step, p.JSON, p.Bytes, where)
			return &made
		}
	}
	return nil
}

func (v values) made(label, step string, raw json.RawMessage, size int, where url.Values) value {
	shown := value{Label: label, Bytes: size, Raw: address(v.path, where)}
	if raw != nil {
		shown.View = jsonView(v.h.redacted(v.run.Flow, step, raw))
	}
	return shown
}

func (v values) input() value {
	if in := v.find("Input", runtime.RunInputPayload, ""); in != nil {
		return *in
	}
	return value{Label: "Input"} // the run was deleted meanwhile
}

func (v values) output() *value          { return v.find("Output", runtime.RunOutputPayload, "") }
func (v values) step(slug string) *value { return v.find("Output", runtime.StepOutputPayload, slug) }
func (v values) from(slug string) *value {
	return v.find("Input from "+slug, runtime.StepOutputPayload, slug)
}
func (v values) inputs(o stepOptions) (all []value) {
	if len(o.Deps) == 0 {
		in := v.input()
		in.Label = "Input of the run"
		return []value{in}
	}
	for _, dep := range o.Deps {
		if given := v.from(dep); given != nil {
			all = append(all, *given)
		}
	}
	return all
}

// redacted is what may be shown of a payload.
func (h *Handler) redacted(flow, step string, raw json.RawMessage) json.RawMessage {
	if h.config.Redact == nil {
		return raw
	}
	return h.config.Redact(flow, step, raw)
}

// payload answers with one payload as it is.
func (h *Handler) payload(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), queryTime)
	defer cancel()
	id, query := r.PathValue("id"), r.URL.Query()
	kind, step := runtime.PayloadKind(query.Get("of")), query.Get("step")
	index, err := strconv.Atoi(query.Get("index"))
	if err != nil && query.Has("index") {
		return badRequest("The index of a task is a number.")
	}
	run, err := runtime.GetRunProgress(ctx, h.db, id)
	if err != nil {
		return err
	}
	raw, err := runtime.GetPayload(ctx, h.db, id, kind, step, index)
	if err != nil {
		return err
	}
	if raw == nil {
		return &statusError{http.StatusNotFound, "Nothing here", "The run has no such payload."}
	}
	if kind == runtime.RunInputPayload || kind == runtime.RunOutputPayload {
		step = ""
	}
	raw = h.redacted(run.Flow, step, raw)
	name := run.Flow + "-" + shortID(run.ID) + "-" + string(kind)
	if step != "" {
		name += "-" + step
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Disposition", mime.FormatMediaType("inline", map[string]string{"filename": name + ".json"}))
	_, _ = io.WriteString(w, indented(raw)) // the browser is gone
	return nil
}

// indented is JSON as people read it; what is none is left alone.
func indented(raw json.RawMessage) string {
	var pretty bytes.Buffer
	if json.Indent(&pretty, raw, "", "  ") != nil {
		return string(raw)
	}
	return pretty.String()
}

// stepPage is the tasks of one step of a run.
type stepPage struct {
	Run    *runtime.RunInfo
	Step   stepView
	Status runtime.TaskStatus
	All    []runtime.TaskStatus
	Next   string // address of the next page
	First  bool
}

var taskStatuses = []runtime.TaskStatus{runtime.TaskQueued, runtime.TaskStarted, runtime.TaskCompleted, runtime.TaskFailed}

func (h *Handler) showStep(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), queryTime)
	defer cancel()
	id, slug, query := r.PathValue("id"), r.PathValue("step"), r.URL.Query()
	run, def, err := h.readRun(ctx, id)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(run.States, func(s runtime.StepState) bool { return s.Step == slug })
	if i < 0 {
		return errNoStep
	}
	filter := runtime.TaskFilter{Step: slug, PerStep: tasksPerPage + 1, OutputBytes: inlineBytes}
	page := stepPage{Run: run, All: taskStatuses, First: !query.Has("after")}
	if s := runtime.TaskStatus(query.Get("status")); s != "" {
		if !slices.Contains(taskStatuses, s) {
			return badRequest("There is no status " + strconv.Quote(string(s)) + ".")
		}
		page.Status, filter.Statuses = s, []runtime.TaskStatus{s}
	}
	if after := query.Get("after"); after != "" {
		n, err := strconv.Atoi(after)
		if err != nil {
			return badRequest("The index of a task is a number.")
		}
		filter.After = &n
	}
	tasks, err := runtime.FindTasks(ctx, h.db, id, filter)
	if err != nil {
		return err
	}
	payloads, err := runtime.ListPayloads(ctx, h.db, id, inlineBytes)
	if err != nil {
		return err
	}
	if len(tasks) > tasksPerPage {
		tasks = tasks[:tasksPerPage]
		next := url.Values{"after": {strconv.Itoa(tasks[tasksPerPage-1].Index)}}
		if page.Status != "" {
			next.Set("status", string(page.Status))
		}
		page.Next = address(h.config.Prefix+"/runs/"+url.PathEscape(id)+"/steps/"+url.PathEscape(slug), next)
	}
	page.Step = h.stepView(run, def, run.States[i], tasks, h.values(run, payloads), time.Now())
	f := h.frame(r, "runs", run.Flow+" "+slug, page)
	f.Refresh = !run.Status.Ended() && page.First
	return h.render(w, http.StatusOK, "step", f)
}
