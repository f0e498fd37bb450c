package worker

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"time"

	"github.com/flowc-dev/flowc/runtime/worker/internal/backend"
)

// A State is the state of a worker.
type State string

// The states of a worker.
const (
	// StateIdle is a worker that has not been run.
	StateIdle State = "idle"
	// StateStarting is one that connects, or waits for the database to do so.
	StateStarting State = "starting"
	// StateWorking is one that claims tasks.
	StateWorking State = "working"
	// StateStopping is one that drains: it claims no more tasks and finishes those in
	// flight.
	StateStopping State = "stopping"
	// StateStopped is one whose Run has returned.
	StateStopped State = "stopped"
)

// Health is a snapshot of a worker's state.
type Health struct {
	State State `json:"state"`
	// WorkerID is the id of the worker's row in the database, empty before the
	// first run.
	WorkerID string `json:"worker_id,omitempty"`
	// StartedAt is when Run was called.
	StartedAt time.Time `json:"started_at,omitzero"`
	// Connected reports whether the last call to the database was answered.
	Connected bool `json:"connected"`
	// LastHeartbeat is when the database last confirmed that the worker is alive,
	// by the clock of this machine.
	LastHeartbeat time.Time `json:"last_heartbeat,omitzero"`
	// InFlight is how many tasks are in flight: running, or waiting to be reported.
	InFlight int `json:"in_flight"`
	// Concurrency is how many handlers may run at once.
	Concurrency int `json:"concurrency"`
	// StuckHandlers counts handlers that are still running after their context ended.
	// When they are more than Concurrency, the worker has no free slots until one returns.
	StuckHandlers int `json:"stuck_handlers"`
	// Lag is how long the tasks of the last claim had been claimable, at most. It
	// is zero when there was nothing to claim.
	Lag time.Duration `json:"-"`
}

// Ready returns nil if the worker can run tasks now, and otherwise why not: it has
// not started yet, is stopping, or cannot reach the database. That may be temporary.
func (h Health) Ready() error {
	switch {
	case h.State != StateWorking:
		return fmt.Errorf("flowc: worker: state is %s", h.State)
	case !h.Connected || time.Since(h.LastHeartbeat) > backend.DeadAfter:
		return errors.New("flowc: worker: database unreachable")
	}
	return h.Live()
}

// Live returns nil unless the process should be restarted: Run has returned, or more
// handlers than Concurrency ignore their ended contexts. An unreachable database is
// no reason, since a new process would wait for it just the same.
func (h Health) Live() error {
	switch {
	case h.State == StateStopped:
		return errors.New("flowc: worker: stopped")
	case h.StuckHandlers > h.Concurrency:
		return fmt.Errorf("flowc: worker: no free slots, %d handlers ignore their ended contexts", h.StuckHandlers)
	}
	return nil
}

// healthHandler serves what health returns as JSON.
func healthHandler(health func() Health) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		h := health()
		err := h.Ready()
		if path.Base(r.URL.Path) == "live" {
			err = h.Live()
		}
		answer := struct {
			Health
			Lag     float64 `json:"lag_seconds"`
			Problem string  `json:"problem,omitempty"`
		}{Health: h, Lag: h.Lag.Seconds()}
		rw.Header().Set("Content-Type", "application/json")
		rw.Header().Set("Cache-Control", "no-store")
		if err != nil {
			answer.Problem = err.Error()
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(rw).Encode(answer) // the client may have gone
	})
}
