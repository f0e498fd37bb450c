package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	stdruntime "runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/dsl"
	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// atOnce makes retries wait for nothing.
var atOnce = spec.Flow{BaseDelay: spec.Set(time.Duration(0))}

func TestRetries(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	var attempts atomic.Int64
	flow := job[int, int64]("flaky", atOnce)
	service := serve(flow, func(_ context.Context, succeedAt int) (int64, error) {
		if n := attempts.Add(1); n < int64(succeedAt) {
			return 0, fmt.Errorf("attempt %d", n)
		}
		return attempts.Load(), nil
	})
	pool := database(t, service)
	w := run(t, pool, worker.Config{}, service)
	out, err := flow.StartSync(ctx, pool, 3)
	require.NoError(t, err)
	require.EqualValues(t, 3, out)
	require.Contains(t, w.log.String(), `msg="task failed, will retry" flow=flaky`)

	attempts.Store(0)
	_, err = flow.StartSync(ctx, pool, 4)
	failed := failure(t, err)
	require.Equal(t, "attempt 3", failed.Message, "three attempts in all")
	require.EqualValues(t, 3, attempts.Load())
	w.counted(worker.Stats{Claimed: 6, Completed: 1, Retried: 4, Failed: 1})
}

// An oddError does something when it is read.
type oddError func()

func (e oddError) Error() string { e(); return "odd" }

// A failed attempt does not fail a run whose step may be skipped.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	once := atOnce
	once.MaxAttempts = 1
	ended := make(chan struct{})
	t.Cleanup(func() { close(ended) })
	for name, tt := range map[string]struct {
		handler  func(ctx context.Context) (json.RawMessage, error)
		options  spec.Flow
		message  string
		attempts int
	}{
		"permanent": {
			handler: func(context.Context) (json.RawMessage, error) {
				return nil, fmt.Errorf("wrapped: %w", handler.Permanent(errors.New("no")))
			},
			options: atOnce, message: "wrapped: no", attempts: 1,
		},
		"panic": {
			handler: func(context.Context) (json.RawMessage, error) { panic("at the disco") },
			options: once, message: "panic: at the disco", attempts: 1,
		},
		"an error that panics": {
			handler: func(context.Context) (json.RawMessage, error) {
				var none *handler.PermanentError
				return nil, none
			},
			options: once, message: "flowc: the handler returned a *handler.PermanentError that cannot be read: panic: runtime error: invalid memory address", attempts: 1,
		},
		"goexit": {
			handler: func(context.Context) (json.RawMessage, error) { stdruntime.Goexit(); return nil, nil },
			options: once, message: "flowc: the handler called runtime.Goexit", attempts: 1,
		},
		"an error that ends its goroutine": {
			handler: func(context.Context) (json.RawMessage, error) { return nil, oddError(stdruntime.Goexit) },
			options: once, message: "flowc: the handler called runtime.Goexit", attempts: 1,
		},
		"an error that takes too long": {
			handler: func(context.Context) (json.RawMessage, error) { return nil, oddError(func() { <-ended }) },
			options: spec.Flow{MaxAttempts: 1, Timeout: time.Second}, message: "flowc: the attempt exceeded the step's timeout of 1s", attempts: 1,
		},
		"a panic whose value ends its goroutine": {
			handler: func(context.Context) (json.RawMessage, error) { panic(oddError(stdruntime.Goexit)) },
			options: once, message: "flowc: the handler called runtime.Goexit", attempts: 1,
		},
		"skip without leave": {
			handler: func(context.Context) (json.RawMessage, error) { return nil, handler.Skip("not today") },
			options: atOnce, message: "not today", attempts: 1,
		},
		"NUL": {
			handler: func(context.Context) (json.RawMessage, error) { return json.RawMessage(`"\u0000"`), nil },
			options: atOnce, message: `flowc: output of step it: it contains the character \u0000`, attempts: 1,
		},
		"a number bomb": {
			handler: func(context.Context) (json.RawMessage, error) { return json.RawMessage(`[1e131071]`), nil },
			options: atOnce, message: `flowc: output of step it: it contains numbers that are too long where they are written without exponents`, attempts: 1,
		},
		"not JSON": {
			handler: func(context.Context) (json.RawMessage, error) { return json.RawMessage(`{`), nil },
			options: atOnce, message: `flowc: output of step it: json: error calling MarshalJSON`, attempts: 1,
		},
		"unstorable": {
			handler: func(context.Context) (json.RawMessage, error) { return json.RawMessage(`"\ud800"`), nil },
			options: atOnce, message: "flowc: the output cannot be stored: ", attempts: 1,
		},
		"an error that is no text": {
			handler: func(context.Context) (json.RawMessage, error) { return nil, errors.New("a\x00b\xff") },
			options: once, message: "a\\x00b\uFFFD", attempts: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			flow := job[dsl.None, json.RawMessage]("it", tt.options)
			service := handler.Serve(flow.Definition(), []handler.Handler{
				handler.Handle("it", handler.Nothing(), handler.NoInput(tt.handler)),
			})
			pool := database(t, service)
			run(t, pool, worker.Config{}, service)
			started, err := flow.Start(ctx, pool, dsl.None{})
			require.NoError(t, err)
			_, err = started.Wait(ctx)
			failed := failure(t, err)
			require.Contains(t, failed.Message, tt.message)
			if name == "panic" {
				require.Contains(t, failed.Message, "outcomes_test.go:", "the stack says where")
			}
			require.Equal(t, tt.attempts, count(t, pool, `SELECT attempts_count FROM pgflow.step_tasks`))
		})
	}
}

func TestSkip(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := runtime.NewFlow[dsl.None](spec.Flow{Slug: "gift",
		Steps: []spec.Step{
			{Slug: "wrap", WhenExhausted: spec.ModeSkip},
			{Slug: "send", Deps: []string{"wrap"}},
		},
	}, handler.Output[string]("send"))
	service := handler.Serve(flow.Definition(), []handler.Handler{
		handler.Handle("wrap", handler.Nothing(), handler.NoInput(func(context.Context) (string, error) {
			return "", handler.Skip("no paper")
		})),
		handler.Handle("send", handler.Output[*string]("wrap"), func(_ context.Context, paper *string) (string, error) {
			return fmt.Sprint("paper: ", paper), nil
		}),
	})
	pool := database(t, service)
	run(t, pool, worker.Config{}, service)
	started, err := flow.Start(ctx, pool, dsl.None{})
	require.NoError(t, err)
	out, err := started.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, "paper: <nil>", out)
	info, err := runtime.GetRun(ctx, pool, started.ID(), runtime.WithStates())
	require.NoError(t, err)
	require.Equal(t, runtime.StepSkipped, info.States[0].Status)
	require.Equal(t, "no paper", info.States[0].Error)
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	var first atomic.Int64
	flow := job[dsl.None, time.Duration]("later", spec.Flow{BaseDelay: spec.Set(time.Hour)})
	service := handler.Serve(flow.Definition(), []handler.Handler{
		handler.Handle("later", handler.Nothing(), handler.NoInput(func(context.Context) (time.Duration, error) {
			if first.CompareAndSwap(0, time.Now().UnixNano()) {
				return 0, handler.RetryAfter(300*time.Millisecond, errors.New("busy"))
			}
			return time.Since(time.Unix(0, first.Load())), nil
		})),
	})
	pool := database(t, service)
	run(t, pool, worker.Config{}, service)
	waited, err := flow.StartSync(ctx, pool, dsl.None{})
	require.NoError(t, err)
	require.GreaterOrEqual(t, waited, 300*time.Millisecond, "and not the hour of the flow")
}
