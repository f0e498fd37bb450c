package worker

import (
	"context"
	"log/slog"
	"time"
)

// drainTime is how long the claimer waits for the tasks in flight to end before it
// claims suspects beside those that do not.
const drainTime = 10 * time.Second

// recoverFirst recovers what dead workers had, before anything is claimed: a worker that
// dies of what it claims at once would never get to its first heartbeat.
func (s *session) recoverFirst(ctx context.Context) {
	p, err := s.db.heartbeat(ctx, s.id, s.slugs, nil)
	if err != nil || p.Silent == nil {
		return
	}
	s.putOff(p)
	if p.Dead && !time.Now().Before(s.judges) && s.db.recover(ctx) == nil {
		s.suspects.Store(true)
	}
}

// runSuspects claims suspects, one group after the other, and nothing beside them: if
// the worker dies, what it had in flight tells who may be the reason.
func (c *claimer) runSuspects() {
	c.isolate(true)
	defer c.isolate(false)
	c.wait(c.hand.all(), drainTime)
	for c.ctx.Err() == nil {
		free := c.takeSlots(c.config.Concurrency)
		if free == 0 {
			return // what is in flight does not end
		}
		began := time.Now()
		d := c.lanes.each(free)
		tasks, err := c.db.claimSuspects(c.hard, c.id, ask{deal: d, except: c.lanes.except})
		if isRefused(err) && c.failToBlame(d.names, err) {
			c.giveSlots(free)
			continue
		}
		if err != nil {
			c.lostClaim()
		}
		c.giveSlots(free - len(tasks))
		if len(tasks) == 0 {
			return
		}
		c.accept(deal{}, tasks, began)
		var alone time.Duration
		for _, t := range tasks {
			alone = max(alone, secondsToDuration(*t.IsolatedFor))
			c.log.LogAttrs(c.ctx, slog.LevelWarn, "worker died with the task in flight, running it apart from others", append(t.attrs(), slog.Int("together", len(tasks)))...)
		}
		c.dispatch(tasks)
		if !c.wait(tasks, alone) {
			return
		}
	}
}

// wait waits until none of the tasks is in flight, or for so long, and reports whether
// none is.
func (c *claimer) wait(tasks []*task, most time.Duration) bool {
	timer := time.NewTimer(most)
	defer timer.Stop()
	for c.hand.hasAny(tasks) {
		select {
		case <-c.hand.left:
		case <-timer.C:
			return false
		case <-c.ctx.Done():
			return false
		}
	}
	return true
}
