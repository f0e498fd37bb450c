package dashboard

import (
	"net/http"

	"github.com/flowc-dev/flowc/runtime"
)

// workersPage is the list of workers.
type workersPage struct {
	Workers []runtime.WorkerInfo
	Totals  totals
}

func (h *Handler) listWorkers(w http.ResponseWriter, r *http.Request) error {
	workers, err := h.workers(r.Context())
	if err != nil {
		return err
	}
	flows, err := h.flows(r.Context(), ranges[0].Span)
	if err != nil {
		return err
	}
	f := h.frame(r, "workers", "Workers", workersPage{Workers: workers, Totals: total(flows)})
	f.Refresh = true
	return h.render(w, http.StatusOK, "workers", f)
}
