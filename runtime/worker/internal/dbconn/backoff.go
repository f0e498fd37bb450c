package dbconn

import (
	"context"
	"time"
)

const (
	minBackoff = 50 * time.Millisecond // after the first failed call
	maxBackoff = 2 * time.Second
)

// Backoff is a wait between attempts at a call that grows from one to the next.
type Backoff struct{ next time.Duration }

// Reset makes the next wait short again.
func (b *Backoff) Reset() { b.next = 0 }

// Wait waits, though not for long once recovered is closed, because another call has
// succeeded. It reports whether ctx is still alive.
func (b *Backoff) Wait(ctx context.Context, recovered <-chan struct{}) bool {
	b.next = min(max(2*b.next, minBackoff), maxBackoff)
	if !Sleep(ctx, minBackoff, nil) {
		return false
	}
	return Sleep(ctx, b.next-minBackoff, recovered)
}

// Sleep waits for a time, or until a channel is closed. It reports whether ctx is still
// alive.
func Sleep(ctx context.Context, d time.Duration, until <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-until:
	}
	return true
}
