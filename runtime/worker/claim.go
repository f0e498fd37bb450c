package worker

import (
	"context"
	"time"
)

const (
	// lingerTime is how long the claimer waits for more slots to become free
	// while less than a quarter of them are: many small claims cost the database
	// more than few large ones.
	lingerTime = 2 * time.Millisecond
	// busyClaims is how many claims in a row have to find something before the
	// worker says that it need not be woken.
	busyClaims = 3
	// minPoll is how long to wait after the first of some claims that find nothing,
	// twice as long after each more. Notifications and the timer wake earlier.
	minPoll = 50 * time.Millisecond
	// settleTime is how long it has to be quiet after a notification before the
	// claimer asks what is due next, out of the way of what has just come.
	settleTime = 20 * time.Millisecond
	// minDue keeps the timer from spinning on what somebody else is about to start.
	minDue = 5 * time.Millisecond
	// recheckSoon and recheck are how long after a lost claim to look again: the
	// database may have gone on with it, mostly for a moment, seldom for a while.
	recheckSoon = 250 * time.Millisecond
	recheck     = 10 * time.Second
)

// A claimer takes tasks for the free slots. It is one goroutine.
type claimer struct {
	*session
	ctx    context.Context // ends when no more is to be claimed
	pause  backoff
	found  int           // claims in a row that left something, as far as is known
	poll   time.Duration // how long the last wait for nothing in particular was
	asleep uint64        // the listener's connection for which the database knows that we sleep
	stale  bool          // whether something else may be due next than when it was asked
	due    <-chan time.Time

	unexplained time.Time // when the task that a refused claim was to blame on was not found
}

// claim takes tasks until ctx ends.
func (s *session) claim(ctx context.Context) {
	c := &claimer{session: s, ctx: ctx}
	for c.slotsFree() {
		c.round()
	}
}

// slotsFree waits until there are slots for a claim; it is false when ctx ends.
func (c *claimer) slotsFree() bool {
	select {
	case <-c.ctx.Done():
		return false
	case <-c.slots:
	}
	free := 1
	if c.found > 0 {
		timer := time.NewTimer(lingerTime)
		defer timer.Stop()
		for free += c.takeSlots(c.config.Concurrency); free < c.config.Concurrency/4; free++ {
			select {
			case <-c.slots:
				continue
			case <-timer.C:
			}
			break
		}
	}
	c.giveSlots(free)
	return c.ctx.Err() == nil
}

// round fills the slots that are free, or waits if there is nothing to fill them with.
func (c *claimer) round() {
	c.giveBackUnknown()
	if c.suspects.Swap(false) {
		c.runSuspects()
	}
	free := c.takeSlots(c.config.Concurrency)
	if free == 0 {
		return // a reporter was faster
	}
	tasks, ok := c.take(free)
	c.giveSlots(free - len(tasks))
	c.dispatch(tasks)
	if len(tasks) > 0 {
		c.poll = 0
	}
	switch {
	case !ok:
		c.found = 0
		c.asleep = 0
		c.pause.wait(c.ctx, c.db)
	case c.searched():
		// What it did not get because somebody held it comes with the next poll.
		c.pause.reset()
		c.found = 0
		c.rest()
	case len(tasks) > 0:
		c.pause.reset()
		if c.found++; c.found == busyClaims && c.asleep != 0 {
			// If this fails, writers go on to notify, which is only a waste.
			_ = c.db.awake(c.hard, c.id)
			c.asleep = 0
		}
	}
}

// take claims tasks for free slots, as far as limits leave room. A claim that has begun
// is not broken off when the worker stops: the reply says what was claimed.
func (c *claimer) take(free int) (tasks []*task, ok bool) {
	d := c.deal(free)
	if len(d.names) == 0 {
		return nil, true
	}
	began := time.Now()
	tasks, err := c.db.claim(c.hard, c.id, ask{deal: d, except: c.lanes.except})
	if isRefused(err) {
		tasks, err = c.claimApart(d, err)
	} else if err == nil {
		c.claimsRefused.Store(false)
	}
	if err != nil {
		c.lostClaim()
		return nil, false
	}
	c.accept(d, tasks, began)
	return tasks, true
}

// giveBackUnknown gives back what claims took whose replies were lost. Until
// then, nobody else would get those tasks before their leases end.
func (c *claimer) giveBackUnknown() {
	for c.unknownDue() {
		err := c.db.releaseUnknown(c.hard, c.id, c.hand.all())
		if err != nil && isTransient(err) {
			return
		}
		c.gaveBack()
	}
}

// rest waits until there may be work.
func (c *claimer) rest() {
	live := c.listener.Live()
	if live != 0 && c.asleep != live {
		if c.sleep() {
			c.asleep = live
			return // what came before we slept was not announced: once more
		}
	}
	c.poll = min(max(2*c.poll, minPoll), c.db.maxPoll())
	wait := c.poll
	c.stale = c.retries.Swap(false) || c.stale
	settle := c.stale && live != 0
	if settle {
		wait = min(wait, settleTime)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	c.resting.Store(true)
	defer c.resting.Store(false)
	select {
	case <-c.ctx.Done():
		return
	case <-c.kick:
		c.config.Metrics.Woke(ByResult)
	case <-timer.C:
		c.config.Metrics.Woke(ByPoll)
		if settle {
			c.sleep()
		}
	case <-c.work.C:
		c.config.Metrics.Woke(ByNotification)
		c.stale = true
	case <-c.due:
		c.config.Metrics.Woke(ByTimer)
		_, err := c.db.startDue(c.ctx, c.slugs)
		c.stale = err == nil
	}
}

// sleep tells the database to wake us, and asks what is due next.
func (c *claimer) sleep() bool {
	due, err := c.db.sleep(c.ctx, c.id, c.slugs)
	if err != nil {
		return false
	}
	c.stale = false
	c.arm(due)
	return true
}

// arm sets the timer to the next thing that is due; a negative time is none.
func (c *claimer) arm(due time.Duration) {
	c.due = nil
	if due >= 0 {
		c.due = time.After(max(due, minDue))
	}
}
