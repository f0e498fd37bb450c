package temporalflow

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A noter is a tracer that notes what it observes of one flow.
type noter struct {
	flow string
	mu   sync.Mutex
	seen []string
}

func (n *noter) note(flow, what string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if flow == n.flow {
		if err != nil {
			what += " failed"
		}
		n.seen = append(n.seen, what)
	}
}

func (n *noter) Start(ctx context.Context, flow string, ids []string) (context.Context, map[string]string, func(error)) {
	n.note(flow, "start", nil)
	return ctx, map[string]string{"traceparent": "00-" + ids[0]}, func(err error) { n.note(flow, "started", err) }
}

func (n *noter) Wait(ctx context.Context, flow, _ string) (context.Context, func(error)) {
	n.note(flow, "wait", nil)
	return ctx, func(err error) { n.note(flow, "waited", err) }
}

// The hooks of tracers are those of PostgreSQL: starts, waits, and the headers that tasks
// of all steps and elements carry, so that middleware connects their spans.
func TestTracer(t *testing.T) {
	n := &noter{flow: "traced"}
	runtime.SetTracer(n)
	defer runtime.SetTracer(nil)
	var mu sync.Mutex
	headers := map[string]int{}
	var names []string
	note := func(ctx context.Context, _ handler.Values) (any, error) {
		task, _ := handler.TaskFromContext(ctx)
		mu.Lock()
		defer mu.Unlock()
		headers[task.Headers["traceparent"]+" "+task.Headers["tenant"]]++
		return []int{1, 2}, nil
	}
	db := newMemoryDB(handler.Serve(spec.Flow{Slug: "traced", Steps: []spec.Step{{Slug: "a"}, {Slug: "m", Type: spec.TypeMap, Deps: []string{"a"}}}},
		[]handler.Handler{handler.HandleValues("a", note), handler.HandleValues("m", note)},
		handler.Use(func(ctx context.Context, task handler.Task, next func(context.Context) error) error {
			mu.Lock()
			names = append(names, task.Step+task.Headers["traceparent"][:3])
			mu.Unlock()
			return next(ctx)
		})))
	run := start(t, db, "traced", 1, runtime.WithHeaders(map[string]string{"tenant": "7"}))
	_, err := run.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string]int{"00-" + run.ID() + " 7": 3}, headers)
	require.ElementsMatch(t, []string{"a00-", "m00-", "m00-"}, names)
	require.Equal(t, []string{"start", "started", "wait", "waited"}, n.seen)
}
