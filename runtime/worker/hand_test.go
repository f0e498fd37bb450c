package worker

import (
	"context"
	"testing"
	"time"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/stretchr/testify/require"
)

// Where each flow has a queue of its own, their messages have the same ids.
func TestHandKnowsFlowsApart(t *testing.T) {
	t.Parallel()
	h := newHand()
	take := func(flow string, claim int32) *task {
		task := &task{claimed: claimed{Flow: flow, MessageID: 1, ClaimNumber: claim}}
		task.ctx = newTryContext(context.Background(), handler.Task{}, time.Now().Add(time.Hour))
		h.add(task)
		return task
	}
	one, other := take("one", 1), take("other", 1)
	require.NoError(t, one.ctx.Err())
	require.Len(t, h.all(), 2)
	again := take("one", 2)
	require.ErrorIs(t, context.Cause(one.ctx), handler.ErrTaskLost, "it was taken over, by this very worker")
	require.NoError(t, other.ctx.Err())
	h.remove(one)
	require.Len(t, h.all(), 2, "what took its place stays")
	h.remove(again)
	require.Equal(t, []*task{other}, h.all())
}
