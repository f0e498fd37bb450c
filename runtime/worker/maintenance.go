package worker

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/worker/internal/backend"
	"github.com/flowc-dev/flowc/runtime/worker/internal/dbconn"
)

const (
	heartbeatEvery = 1500 * time.Millisecond
	// heartbeatRetry is how soon a heartbeat that failed is repeated.
	heartbeatRetry = 250 * time.Millisecond

	// Watermarks are advanced after so many claimed tasks, or after so long if there are
	// fewer: a claim skips some thousands of finished rows without taking longer.
	advanceClaims = 1000
	advanceEvery  = time.Minute

	// leaveUnknownEvery is how often tasks of gated steps are looked for that the database
	// takes to be in flight here and that are not: they take the places of others.
	leaveUnknownEvery = 10 * time.Second

	// Runs that have been kept long enough are looked for ten times in that time, within
	// these bounds.
	minPruneEvery, maxPruneEvery = time.Second, time.Minute
	// A call deletes up to maxPruned runs, and should take about so long: others who start
	// runs of the flow may have to wait for it.
	maxPruned            = 1000
	fastPrune, slowPrune = 200 * time.Millisecond, time.Second
)

// maintenance keeps the worker registered, and does what any worker may do for all.
type maintenance struct {
	log      *slog.Logger
	backend  backend.Backend
	recorder *recorder
	signals  *signals
	inflight *inflight
	gated    bool // whether there are gated steps

	draining   atomic.Bool
	deprecated chan struct{}       // closed when the worker is deprecated in the database
	due        chan dueMaintenance // what a heartbeat found to be done
	large      chan struct{}       // signalled when there may be large answers

	// Of the goroutine of heartbeats:
	recoverAfter time.Time // from when workers may be presumed dead
	advanced     struct {  // when the watermarks were last advanced
		at      time.Time
		claimed int64 // how many tasks had been claimed
	}
	leftUnknown time.Time // when that was last done
}

// dueMaintenance are what is due of what any worker may do for all.
type dueMaintenance struct {
	recover bool // make the tasks of dead workers available
	start   bool // start scheduled runs and schedules that came due while all workers were busy
	advance bool // advance the watermarks, so that claims skip finished rows
	leave   bool // leave what the worker does not know of
}

func newMaintenance(log *slog.Logger, b backend.Backend, r *recorder, s *signals, f *inflight, gated bool, recoverAfter time.Time) *maintenance {
	return &maintenance{
		log: log, backend: b, recorder: r, signals: s, inflight: f, gated: gated, leftUnknown: time.Now(),
		deprecated: make(chan struct{}), due: make(chan dueMaintenance, 1), large: make(chan struct{}, 1), recoverAfter: recoverAfter,
	}
}

// sendHeartbeats sends heartbeats until ctx ends.
func (m *maintenance) sendHeartbeats(ctx context.Context) {
	timer := time.NewTimer(heartbeatEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if m.heartbeat(ctx) {
			timer.Reset(heartbeatEvery)
		} else {
			timer.Reset(heartbeatRetry)
		}
	}
}

// heartbeat says that the worker is alive and which tasks it has in flight, ends the
// contexts of those that are no longer its own, and notes what is due.
func (m *maintenance) heartbeat(ctx context.Context) bool {
	tasks := m.inflight.all()
	h, err := m.backend.Heartbeat(ctx, claimedOf(tasks))
	if err != nil {
		return false
	}
	now := time.Now()
	m.recorder.heartbeat.Store(&now)
	for _, i := range h.Lost {
		tasks[i].revoke(handler.ErrTaskLost)
	}
	if h.Deprecated == nil {
		return m.backend.Register(ctx) == nil
	}
	if *h.Deprecated && !m.draining.Load() {
		m.retire()
	}
	if h.Suspects {
		m.signals.suspects.Store(true)
		m.signals.wakeClaimer()
	}
	m.delayRecovery(h)
	claimed := m.recorder.counters.claimed.Load() - m.advanced.claimed
	if h.DueRuns {
		select {
		case m.large <- struct{}{}:
		default:
		}
	}
	c := dueMaintenance{recover: h.DeadWorkers && !now.Before(m.recoverAfter), start: h.DueRuns}
	c.advance = claimed >= advanceClaims || claimed > 0 && now.Sub(m.advanced.at) >= advanceEvery
	c.leave = m.gated && now.Sub(m.leftUnknown) >= leaveUnknownEvery
	if c == (dueMaintenance{}) {
		return true
	}
	select {
	case m.due <- c:
		if c.leave {
			m.leftUnknown = now
		}
		if c.advance {
			m.advanced.at = now
			m.advanced.claimed += claimed
		}
	default:
	}
	return true
}

