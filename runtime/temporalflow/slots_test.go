package temporalflow

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A queue has as many slots as its limits allow; besides those of running handlers it has
// two at a time, so that the pollers of one queue do not keep others from polling.
func TestQueueSlots(t *testing.T) {
	t.Parallel()
	all := make(chan struct{}, 1)
	q := newQueueSlots(4, all)
	reserve := func() bool { ok, _ := q.reserve(); return ok }
	require.True(t, reserve())
	require.True(t, reserve())
	require.False(t, reserve(), "two polls are enough")
	q.change(0, 1) // a task has come, and its handler runs
	require.True(t, reserve())
	require.False(t, reserve())
	q.change(0, 1)
	q.change(0, 1)
	require.True(t, reserve())
	require.False(t, reserve(), "the limit")
	q.change(0, 1)
	require.False(t, reserve(), "the limit")

	waited := make(chan error)
	go func() {
		_, err := q.ReserveSlot(t.Context(), nil)
		waited <- err
	}()
	q.change(0, -1)
	q.ReleaseSlot(nil)
	require.NoError(t, <-waited)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := q.ReserveSlot(ended, nil)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 4, q.MaxSlots())

	q = newQueueSlots(4, all)
	for range 3 {
		require.NotNil(t, q.TryReserveSlot(nil), "a task without a poll")
	}
	all <- struct{}{}
	require.Nil(t, q.TryReserveSlot(nil), "no handler could be called")
	<-all
	require.NotNil(t, q.TryReserveSlot(nil))
	require.Nil(t, q.TryReserveSlot(nil), "the limit")
}

// The handlers of all flows of a worker share its slots, those of a flow and of a step
// their limits.
func TestSlots(t *testing.T) {
	t.Parallel()
	serve := func(slug string, opts ...handler.ServeOption) handler.Service {
		none := func(context.Context, handler.Values) (any, error) { return nil, nil }
		return handler.Serve(spec.Flow{Slug: slug, Steps: []spec.Step{{Slug: "a"}, {Slug: "b"}, {Slug: "c"}}},
			[]handler.Handler{handler.HandleValues("a", none), handler.HandleValues("b", none), handler.HandleValues("c", none)}, opts...)
	}
	w, err := NewWorker(New(nil, "ns"), Config{Concurrency: 4, Logger: quiet},
		serve("f", handler.Limit(2), handler.Limit(1, "b"), handler.Without("c")), serve("g"))
	require.NoError(t, err)
	f, g := w.flows[0], w.flows[1]
	require.Equal(t, []string{"b", "c"}, f.own, "they need queues of their own")
	require.Empty(t, g.own)
	require.Equal(t, []int{2, 1, 4}, []int{f.most("a"), f.most("b"), g.most("a")})
	require.Nil(t, f.executor("c"))
	require.True(t, f.needs("c"))

	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	var mu sync.Mutex
	var releases []func()
	take := func(x *executor, ok bool) {
		t.Helper()
		ctx := cancelled
		if ok {
			ctx = t.Context()
		}
		release, taken := x.slots.take(ctx, nil)
		require.Equal(t, ok, taken)
		if taken {
			mu.Lock()
			releases = append(releases, release)
			mu.Unlock()
		}
	}
	take(f.executor("b"), true)
	take(f.executor("b"), false) // of the step
	take(f.executor("a"), true)
	take(f.executor("a"), false) // of the flow
	take(g.executor("a"), true)
	take(g.executor("b"), true)
	take(g.executor("c"), false) // of the worker
	releases[0]()
	take(g.executor("c"), true)
	take(f.executor("b"), false)
	releases[1]()
	take(f.executor("b"), true)
}

func TestNewWorker(t *testing.T) {
	t.Parallel()
	step := handler.HandleValues("a", func(context.Context, handler.Values) (any, error) { return nil, nil })
	other := handler.HandleValues("z", func(context.Context, handler.Values) (any, error) { return nil, nil })
	flow := spec.Flow{Slug: "f", Steps: []spec.Step{{Slug: "a"}}}
	db := New(nil, "ns")
	for want, services := range map[string][]handler.Service{
		"no services":                      nil,
		"flow f is served twice":           {handler.Serve(flow, []handler.Handler{step}), handler.Serve(flow, []handler.Handler{step})},
		"flow f has no handlers":           {handler.Serve(flow, nil)},
		`a handler for step "z"`:           {handler.Serve(flow, []handler.Handler{other})},
		"two handlers for step a":          {handler.Serve(flow, []handler.Handler{step, step})},
		`flow "f" is not valid: it has no`: {handler.Serve(spec.Flow{Slug: "f"}, nil)},
	} {
		_, err := NewWorker(db, Config{}, services...)
		require.ErrorContains(t, err, want)
	}
	_, err := NewWorker(nil, Config{Concurrency: -1}, handler.Serve(flow, []handler.Handler{step}))
	require.ErrorContains(t, err, "the DB is nil")
	require.ErrorContains(t, err, "Concurrency is -1")
}
