package attempt

import (
	"context"
	"sync"
	"time"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/carried"
)

// A Context is the context that a handler gets. It ends with the attempt, at its
// deadline, or when it is revoked. A real cancellable context costs more than most of
// what a worker does for an attempt, so it is created only when something asks for it.
type Context struct {
	values   context.Context // carries the task and never ends
	deadline time.Time
	carried  carried.Value

	mu     sync.Mutex
	ctx    context.Context // nil until something asks for it
	cancel context.CancelCauseFunc
	stop   context.CancelFunc // of the deadline
	done   bool               // whether the attempt has ended
}

var _ context.Context = (*Context)(nil)

// NewContext returns the context of an attempt at a task.
func NewContext(ctx context.Context, task handler.Task, deadline time.Time) *Context {
	return &Context{values: handler.WithTask(ctx, task), deadline: deadline}
}

// Carried returns what the attempt has from the one before and leaves for the next.
func (c *Context) Carried() *carried.Value { return &c.carried }

// inner returns the real context, which it creates when it is first called.
func (c *Context) inner() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil {
		c.ctx, c.cancel = context.WithCancelCause(c.values)
		c.ctx, c.stop = context.WithDeadlineCause(c.ctx, c.deadline, handler.ErrTaskTimeout)
		if c.done {
			c.stop()
		}
	}
	return c.ctx
}

// Deadline returns the attempt's deadline.
func (c *Context) Deadline() (time.Time, bool) { return c.deadline, true }

// Done returns a channel that is closed when the context ends.
func (c *Context) Done() <-chan struct{} { return c.inner().Done() }

// Err returns why the context ended, nil if it has not.
func (c *Context) Err() error { return c.inner().Err() }

// Value returns a value of the context. It asks the real one only if it must: there the
// context package finds what it needs to cancel contexts derived from this one.
func (c *Context) Value(key any) any {
	if key == (carried.Key{}) {
		return &c.carried
	}
	if v := c.values.Value(key); v != nil {
		return v
	}
	return c.inner().Value(key)
}

// Cause returns the cause of the context's end, nil if it has not ended. It does not
// create the real context, as context.Cause would.
func (c *Context) Cause() error {
	c.mu.Lock()
	live := c.ctx == nil && !c.done && time.Now().Before(c.deadline)
	c.mu.Unlock()
	if live {
		return nil
	}
	return context.Cause(c.inner())
}

// Revoke ends the context while the handler may still be running.
func (c *Context) Revoke(cause error) {
	c.inner()
	c.cancel(cause)
}

// End ends the context of an attempt that has ended.
func (c *Context) End() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done = true
	if c.ctx != nil {
		c.stop()
	}
}
