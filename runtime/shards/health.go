package shards

import (
	"encoding/json"
	"errors"
	"net/http"
	"path"

	"github.com/flowc-dev/flowc/runtime/worker"
)

// HealthHandler serves the [worker.Health] of each shard's worker as JSON, for an
// orchestrator's probes. A path that ends in "live" is answered with 503 if the process
// should be restarted: [Worker.Run] has returned, or the worker of a shard has no free slots
// since handlers ignore their ended contexts. Any other path is answered with 503 as well if
// tasks of no shard can run now; a shard that is down does not affect the others.
//
//	mux.Handle("/health/", w.HealthHandler()) // /health/live and /health/ready
func (w *Worker) HealthHandler() http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		shards := map[string]worker.Health{}
		for name, one := range w.Workers() {
			shards[name] = one.Health()
		}
		err := w.live(shards)
		if err == nil && path.Base(r.URL.Path) != "live" {
			err = ready(shards)
		}
		answer := struct {
			Shards  map[string]worker.Health `json:"shards"`
			Problem string                   `json:"problem,omitempty"`
		}{Shards: shards}
		rw.Header().Set("Content-Type", "application/json")
		rw.Header().Set("Cache-Control", "no-store")
		if err != nil {
			answer.Problem = err.Error()
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(rw).Encode(answer) // the client may have gone
	})
}

// live returns nil unless the process should be restarted. A shard's worker that has
// stopped is no reason: Run starts it again.
func (w *Worker) live(shards map[string]worker.Health) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.returned {
		return errors.New("flowc: shards: worker: stopped")
	}
	for name, h := range shards {
		if err := h.Live(); err != nil && h.State != worker.StateStopped {
			return &Error{Shard: name, Err: err}
		}
	}
	return nil
}

// ready returns nil if tasks of one shard at least can run now.
func ready(shards map[string]worker.Health) error {
	faults := []error{errors.New("flowc: shards: worker: no shard is ready")}
	for name, h := range shards {
		err := h.Ready()
		if err == nil {
			return nil
		}
		faults = append(faults, &Error{Shard: name, Err: err})
	}
	return errors.Join(faults...)
}
