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

// A State says what a worker is doing.
type State string

// The states of a worker.
const (
	// Idle is a worker that has not been run.
	Idle State = "idle"
	// Starting is one that connects, or waits for the database to do so.
	Starting State = "starting"
	// Working is one that takes tasks.
	Working State = "working"
	// Stopping is one that takes no more tasks and finishes what it has.
	Stopping State = "stopping"
	// Stopped is one whose Run has returned.
	Stopped State = "stopped"
)

// Health is how a worker is.
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
	// InHand is how many tasks the worker has: being done, or waiting to be
	// reported.
	InHand int `json:"in_hand"`
	// Concurrency is how many handlers may run at once.
	Concurrency int `json:"concurrency"`
	// Astray is how many handlers have not returned although their time is over.
	// When they are more than Concurrency, the worker stands still until one does.
	Astray int `json:"astray"`
	// Lag is for how long the tasks that were claimed last could have been claimed
	// before, at most. It is zero when there was nothing to claim.
	Lag time.Duration `json:"-"`
}

// silentAfter is after what time without a heartbeat a worker is not ready.
const silentAfter = deadAfter

// Ready says why the worker would not do a task now, or nil: it has not started
// yet, is stopping, or the database does not answer. That need not last.
func (h Health) Ready() error {
	switch {
	case h.State != Working:
		return fmt.Errorf("flowc: worker: state is %s", h.State)
	case !h.Connected || time.Since(h.LastHeartbeat) > silentAfter:
		return errors.New("flowc: worker: database unreachable")
	}
	return h.Live()
}

// Live says why the process should be started again, or nil: Run has returned, or
// more handlers than may run at once do not heed their contexts. A database that
// is away is no reason, since the worker waits for it better than a new one would.
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

// Health is how the worker is. It does not ask the database, and may be called at
// any time.
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
// ends in "live" is answered with 503 if the process should be started again, see
// [Health.Live]; any other path if the worker would not do a task now, see
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
