package dashboard

import (
	"context"
	"net/http"

	"github.com/flowc-dev/flowc/runtime/ops"
)

// mostInFlight is how many tasks in flight are read for the page of workers.
const mostInFlight = 500

// A workersPage lists workers.
type workersPage struct {
	Workers []workerView
	Hidden  int
}

// A workerView is a worker with its tasks.
type workerView struct {
	ops.WorkerInfo
	Tasks []ops.TaskInFlight
}

// flowsNamed is how many flows of a worker are named.
const flowsNamed = 50

// Named returns the first of the flows that the worker serves.
func (w workerView) Named() []string { return w.Flows[:min(len(w.Flows), flowsNamed)] }

// Hidden returns how many of its tasks are not shown.
func (w workerView) Hidden() int { return max(w.InFlight-len(w.Tasks), 0) }

func (h *Handler) listWorkers(w http.ResponseWriter, r *http.Request) error {
	workers, err := h.workers(r.Context())
	if err != nil {
		return err
	}
	tasks, err := cached(r.Context(), h, "tasks in flight", func(ctx context.Context) ([]ops.TaskInFlight, error) {
		return ops.ListTasksInFlight(ctx, h.db, mostInFlight)
	})
	if err != nil {
		return err
	}
	var page workersPage
	workers, page.Hidden = firstRows(workers)
	for _, worker := range workers {
		view := workerView{WorkerInfo: worker}
		for _, task := range tasks {
			if task.Worker == worker.ID && len(view.Tasks) < tasksShown {
				view.Tasks = append(view.Tasks, task)
			}
		}
		page.Workers = append(page.Workers, view)
	}
	f := h.frame(r, "workers", "Workers", page)
	f.Refresh = true
	return h.render(w, http.StatusOK, "workers", f)
}
