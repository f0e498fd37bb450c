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
)

// tasksPerPage is how many tasks are on the page of a step.
const tasksPerPage = 100

// A stepPage shows the tasks of one step of a run.
type stepPage struct {
	Run    *runtime.RunInfo
	Step   stepView
	Status ops.TaskStatus
	All    []ops.TaskStatus
	Next   string // address of the next page
	First  bool
}

var taskStatuses = []ops.TaskStatus{ops.TaskQueued, ops.TaskStarted, ops.TaskCompleted, ops.TaskFailed}

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
	filter := ops.TaskFilter{Step: slug, PerStep: tasksPerPage + 1, OutputBytes: inlineBytes}
	page := stepPage{Run: run, All: taskStatuses, First: !query.Has("after")}
	if s := ops.TaskStatus(query.Get("status")); s != "" {
		if !slices.Contains(taskStatuses, s) {
			return badRequest("There is no status " + strconv.Quote(string(s)) + ".")
		}
		page.Status, filter.Statuses = s, []ops.TaskStatus{s}
	}
	if after := query.Get("after"); after != "" {
		n, err := strconv.Atoi(after)
		if err != nil {
			return badRequest("The index of a task is a number.")
		}
		filter.After = &n
	}
	tasks, err := ops.ListTasks(ctx, h.db, id, filter)
	if err != nil {
		return err
	}
	h.redactTasks(run.Flow, tasks)
	payloads, err := ops.ListPayloads(ctx, h.db, id, inlineBytes)
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
