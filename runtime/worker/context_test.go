package worker

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/stretchr/testify/require"
)

// The context of a try is made only when it is asked for. Whatever asks first, it is
// like one that was there from the beginning.
func TestTryContext(t *testing.T) {
	t.Parallel()
	type key struct{}
	values := context.WithValue(context.Background(), key{}, "value")
	in := func(d time.Duration) *tryContext {
		return newTryContext(values, handler.Task{Flow: "flow"}, time.Now().Add(d))
	}

	t.Run("what nobody asks for is not made", func(t *testing.T) {
		c := in(time.Hour)
		task, ok := handler.TaskFromContext(c)
		require.True(t, ok)
		require.Equal(t, "flow", task.Flow)
		require.Equal(t, "value", c.Value(key{}))
		_, limited := c.Deadline()
		require.True(t, limited)
		require.NoError(t, c.cause())
		c.end()
		require.Nil(t, c.inner)
		require.ErrorIs(t, c.Err(), context.Canceled, "whoever still has it finds it ended")
		require.ErrorIs(t, context.Cause(c), context.Canceled)
	})
	t.Run("deadline", func(t *testing.T) {
		for _, c := range []*tryContext{in(-time.Second), in(time.Millisecond)} {
			<-c.Done()
			require.Equal(t, context.DeadlineExceeded, c.Err())
			require.Equal(t, handler.ErrTaskTimeout, context.Cause(c))
			require.Equal(t, handler.ErrTaskTimeout, c.cause())
		}
		require.Equal(t, handler.ErrTaskTimeout, in(-time.Second).cause(), "nobody asked before")
	})
	t.Run("revoked", func(t *testing.T) {
		for _, ask := range []func(*tryContext){func(*tryContext) {}, func(c *tryContext) { c.Done() }} {
			c := in(time.Hour)
			ask(c)
			c.revoke(handler.ErrTaskLost)
			<-c.Done()
			require.Equal(t, context.Canceled, c.Err())
			require.Equal(t, handler.ErrTaskLost, context.Cause(c))
			require.Equal(t, handler.ErrTaskLost, c.cause())
			c.end()
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
