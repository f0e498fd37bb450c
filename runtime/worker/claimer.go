package worker

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/flowc-dev/flowc/runtime/internal/listen"
	"github.com/flowc-dev/flowc/runtime/worker/internal/backend"
	"github.com/flowc-dev/flowc/runtime/worker/internal/dbconn"
)

const (
	// lingerTime is how long the claimer waits for more slots to become free while less
	// than a quarter of them are: many small claims cost the database more than few large
	// ones.
	lingerTime = 2 * time.Millisecond
	// busyClaims is how many claims in a row must find something before the worker says
	// that it need not be woken.
	busyClaims = 3
	// minPoll is how long to wait after the first of some claims that find nothing; the
	// wait doubles with each more. Notifications and the timer end it.
	minPoll = 50 * time.Millisecond
	// settleTime is how long it must be quiet after a notification before the claimer asks
	// what is due next, so as not to delay what has just arrived.
	settleTime = 20 * time.Millisecond
	// minDue keeps the timer from spinning on what another worker is about to start.
	minDue = 5 * time.Millisecond
)

// A claimer claims tasks for the free slots. It is one goroutine.
type claimer struct {
	ctx      context.Context // ends when no more is to be claimed
	dbCtx    context.Context // of claims: one that has begun is not broken off, since its reply says what was claimed
	db       *dbconn.DB
	backend  backend.Backend
	listener *listen.Listener
	work     *listen.Subscription
	metrics  Metrics

	slots      slots
	signals    *signals
	inflight   *inflight
	dispatcher *dispatcher
	refusals   *refusals
	suspects   *suspects

	idle atomic.Bool // whether it has found no work, so that starts may claim for it

	pause     dbconn.Backoff
	found     int           // claims in a row that left something, as far as is known
	poll      time.Duration // how long the last wait for nothing in particular was
	announced uint64        // the listener's connection for which the database knows that the worker is idle
	stale     bool          // whether something else may be due next than when the database was asked
	tried     bool          // whether what is due was tried in vain since the last notification
	due       <-chan time.Time
}

// run claims tasks until ctx ends.
func (c *claimer) run() {
	for c.awaitSlots() {
		c.round()
	}
}

// awaitSlots waits until there are slots for a claim, and reports whether ctx is alive.
func (c *claimer) awaitSlots() bool {
	select {
	case <-c.ctx.Done():
		return false
	case <-c.slots:
	}
	free := 1
	if c.found > 0 {
		timer := time.NewTimer(lingerTime)
		defer timer.Stop()
		for free += c.slots.take(cap(c.slots)); free < cap(c.slots)/4; free++ {
			select {
			case <-c.slots:
				continue
			case <-timer.C:
			}
			break
		}
	}
	c.slots.release(free)
	return c.ctx.Err() == nil
}

// round fills the free slots, or waits if there is nothing to fill them with.
func (c *claimer) round() {
	c.releaseLost()
	if c.signals.suspects.Swap(false) {
		c.suspects.run(c.ctx, c.dbCtx)
	}
	free := c.slots.take(cap(c.slots))
	if free == 0 {
		return // a reporter was faster
	}
	tasks, ok := c.claim(free)
	c.slots.release(free - len(tasks))
	c.dispatcher.executor.start(tasks)
	if len(tasks) > 0 {
		c.poll = 0
	}
	switch {
	case !ok:
		c.idle.Store(false)
		c.found = 0
		c.announced = 0
		c.pause.Wait(c.ctx, c.db.Recovered())
	case c.dispatcher.drained():
		// What it did not get because it was locked is claimed after the next poll.
		c.idle.Store(true)
		c.pause.Reset()
		c.found = 0
		c.rest()
	case len(tasks) > 0:
		c.idle.Store(false)
		c.pause.Reset()
		if c.found++; c.found == busyClaims && c.announced != 0 {
			// If this fails, writers go on to notify, which only costs time.
			_ = c.backend.LeaveIdle(c.dbCtx)
			c.announced = 0
			c.tried = false
		}
	}
}

// claim claims tasks for free slots, as far as limits allow.
func (c *claimer) claim(free int) (tasks []*task, ok bool) {
	a := c.dispatcher.allocate(free)
	if len(a.Groups) == 0 {
		return nil, true
	}
	began := time.Now()
	claimed, err := c.backend.Claim(c.dbCtx, backend.ClaimRequest{Groups: a.Groups, Limits: a.Limits, First: a.First})
	if dbconn.IsRefused(err) {
		claimed, err = c.refusals.retry(c.dbCtx, a, err)
	} else if err == nil {
		c.refusals.resolved()
	}
	if err != nil {
		c.dispatcher.lostClaim()
		return nil, false
	}
	tasks, _ = c.dispatcher.accept(a, claimed, began) // the claimer goes on until it has looked everywhere
	return tasks, true
}

// releaseLost releases what claims took whose replies were lost. Until then, nobody else
// would get those tasks before their leases expire.
func (c *claimer) releaseLost() {
	for c.dispatcher.mustReleaseLost() {
		err := c.backend.ReleaseLost(c.dbCtx, claimedOf(c.inflight.all()))
		if err != nil && dbconn.IsTransient(err) {
			return
		}
		c.dispatcher.releasedLost()
		c.dispatcher.expectAll()
	}
}

// rest waits until there may be work.
func (c *claimer) rest() {
	live := c.listener.Live()
	if live != 0 && c.announced != live {
		if c.announceIdle() {
			c.announced = live
			c.dispatcher.expectAll()
			return // tasks that came before were not announced: claim once more
		}
	}
	c.poll = min(max(2*c.poll, minPoll), c.backend.MaxPoll())
	wait := c.poll
	c.stale = c.signals.retryPending.Swap(false) || c.stale
	settle := c.stale && c.announced == live && live != 0
	if settle {
		wait = min(wait, settleTime)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-c.ctx.Done():
		return
	case <-c.signals.wake:
		c.metrics.Woke(WakeReasonResult)
	case <-timer.C:
		c.metrics.Woke(WakeReasonPoll)
		if !settle || !c.announceIdle() {
			c.dispatcher.expectAll()
		}
	case <-c.work.C:
		c.metrics.Woke(WakeReasonNotification)
		if flows, missed := c.work.Arrived(); missed {
			c.dispatcher.expectAll()
		} else {
			c.dispatcher.expect(flows...)
		}
		c.stale = true
		c.tried = false
	case <-c.due:
		c.metrics.Woke(WakeReasonTimer)
		done, err := c.backend.StartDue(c.ctx)
		c.dispatcher.expectAll()
		c.stale = err == nil
		c.tried = done == 0
	}
}

// announceIdle tells the database to wake the worker, and asks what is due next.
func (c *claimer) announceIdle() bool {
	due, err := c.backend.EnterIdle(c.ctx, c.tried)
	if err != nil {
		return false
	}
	c.stale = false
	c.setTimer(due)
	return true
}

// setTimer sets the timer to what is due next; a negative time is nothing.
func (c *claimer) setTimer(due time.Duration) {
	c.due = nil
	if due >= 0 {
		c.due = time.After(max(due, minDue))
	}
}