// delayRecovery delays presuming workers dead when this one was silent itself, or the
// server has just started: whatever the reason, it may have affected the others as well,
// and they must get the time to send a heartbeat.
func (m *maintenance) delayRecovery(h backend.HeartbeatResult) {
	switch {
	case *h.SilentFor > backend.DeadAfter.Seconds():
		m.recoverAfter = time.Now().Add(backend.DeadAfter)
	case h.ServerUptime < backend.DeadAfter.Seconds():
		m.recoverAfter = time.Now().Add(backend.DeadAfter - backend.Seconds(max(h.ServerUptime, 0)))
	}
}

// retire has the worker stop as if its context had ended.
func (m *maintenance) retire() {
	select {
	case <-m.deprecated:
	default:
		m.log.Info("worker is deprecated in the database, stopping")
		close(m.deprecated)
	}
}

// recoverFirst recovers the tasks of dead workers before anything is claimed: a worker
// that dies of what it claims at once would never get to its first heartbeat.
func (m *maintenance) recoverFirst(ctx context.Context) {
	h, err := m.backend.Heartbeat(ctx, nil)
	if err != nil || h.SilentFor == nil {
		return
	}
	m.delayRecovery(h)
	if h.DeadWorkers && !time.Now().Before(m.recoverAfter) && m.backend.Recover(ctx) == nil {
		m.signals.suspects.Store(true)
	}
}

// drain notes that the worker drains, and says so: otherwise what it does not finish would
// be suspected of having killed it.
func (m *maintenance) drain(ctx context.Context) {
	m.draining.Store(true)
	_ = m.backend.Drain(ctx)
}

// runDue does what heartbeats found to be due, until ctx ends.
func (m *maintenance) runDue(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-m.due:
			if c.recover {
				_ = m.backend.Recover(ctx)
			}
			if c.start {
				_, _ = m.backend.StartDue(ctx)
			}
			if c.advance {
				_ = m.backend.AdvanceWatermarks(ctx)
			}
			if c.leave {
				_ = m.backend.LeaveUnknown(ctx, claimedOf(m.inflight.all()))
			}
		}
	}
}

// deliverLarge delivers large answers when heartbeats found some, until ctx ends. It is apart
// from runDue because it may take minutes.
func (m *maintenance) deliverLarge(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.large:
			_ = m.backend.DeliverLarge(ctx)
		}
	}
}

// prune deletes runs that ended longer ago than keep, until ctx ends; 0 keeps them for
// ever. All workers do it: a flow that one of them is pruning is skipped by the others.
func (m *maintenance) prune(ctx context.Context, keep time.Duration) {
	if keep == 0 {
		return
	}
	every := min(max(keep/10, minPruneEvery), maxPruneEvery)
	wait, limit := minPruneEvery, 100
	for dbconn.Sleep(ctx, wait, nil) {
		began := time.Now()
		deleted, err := m.backend.Prune(ctx, keep, limit)
		m.recorder.counters.pruned.Add(int64(deleted))
		wait = every
		switch took := time.Since(began); {
		case err != nil || took > slowPrune:
			limit = max(limit/2, 1)
		case deleted == limit && took < fastPrune:
			limit = min(2*limit, maxPruned)
		}
		if err == nil && deleted > 0 {
			wait = time.Since(began) // there may be more; half of the time is for others
		}
	}
}
