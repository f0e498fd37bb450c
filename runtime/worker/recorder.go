package worker

import (
	"sync/atomic"
	"time"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/worker/internal/dbconn"
)

// Stats counts what a worker did since [New].
type Stats struct {
	// Claimed is how many tasks were claimed.
	Claimed int64
	// Completed is how many tasks were completed.
	Completed int64
	// Retried is how many attempts failed and were followed by another.
	Retried int64
	// Failed is how many tasks failed for good; those of skipped steps are among them.
	Failed int64
	// Lost is how many tasks were reclaimed or ended before their results were
	// reported.
	Lost int64
	// Snoozed is how many attempts put their tasks off.
	Snoozed int64
	// Released is how many tasks were released without a result.
	Released int64
	// Pruned is how many old runs were deleted, see [Config.Retention].
	Pruned int64
	// FailedCalls is how many calls to the database failed.
	FailedCalls int64
}

// A recorder records what a worker does: for its Stats and Health, and for its Metrics.
type recorder struct {
	metrics  Metrics
	counters struct {
		claimed, completed, retried, snoozed, failed, lost, released, pruned, failedCalls atomic.Int64
	}

	state     atomic.Pointer[State]
	started   atomic.Pointer[time.Time]
	heartbeat atomic.Pointer[time.Time] // the last that was answered
	connected atomic.Bool
	lag       atomic.Int64
}

var _ dbconn.Observer = (*recorder)(nil)

// become records the worker's state.
func (r *recorder) become(s State) { r.state.Store(&s) }

// attemptEnded records an attempt whose outcome is known.
func (r *recorder) attemptEnded(task handler.Task, outcome Outcome, took time.Duration) {
	c := &r.counters
	switch outcome {
	case OutcomeCompleted:
		c.completed.Add(1)
	case OutcomeRetried:
		c.retried.Add(1)
	case OutcomeFailed, OutcomeSkipped:
		c.failed.Add(1)
	case OutcomeSnoozed:
		c.snoozed.Add(1)
	case OutcomeReleased:
		c.released.Add(1)
	case OutcomeLost:
		c.lost.Add(1)
	}
	r.metrics.AttemptEnded(task, outcome, took)
}

// Called records a call to the database.
func (r *recorder) Called(name string, took time.Duration, err error) {
	r.metrics.Called(name, took, err)
}

// CallFailed records a call that failed.
func (r *recorder) CallFailed() { r.counters.failedCalls.Add(1) }

// SetConnected records whether the database can be reached.
func (r *recorder) SetConnected(connected bool) { r.connected.Store(connected) }

func (r *recorder) stats() Stats {
	c := &r.counters
	return Stats{
		Claimed: c.claimed.Load(), Completed: c.completed.Load(), Retried: c.retried.Load(), Snoozed: c.snoozed.Load(), Failed: c.failed.Load(),
		Lost: c.lost.Load(), Released: c.released.Load(), Pruned: c.pruned.Load(), FailedCalls: c.failedCalls.Load(),
	}
}

// health returns what of the health is recorded.
func (r *recorder) health() Health {
	h := Health{State: StateIdle, Connected: r.connected.Load(), Lag: time.Duration(r.lag.Load())}
	if s := r.state.Load(); s != nil {
		h.State = *s
	}
	if at := r.started.Load(); at != nil {
		h.StartedAt = *at
	}
	if at := r.heartbeat.Load(); at != nil {
		h.LastHeartbeat = *at
	}
	return h
}
