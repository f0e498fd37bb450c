package attempt

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/handler"
)

// The real context is created only when something asks for it. Whatever asks first, it is
// like one that was there from the beginning.
func TestContext(t *testing.T) {
	t.Parallel()
	type key struct{}
	values := context.WithValue(context.Background(), key{}, "value")
	in := func(d time.Duration) *Context {
		return NewContext(values, handler.Task{Flow: "flow"}, time.Now().Add(d))
	}

	t.Run("not created unless asked for", func(t *testing.T) {
		c := in(time.Hour)
		task, ok := handler.TaskFromContext(c)
		require.True(t, ok)
		require.Equal(t, "flow", task.Flow)
		require.Equal(t, "value", c.Value(key{}))
		_, limited := c.Deadline()
		require.True(t, limited)
		require.NoError(t, c.Cause())
		c.End()
		require.Nil(t, c.ctx)
		require.ErrorIs(t, c.Err(), context.Canceled, "whoever still has it finds it ended")
		require.ErrorIs(t, context.Cause(c), context.Canceled)
	})
	t.Run("deadline", func(t *testing.T) {
		for _, c := range []*Context{in(-time.Second), in(time.Millisecond)} {
			<-c.Done()
			require.Equal(t, context.DeadlineExceeded, c.Err())
			require.Equal(t, handler.ErrTaskTimeout, context.Cause(c))
			require.Equal(t, handler.ErrTaskTimeout, c.Cause())
		}
		require.Equal(t, handler.ErrTaskTimeout, in(-time.Second).Cause(), "nobody asked before")
	})
	t.Run("revoked", func(t *testing.T) {
		for _, ask := range []func(*Context){func(*Context) {}, func(c *Context) { c.Done() }} {
			c := in(time.Hour)
			ask(c)
			c.Revoke(handler.ErrTaskLost)
			<-c.Done()
			require.Equal(t, context.Canceled, c.Err())
			require.Equal(t, handler.ErrTaskLost, context.Cause(c))
			require.Equal(t, handler.ErrTaskLost, c.Cause())
			c.End()
			require.Equal(t, handler.ErrTaskLost, context.Cause(c), "the first cause stays")
		}
	})
	t.Run("contexts made from it", func(t *testing.T) {
		c := in(20 * time.Millisecond)
		named := context.WithValue(c, key{}, "other")
		later, cancel := context.WithTimeout(named, time.Hour)
		defer cancel()
		own, cancelOwn := context.WithCancelCause(c)
		errOwn := errors.New("own")
		cancelOwn(errOwn)
		called := make(chan struct{})
		context.AfterFunc(later, func() { close(called) })
		<-called
		require.Equal(t, context.DeadlineExceeded, later.Err())
		require.Equal(t, handler.ErrTaskTimeout, context.Cause(later))
		require.Equal(t, errOwn, context.Cause(own))
		_, ok := handler.TaskFromContext(later)
		require.True(t, ok)
		require.NoError(t, context.WithoutCancel(c).Err())
		require.NoError(t, context.Cause(context.WithoutCancel(c)))
	})
}
