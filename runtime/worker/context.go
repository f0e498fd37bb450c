package worker

import (
	"context"
	"sync"
	"time"

	"github.com/flowc-dev/flowc/runtime/handler"
)

// A tryContext is the context of a try. It ends with the try, at its deadline, or
// when somebody cancels it; what the context package needs for that costs more than
// most else that a worker does for a try, so it is made when it is first asked for.
type tryContext struct {
	values   context.Context // which has the task and never ends
	deadline time.Time

	mu     sync.Mutex
	inner  context.Context // nil until it is asked for
	cancel context.CancelCauseFunc
	stop   context.CancelFunc // of the deadline
	over   bool               // whether the try is over
}

var _ context.Context = (*tryContext)(nil)

func newTryContext(ctx context.Context, task handler.Task, deadline time.Time) *tryContext {
	return &tryContext{values: handler.WithTask(ctx, task), deadline: deadline}
}

// made is the context that this one stands for.
func (c *tryContext) made() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inner == nil {
		c.inner, c.cancel = context.WithCancelCause(c.values)
		c.inner, c.stop = context.WithDeadlineCause(c.inner, c.deadline, handler.ErrTaskTimeout)
		if c.over {
			c.stop()
		}
	}
	return c.inner
}

func (c *tryContext) Deadline() (time.Time, bool) { return c.deadline, true }
func (c *tryContext) Done() <-chan struct{}       { return c.made().Done() }
func (c *tryContext) Err() error                  { return c.made().Err() }

// Value looks into what was made only if it has to: there the context package finds
// what it needs to have contexts end that are made from this one.
func (c *tryContext) Value(key any) any {
	if v := c.values.Value(key); v != nil {
		return v
	}
	return c.made().Value(key)
}

// cause says why the context ended, nil if it goes on.
func (c *tryContext) cause() error {
	c.mu.Lock()
	goesOn := c.inner == nil && !c.over && time.Now().Before(c.deadline)
	c.mu.Unlock()
	if goesOn {
		return nil
	}
	return context.Cause(c.made())
}

// revoke ends the context while its try goes on.
func (c *tryContext) revoke(cause error) {
	c.made()
	c.cancel(cause)
}

// end ends the context of a try that is over.
func (c *tryContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.inner != nil {
		c.stop()
	}
}
