package worker

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/worker/internal/backend"
)

// Where each flow has a queue of its own, their messages have the same ids.
func TestInflightTellsFlowsApart(t *testing.T) {
	t.Parallel()
	f := newInflight()
	add := func(flow string, claim int32) *task {
		task := newTask(context.Background(), &backend.Claimed{Flow: flow, MessageID: 1, ClaimNumber: claim}, step{}, time.Now().Add(time.Hour))
		f.add(task)
		return task
	}
	one, other := add("one", 1), add("other", 1)
	require.NoError(t, one.ctx.Err())
	require.Len(t, f.all(), 2)
	again := add("one", 2)
	require.ErrorIs(t, context.Cause(one.ctx), handler.ErrTaskLost, "this very worker reclaimed it")
	require.NoError(t, other.ctx.Err())
	f.remove(one)
	require.Len(t, f.all(), 2, "what took its place stays")
	f.remove(again)
	require.Equal(t, []*task{other}, f.all())
}
