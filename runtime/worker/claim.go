package worker

import (
	"context"
	"time"

	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
)

const (
	// lingerTime is how long the claimer waits for more slots to become free
	// while less than a quarter of them are: many small claims cost the database
	// more than few large ones.
	lingerTime = 2 * time.Millisecond
	// busyClaims is how many claims in a row have to find something before the
	// worker says that it need not be woken.
	busyClaims = 3
	// How long to wait between claims that find nothing. Notifications and the
	// timer wake earlier; with notifications it is the longest at once, maxPoll.
	minPoll = 50 * time.Millisecond
	// minDue keeps the timer from spinning on what somebody else is about to start.
	minDue = 5 * time.Millisecond
	// recheck is how long after a lost claim to look again: the database may
	// have gone on with it for a while.
	recheck = 10 * time.Second
)

// A claimer takes tasks for the free slots. It is one goroutine.
type claimer struct {
	*session
	ctx     context.Context // ends when no more is to be claimed
	shares  *shares
	pause   backoff
	found   int           // claims in a row that found something
	poll    time.Duration // how long the last wait for nothing in particular was
	asleep  uint64        // the listener's connection for which the database knows that we sleep
	stale   bool          // whether something else may be due next than when it was asked
	due     <-chan time.Time
	unknown []time.Time // when to give back what lost claims may have taken
}

// claim takes tasks until ctx ends.
func (s *session) claim(ctx context.Context) {
	c := &claimer{session: s, ctx: ctx, shares: newShares(s.lanes.all)}
	for ctx.Err() == nil {
		free := c.slotsFree()
		if free == 0 {
			return
		}
		c.round(free)
	}
}

// slotsFree takes all free slots; it waits until there is one. It returns 0 when
// ctx ends.
func (c *claimer) slotsFree() int {
	select {
	case <-c.ctx.Done():
		return 0
	case <-c.slots:
	}
	free := 1 + c.takeSlots()
	if few := c.config.Concurrency / 4; free < few && c.found > 0 {
		timer := time.NewTimer(lingerTime)
		defer timer.Stop()
		for free < few {
			select {
			case <-c.slots:
				free++
				continue
			case <-timer.C:
			}
			break
		}
		free += c.takeSlots()
	}
	return free
}

func (c *claimer) takeSlots() (n int) {
	for {
		select {
		case <-c.slots:
			n++
		default:
			return n
		}
	}
}

func (c *claimer) giveSlots(n int) {
	for range n {
		c.slots <- struct{}{}
	}
}

// round fills free slots, or waits if there is nothing to fill them with.
func (c *claimer) round(free int) {
	c.giveBackUnknown()
	tasks, ok := c.take(free)
	c.giveSlots(free - len(tasks))
	c.dispatch(tasks)
	switch {
	case !ok:
		c.found = 0
		c.asleep = 0
		c.pause.wait(c.ctx, c.db)
	case len(tasks) > 0:
		c.pause.reset()
		c.poll = 0
		if c.found++; c.found == busyClaims && c.asleep != 0 {
			// If this fails, writers go on to notify, which is only a waste.
			_ = c.db.awake(c.hard, c.id)
			c.asleep = 0
		}
	case c.shares.searched(c.lanes.room()):
		c.pause.reset()
		c.found = 0
		c.rest()
	}
}

// take claims tasks for the free slots, as far as limits leave room. A claim that
// has begun is not broken off when the worker stops: the reply says what was
// claimed.
func (c *claimer) take(free int) (tasks []*task, ok bool) {
	d := c.shares.deal(free, c.lanes.room())
	if len(d.names) == 0 {
		return nil, true
	}
	began := time.Now()
	rows, err := c.db.claim(c.hard, c.id, d.names, d.limits, c.lanes.except)
	if err != nil {
		c.unknown = []time.Time{time.Now(), time.Now().Add(recheck)}
		return nil, false
	}
	c.stats.claimed.Add(int64(len(rows)))
	got := map[string]int{}
	var lag time.Duration
	for _, row := range rows {
		// The lease began after this claim did: the deadline is never behind it.
		t := &task{claimed: row, served: c.services[row.Flow].steps[row.Step]}
		t.begin(c.ctx, c.log, began.Add(time.Duration(row.Timeout)*time.Second))
		c.hand.add(t)
		c.lanes.enter(t)
		waited := row.waited()
		lag = max(lag, waited)
		c.config.Metrics.TryBegan(t.info, waited)
		got[c.lanes.of(row)]++
		tasks = append(tasks, t)
	}
	c.health.lag.Store(int64(lag))
	c.shares.filled(d, got)
	return tasks, true
}

// giveBackUnknown gives back what claims took whose replies were lost. Until
// then, nobody else would get those tasks before their leases end.
func (c *claimer) giveBackUnknown() {
	for len(c.unknown) > 0 && !time.Now().Before(c.unknown[0]) {
		err := c.db.releaseUnknown(c.hard, c.id, c.hand.all())
		if err != nil && pgerr.Transient(err) {
			return
		}
		c.unknown = c.unknown[1:]
	}
}

// dispatch starts the handlers. Tasks that need more than the claim gave wait
// for it in a goroutine of their own, out of the claimer's way.
func (c *claimer) dispatch(tasks []*task) {
	var later []*task
	for _, t := range tasks {
		c.running.Add(1)
		if len(t.needs()) > 0 {
			later = append(later, t)
			continue
		}
		go c.do(t, t.given())
	}
	if len(later) > 0 {
		go c.fetch(later)
	}
}

// rest waits until there may be work.
func (c *claimer) rest() {
	live := c.listener.Live()
	c.stale = c.retries.Swap(false) || c.stale
	if live != 0 && (c.asleep != live || c.stale) {
		if due, err := c.db.sleep(c.ctx, c.id, c.slugs); err == nil {
			c.asleep, c.stale = live, false
			c.arm(due)
			return // what came before we slept was not announced: once more
		}
	}
	if c.asleep != 0 && c.asleep == live {
		c.poll = c.db.maxPoll()
	} else {
		c.poll = min(max(2*c.poll, minPoll), c.db.maxPoll())
	}
	timer := time.NewTimer(c.poll)
	defer timer.Stop()
	select {
	case <-c.ctx.Done():
		return
	case <-c.kick:
		c.config.Metrics.Woke(ByResult)
	case <-timer.C:
		c.config.Metrics.Woke(ByPoll)
	case <-c.work.C:
		c.config.Metrics.Woke(ByNotification)
		c.stale = true
	case <-c.due:
		c.config.Metrics.Woke(ByTimer)
		_, err := c.db.startDue(c.ctx, c.slugs)
		c.stale = err == nil
	}
}

// arm sets the timer to the next thing that is due; a negative time is none.
func (c *claimer) arm(due time.Duration) {
	c.due = nil
	if due >= 0 {
		c.due = time.After(max(due, minDue))
	}
}
