package attempt

import (
	"sync"
	"time"
)

// ReturnTime is how long a handler may take to return after its context has ended. It is
// less than the two seconds by which a lease outlasts the step's timeout.
const ReturnTime = 500 * time.Millisecond

// A Completion decides who ends an attempt: its handler by returning, or the worker by
// abandoning it, when the handler does not return in time.
type Completion struct {
	mu        sync.Mutex
	began     time.Time // zero until the handler is called
	abandonAt time.Time
	done      bool
	keepsSlot bool // whether the slot stays taken until the handler returns
}

// Begin notes that the handler is about to be called, and returns the time.
func (c *Completion) Begin(ctx *Context) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.began = time.Now()
	c.abandonAt = ctx.deadline.Add(ReturnTime)
	if ctx.Cause() != nil {
		c.abandonAt = c.began.Add(ReturnTime)
	}
	return c.began
}

// Began returns when the handler was called.
func (c *Completion) Began() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.began
}

// Revoked notes that the handler's context has ended before its deadline.
func (c *Completion) Revoked() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.abandonAt = time.Now().Add(ReturnTime)
}

// Overdue reports whether the handler should have returned by now, but has not.
func (c *Completion) Overdue(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.began.IsZero() && !c.done && now.After(c.abandonAt)
}

// Return notes that the handler returned. It reports whether that ended the attempt. If
// not, the attempt was abandoned before, and freesSlot reports whether the handler's
// return frees the slot.
func (c *Completion) Return() (ended, freesSlot bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ended = !c.done
	c.done = true
	return ended, c.keepsSlot
}

// Resume notes that the handler is called again, after a return that ended the attempt.
func (c *Completion) Resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done = false
}

// Abandon ends the attempt although its handler is still running, and reports whether it
// did. keep is called if so, and its answer returned: whether the slot stays taken until
// the handler returns.
func (c *Completion) Abandon(keep func() bool) (ended, keepsSlot bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done {
		return false, false
	}
	c.done, c.keepsSlot = true, keep()
	return true, c.keepsSlot
}
