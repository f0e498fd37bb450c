package worker

import (
	"context"
	"time"

	"github.com/flowc-dev/flowc/runtime/handler"
)

const (
	// heartbeatEvery is how often the worker says that it lives.
	heartbeatEvery = 1500 * time.Millisecond
	// deadAfter is how long a worker has to be silent to be taken for dead; the
	// engine's functions have the same.
	deadAfter = 5 * time.Second
	// advanceClaims is after how many claimed tasks the watermarks are advanced,
	// and advanceTime after what time if there are fewer: a claim passes over some
	// thousands that are done without taking longer.
	advanceClaims = 1000
	advanceTime   = time.Minute
	// heartbeatAgain is how soon a heartbeat that failed is repeated.
	heartbeatAgain = 250 * time.Millisecond
)

// heartbeat says that the worker lives and which tasks it has, and ends the
// contexts of those that are not its own any more.
func (s *session) heartbeat(ctx context.Context) {
	timer := time.NewTimer(heartbeatEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if s.beat(ctx) {
			timer.Reset(heartbeatEvery)
		} else {
			timer.Reset(heartbeatAgain)
		}
	}
}

func (s *session) beat(ctx context.Context) bool {
	p, err := s.db.heartbeat(ctx, s.id, s.slugs, s.hand.all())
	if err != nil {
		return false
	}
	now := time.Now()
	s.health.beat.Store(&now)
	for _, t := range p.Lost {
		t.revoke(handler.ErrTaskLost)
	}
	if p.Deprecated == nil {
		return s.db.register(ctx, s.id, s.config.Name, s.slugs) == nil
	}
	if *p.Deprecated && !s.stopping.Load() {
		s.retire()
	}
	if p.Suspects {
		s.suspects.Store(true)
		s.nudge()
	}
	s.putOff(p)
	claimed := s.stats.claimed.Load() - s.advanced.claimed
	c := chores{recover: p.Dead && !now.Before(s.judges), start: p.Due}
	c.advance = claimed >= advanceClaims || claimed > 0 && now.Sub(s.advanced.at) >= advanceTime
	if c == (chores{}) {
		return true
	}
	select {
	case s.chores <- c:
		if c.advance {
			s.advanced.at = now
			s.advanced.claimed += claimed
		}
	default:
	}
	return true
}

// putOff puts off looking for dead workers when this one was silent itself, or
// the server is new: whatever the reason was, the others may have lived through
// the same, and have to be given the time to say so.
func (s *session) putOff(p pulse) {
	switch {
	case *p.Silent > deadAfter.Seconds():
		s.judges = time.Now().Add(deadAfter)
	case p.ServerUp < deadAfter.Seconds():
		s.judges = time.Now().Add(deadAfter - secondsToDuration(max(p.ServerUp, 0)))
	}
}

// retire makes the worker stop as if its context had ended.
func (s *session) retire() {
	select {
	case <-s.deprecated:
	default:
		s.log.Info("worker is deprecated in the database, stopping", "worker_id", s.id.String())
		close(s.deprecated)
	}
}

// chores are what any worker may do for all.
type chores struct {
	recover bool // make the tasks of dead workers available
	start   bool // start scheduled runs and schedules whose time came while all were busy
	advance bool // spare claims what has left the queues
}

// upkeep does what a heartbeat found to be done.
func (s *session) upkeep(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-s.chores:
			if c.recover {
				_ = s.db.recover(ctx)
			}
			if c.start {
				_, _ = s.db.startDue(ctx, s.slugs)
			}
			if c.advance {
				_ = s.db.advanceWatermarks(ctx, s.slugs)
			}
		}
	}
}
