package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
)

// mostTimeout bounds how far the timeout of a call grows.
const mostTimeout = 10 * time.Minute

// timeouts are how long calls may take, by their names. Each begins with little, since
// a connection whose other end is gone has to be given up soon. One that was too short
// grows, so that no call fails for ever because it has much to do or the database is
// slow; and it shrinks again when calls do not need it.
type timeouts struct {
	mu      sync.Mutex
	learned map[string]time.Duration
}

func newTimeouts() *timeouts { return &timeouts{learned: map[string]time.Duration{}} }

// of returns how long the next call may take.
func (t *timeouts) of(name string, least time.Duration) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return max(t.learned[name], least)
}

// learn learns from how long a call took that had so much time.
func (t *timeouts) learn(name string, took, had time.Duration, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err == nil:
		t.learned[name] = min(2*took, mostTimeout)
	case isSlow(err) && errors.Is(err, context.DeadlineExceeded):
		t.learned[name] = min(2*had, mostTimeout)
	}
}

// A slowError is of a call that the database was busy with when its time was over, or
// when somebody cancelled it there. It may succeed with more time, or with less to do.
type slowError struct{ error }

func (e slowError) Unwrap() error { return e.error }

func isSlow(err error) bool { return errors.As(err, new(slowError)) }

// isTransient reports whether a call that failed is worth repeating as it is.
func isTransient(err error) bool {
	return pgerr.Transient(err) || errors.Is(err, context.DeadlineExceeded)
}
