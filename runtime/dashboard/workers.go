package dashboard

import (
	"context"
	"net/http"

	"github.com/flowc-dev/flowc/runtime"
)

// mostInHand is how many tasks in hand are read for the page of workers.
const mostInHand = 500

// workersPage is the list of workers.
type workersPage struct {
	Workers []workerView
	Hidden  int
}

// workerView is a worker with what it does.
type workerView struct {
	runtime.WorkerInfo
	Tasks []runtime.TaskInHand
}

// flowsNamed is how many flows of a worker are named.
const flowsNamed = 50

// Named returns the first of the flows that the worker serves.
func (w workerView) Named() []string { return w.Flows[:min(len(w.Flows), flowsNamed)] }

// Hidden returns how many of its tasks are not shown.
func (w workerView) Hidden() int { return max(w.InHand-len(w.Tasks), 0) }

func (h *Handler) listWorkers(w http.ResponseWriter, r *http.Request) error {
	workers, err := h.workers(r.Context())
	if err != nil {
		return err
	}
	tasks, err := cached(r.Context(), &h.cache, "tasks in flight", func(ctx context.Context) ([]runtime.TaskInHand, error) {
		return runtime.ListTasksInHand(ctx, h.db, mostInHand)
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
