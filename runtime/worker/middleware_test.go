package worker_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/worker"
)

type tenantKey struct{}

// Middleware sees each attempt with its flow, step and attempt, the worker's outside
// of the flow's; handlers see what it puts into the context.
func TestMiddleware(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	var mu sync.Mutex
	var seen []string
	note := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, fmt.Sprintf(format, args...))
	}
	logging := func(name string) handler.Middleware {
		return func(ctx context.Context, task handler.Task, next func(context.Context) error) error {
			note("%s> %s.%s %d/%d", name, task.Flow, task.Step, task.Attempt, task.MaxAttempts)
			err := next(context.WithValue(ctx, tenantKey{}, name))
			note("<%s %v", name, err)
			return err
		}
	}
	flow := job[int, string]("work", atOnce)
	service := handler.Serve(flow.Definition(), []handler.Handler{handler.Handle("work", handler.Input[int](),
		func(ctx context.Context, n int) (string, error) {
			if task, _ := handler.TaskFromContext(ctx); task.Attempt == 1 {
				return "", errors.New("not yet")
			}
			return fmt.Sprint(ctx.Value(tenantKey{})), nil
		})}, handler.Use(logging("b")), handler.Use(logging("c")))
	pool := database(t, service)
	run(t, pool, worker.Config{Middleware: []handler.Middleware{logging("a")}}, service)
	out, err := flow.StartSync(ctx, pool, 1)
	require.NoError(t, err)
	require.Equal(t, "c", out)
	require.Equal(t, []string{
		"a> work.work 1/3", "b> work.work 1/3", "c> work.work 1/3", "<c not yet", "<b not yet", "<a not yet",
		"a> work.work 2/3", "b> work.work 2/3", "c> work.work 2/3", "<c <nil>", "<b <nil>", "<a <nil>",
	}, seen)
}

// What middleware makes of the result of a handler.
func TestMiddlewareOutcomes(t *testing.T) {
	t.Parallel()
	type next = func(context.Context) error
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		middleware handler.Middleware
		fails      int // how many attempts fail
		want       string
	}{
		"another error": {func(ctx context.Context, _ handler.Task, next next) error {
			return handler.Permanent(fmt.Errorf("translated: %w", next(ctx)))
		}, 9, "translated: broken"},
		"no success of a failure": {func(ctx context.Context, _ handler.Task, next next) error {
			_ = next(ctx)
			return nil
		}, 9, "broken"},
		"next not called": {func(context.Context, handler.Task, next) error { return nil }, 0, "did not call next"},
		"refused":         {func(context.Context, handler.Task, next) error { return errors.New("closed") }, 0, "closed"},
		"panic":           {func(context.Context, handler.Task, next) error { panic("oh") }, 0, "panic: oh\n\ngoroutine "},
		"called again":    {func(ctx context.Context, _ handler.Task, next next) error { _ = next(ctx); return next(ctx) }, 1, ""},
		"a shorter timeout": {func(ctx context.Context, _ handler.Task, next next) error {
			ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
			defer cancel()
			<-ctx.Done()
			return next(ctx)
		}, 0, "context deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			once := atOnce
			once.MaxAttempts = 1
			flow := job[int, string]("work", once)
			calls := 0
			service := serve(flow, func(ctx context.Context, _ int) (string, error) {
				if calls++; calls <= tt.fails {
					return "", broken
				}
				return "done", ctx.Err()
			})
			pool := database(t, service)
			run(t, pool, worker.Config{Middleware: []handler.Middleware{tt.middleware}}, service)
			out, err := flow.StartSync(ctx, pool, 1)
			if tt.want == "" {
				require.NoError(t, err)
				require.Equal(t, "done", out)
				return
			}
			require.Contains(t, failure(t, err).Message, tt.want)
		})
	}
}
