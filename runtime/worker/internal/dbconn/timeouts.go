package dbconn

import (
	"context"
	"errors"
	"sync"
	"time"
)

// maxTimeout bounds how far the timeout of a call grows.
const maxTimeout = 10 * time.Minute

// timeouts are how long calls may take, by name. Each starts short, since a connection
// whose other end is gone must be given up soon. One that was too short grows, so that
// no call fails forever because it has much to do or the database is slow; it shrinks
// again when calls no longer need it.
type timeouts struct {
	mu      sync.Mutex
	learned map[string]time.Duration
}

func newTimeouts() *timeouts { return &timeouts{learned: map[string]time.Duration{}} }

// of returns how long a call may take now.
func (t *timeouts) of(call Call) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return max(t.learned[call.Name], call.Timeout)
}

// learn learns from how long a call took, and how long it was given.
func (t *timeouts) learn(name string, took, limit time.Duration, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err == nil:
		t.learned[name] = min(2*took, maxTimeout)
	case IsSlow(err) && errors.Is(err, context.DeadlineExceeded):
		t.learned[name] = min(2*limit, maxTimeout)
	}
}
