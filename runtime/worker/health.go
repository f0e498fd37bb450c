package worker

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"sync/atomic"
	"time"
)

// A State is the state of a worker.
type State string

// The states of a worker.
const (
	// Idle is a worker that has not been run.
	Idle State = "idle"
	// Starting is one that connects, or waits for the database to do so.
	Starting State = "starting"
	// Working is one that claims tasks.
	Working State = "working"
	// Stopping is one that drains: it claims no more tasks and finishes what it has.
	Stopping State = "stopping"
	// Stopped is one whose Run has returned.
	Stopped State = "stopped"
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
	// LastHeartbeat is when the database last confirmed that the worker lives,
	// by the clock of this machine.
	LastHeartbeat time.Time `json:"last_heartbeat,omitzero"`
	// InHand is how many tasks are in flight: running, or waiting to be reported.
	InHand int `json:"in_hand"`
	// Concurrency is how many handlers may run at once.
	Concurrency int `json:"concurrency"`
	// Astray counts handlers that are still running after their context ended. When
	// they are more than Concurrency, the worker has no free slots until one returns.
	Astray int `json:"astray"`
	// Lag is how long the tasks of the last claim had been claimable, at most. It
	// is zero when there was nothing to claim.
	Lag time.Duration `json:"-"`
}

// silentAfter is after what time without a heartbeat a worker is not ready.
const silentAfter = deadAfter

// Ready returns nil if the worker can run tasks now, and otherwise why not: it has
// not started yet, is stopping, or cannot reach the database. That may be temporary.
func (h Health) Ready() error {
	switch {
	case h.State != Working:
		return fmt.Errorf("flowc: worker: state is %s", h.State)
	case !h.Connected || time.Since(h.LastHeartbeat) > silentAfter:
		return errors.New("flowc: worker: database unreachable")
	}
	return h.Live()
}

// Live returns nil unless the process should be restarted: Run has returned, or more
// handlers than Concurrency ignore their ended contexts. An unreachable database is
// no reason, since a new process would wait for it just the same.
func (h Health) Live() error {
	switch {
	case h.State == Stopped:
		return errors.New("flowc: worker: stopped")
	case h.Astray > h.Concurrency:
		return fmt.Errorf("flowc: worker: no free slots, %d handlers ignore their ended contexts", h.Astray)
	}
	return nil
}

// health is what a worker keeps for [Worker.Health].
type health struct {
	state     atomic.Pointer[State]
	started   atomic.Pointer[time.Time]
	beat      atomic.Pointer[time.Time]
	connected atomic.Bool
	lag       atomic.Int64
}

func (h *health) become(s State) { h.state.Store(&s) }

// Health returns a snapshot of the worker's state. It does not query the database, and
// may be called at any time.
func (w *Worker) Health() Health {
	h := Health{
		State: Idle, Concurrency: w.config.Concurrency,
		Connected: w.health.connected.Load(), Lag: time.Duration(w.health.lag.Load()),
	}
	if s := w.health.state.Load(); s != nil {
		h.State = *s
	}
	if at := w.health.started.Load(); at != nil {
		h.StartedAt = *at
	}
	if at := w.health.beat.Load(); at != nil {
		h.LastHeartbeat = *at
	}
	if s := w.session.Load(); s != nil {
		h.WorkerID = s.id.String()
		h.InHand = s.hand.size()
		h.Astray = int(s.strays.Load())
	}
	return h
}

// HealthHandler serves [Health] as JSON, for an orchestrator's probes. A path that
// ends in "live" is answered with 503 if the process should be restarted, see
// [Health.Live]; any other path if the worker cannot run tasks now, see
// [Health.Ready].
//
//	mux.Handle("/health/", w.HealthHandler()) // /health/live and /health/ready
func (w *Worker) HealthHandler() http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		h := w.Health()
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
