package worker

import (
	"sync"
	"time"
)

// claimAlong is how many results a call may report for claims to go along. What
// a transaction and a round trip cost is much for few tasks; for many, it matters
// more that they do not wait for each other.
const claimAlong = 100

// claimAlongBytes is how large a report may be for that: a claim waits until all of it
// has been sent.
const claimAlongBytes = 1 << 20

// An intake makes tries of what is claimed: by the claimer, and by reporters that
// claim along.
type intake struct {
	mu       sync.Mutex
	shares   *shares
	unknown  []time.Time // when to give back what lost claims may have taken
	alongs   int         // claims that go with reports and are under way
	closed   bool        // whether the worker stops: no handler is begun any more
	isolated bool        // whether suspects run, and nothing else is claimed
}

// takeSlots takes the slots that are free, but at most so many.
func (s *session) takeSlots(most int) (n int) {
	for n < most {
		select {
		case <-s.slots:
			n++
		default:
			return n
		}
	}
	return n
}

func (s *session) giveSlots(n int) {
	for range n {
		s.slots <- struct{}{}
	}
}

// deal deals free slots to lanes.
func (s *session) deal(free int) deal {
	s.intake.mu.Lock()
	defer s.intake.mu.Unlock()
	return s.intake.shares.deal(free, s.lanes.room())
}

// searched reports whether everything there was has been claimed.
func (s *session) searched() bool {
	s.intake.mu.Lock()
	defer s.intake.mu.Unlock()
	return s.intake.shares.searched(s.lanes.room())
}

// accept takes in hand what a claim brought that began at a time.
func (s *session) accept(d deal, tasks []*task, began time.Time) {
	s.stats.claimed.Add(int64(len(tasks)))
	got := map[string]int{}
	var lag time.Duration
	for _, t := range tasks {
		t.served = s.services[t.Flow].steps[t.Step]
		// The lease began after the claim did: the deadline is never behind it.
		t.begin(s.tries, began.Add(time.Duration(t.Timeout)*time.Second))
		s.hand.add(t)
		s.lanes.enter(t)
		waited := t.waited()
		lag = max(lag, waited)
		s.config.Metrics.TryBegan(t.info(), waited)
		got[s.lanes.of(t.claimed)]++
	}
	s.health.lag.Store(int64(lag))
	s.intake.mu.Lock()
	defer s.intake.mu.Unlock()
	s.intake.shares.filled(d, got)
}

// dispatch starts the handlers. Tasks that need more than the claim gave wait
// for it in a goroutine of their own, out of the way.
func (s *session) dispatch(tasks []*task) {
	var later []*task
	for _, t := range tasks {
		s.running.Add(1)
		if len(t.needs()) > 0 {
			later = append(later, t)
			continue
		}
		go func() { s.do(t, t.given()) }()
	}
	if len(later) > 0 {
		go s.fetch(later)
	}
}

// lostClaim notes that the reply to a claim was lost.
func (s *session) lostClaim() {
	s.intake.mu.Lock()
	defer s.intake.mu.Unlock()
	now := time.Now()
	s.intake.unknown = []time.Time{now, now.Add(recheckSoon), now.Add(recheck)}
}

// unknownDue reports whether it is time to give back what lost claims took. It is
// not while a claim is under way, which may have taken what is not in hand yet.
func (s *session) unknownDue() bool {
	s.intake.mu.Lock()
	defer s.intake.mu.Unlock()
	return s.intake.due() && s.intake.alongs == 0
}

func (i *intake) due() bool { return len(i.unknown) > 0 && !time.Now().Before(i.unknown[0]) }

func (s *session) gaveBack() {
	s.intake.mu.Lock()
	defer s.intake.mu.Unlock()
	s.intake.unknown = s.intake.unknown[1:]
}

// enter keeps the worker from ending, as a handler does, unless it stops already.
func (s *session) enter() bool {
	s.intake.mu.Lock()
	defer s.intake.mu.Unlock()
	if !s.intake.closed {
		s.running.Add(1)
	}
	return !s.intake.closed
}

// beginAlong enters for a claim that goes with a report, unless something has to be
// given back first.
func (s *session) beginAlong() bool {
	s.intake.mu.Lock()
	defer s.intake.mu.Unlock()
	if s.intake.closed || s.intake.isolated || s.intake.due() {
		return false
	}
	s.running.Add(1)
	s.intake.alongs++
	return true
}

func (s *session) endAlong() {
	s.intake.mu.Lock()
	defer s.intake.mu.Unlock()
	s.intake.alongs--
	s.running.Done()
}

// isolate has nothing claimed but by the claimer, or ends that.
func (s *session) isolate(on bool) {
	s.intake.mu.Lock()
	defer s.intake.mu.Unlock()
	s.intake.isolated = on
}

// closeIntake has no more handlers begun.
func (s *session) closeIntake() {
	s.intake.mu.Lock()
	defer s.intake.mu.Unlock()
	s.intake.closed = true
}

// An along is a claim that goes with a report, or with a start.
type along struct {
	ask
	free  int // slots taken for it
	began time.Time
}

// claimWith takes the free slots for a claim that goes with a report of these
// results. It is nil if the claimer is to see to them: if there are many results, no
// slots, or limits, of which two claims at once could take too much.
func (s *session) claimWith(results []result) *along {
	if len(results) > claimAlong || s.claimsRefused.Load() || s.lanes.limited() || !s.db.claimsAlong() {
		return nil
	}
	free := s.takeSlots(s.config.Concurrency)
	if free == 0 {
		return nil
	}
	if !s.beginAlong() {
		s.giveSlots(free)
		return nil
	}
	a := &along{free: free, began: time.Now()}
	a.deal = s.deal(free)
	a.except = s.lanes.except
	a.quiet = len(a.except) == 0
	asked := map[string]bool{}
	for _, name := range a.names {
		asked[name] = true
	}
	for _, r := range results {
		a.quiet = a.quiet && asked[r.task.Flow] && !s.services[r.task.Flow].delays
	}
	return a
}

// claimedWith takes what the claim brought; ok is false if nobody knows what.
func (s *session) claimedWith(a *along, tasks []*task, ok bool) {
	defer s.endAlong()
	if !ok {
		s.lostClaim()
		s.giveSlots(a.free)
		s.nudge()
		return
	}
	s.accept(a.deal, tasks, a.began)
	s.giveSlots(a.free - len(tasks))
	if !s.enter() {
		return // they are in hand, and given back with what is left there
	}
	defer s.running.Done()
	s.dispatch(tasks)
	if len(tasks) >= a.free || s.retries.Load() {
		s.nudge() // there may be more, or something is due
	}
}
