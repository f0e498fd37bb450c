package worker

import "sync/atomic"

// slots holds a token for each free slot.
type slots chan struct{}

// newSlots returns n free slots.
func newSlots(n int) slots {
	s := make(slots, n)
	s.release(n)
	return s
}

// take takes free slots, up to a number, and returns how many. It does not wait.
func (s slots) take(limit int) (n int) {
	for n < limit {
		select {
		case <-s:
			n++
		default:
			return n
		}
	}
	return n
}

// release frees n slots.
func (s slots) release(n int) {
	for range n {
		s <- struct{}{}
	}
}

// signals are what other parts of the worker tell the claimer.
type signals struct {
	wake         chan struct{} // something of this worker's may have made tasks claimable
	retryPending atomic.Bool   // an attempt failed and will be retried: something else may be due next
	suspects     atomic.Bool   // there are suspects to claim
}

func newSignals() *signals { return &signals{wake: make(chan struct{}, 1)} }

// wakeClaimer makes the claimer look for work once more.
func (s *signals) wakeClaimer() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
