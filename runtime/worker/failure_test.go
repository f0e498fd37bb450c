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
	var tries atomic.Int64
	flow := job[int, int64]("flaky", atOnce)
	service := serve(flow, func(_ context.Context, succeedAt int) (int64, error) {
		if n := tries.Add(1); n < int64(succeedAt) {
			return 0, fmt.Errorf("try %d", n)
		}
		return tries.Load(), nil
	})
	pool := database(t, service)
	w := run(t, pool, worker.Config{}, service)
	out, err := flow.StartSync(ctx, pool, 3)
	require.NoError(t, err)
	require.EqualValues(t, 3, out)
	require.Contains(t, w.log.String(), `msg="task failed, will retry" flow=flaky`)

	tries.Store(0)
	_, err = flow.StartSync(ctx, pool, 4)
	failed := failure(t, err)
	require.Equal(t, "try 3", failed.Message, "three tries in all")
	require.EqualValues(t, 3, tries.Load())
	w.counted(worker.Stats{Claimed: 6, Completed: 1, Retried: 4, Failed: 1})
}

// An oddError does something when it is read.
type oddError func()

func (e oddError) Error() string { e(); return "odd" }

// A failed try does not fail a run whose step may be skipped.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	once := atOnce
	once.MaxAttempts = 1
	ended := make(chan struct{})
	t.Cleanup(func() { close(ended) })
	for name, tt := range map[string]struct {
		handler func(ctx context.Context) (json.RawMessage, error)
		options spec.Flow
		message string
		tries   int
	}{
		"permanent": {
			handler: func(context.Context) (json.RawMessage, error) {
				return nil, fmt.Errorf("wrapped: %w", handler.Permanent(errors.New("no")))
			},
			options: atOnce, message: "wrapped: no", tries: 1,
		},
		"panic": {
			handler: func(context.Context) (json.RawMessage, error) { panic("at the disco") },
			options: once, message: "panic: at the disco", tries: 1,
		},
		"an error that panics": {
			handler: func(context.Context) (json.RawMessage, error) {
				var none *handler.PermanentError
				return nil, none
			},
			options: once, message: "flowc: the handler returned a *handler.PermanentError that cannot be read: panic: runtime error: invalid memory address", tries: 1,
		},
		"goexit": {
			handler: func(context.Context) (json.RawMessage, error) { stdruntime.Goexit(); return nil, nil },
			options: once, message: "flowc: the handler called runtime.Goexit", tries: 1,
		},
		"an error that ends its goroutine": {
			handler: func(context.Context) (json.RawMessage, error) { return nil, oddError(stdruntime.Goexit) },
			options: once, message: "flowc: the handler called runtime.Goexit", tries: 1,
		},
		"an error that takes too long": {
			handler: func(context.Context) (json.RawMessage, error) { return nil, oddError(func() { <-ended }) },
			options: spec.Flow{MaxAttempts: 1, Timeout: time.Second}, message: "flowc: the attempt exceeded the step's timeout of 1s", tries: 1,
		},
		"a panic whose value ends its goroutine": {
			handler: func(context.Context) (json.RawMessage, error) { panic(oddError(stdruntime.Goexit)) },
			options: once, message: "flowc: the handler called runtime.Goexit", tries: 1,
		},
		"skip without leave": {
			handler: func(context.Context) (json.RawMessage, error) { return nil, handler.Skip("not today") },
			options: atOnce, message: "not today", tries: 1,
		},
		"NUL": {
			handler: func(context.Context) (json.RawMessage, error) { return json.RawMessage(`"\u0000"`), nil },
			options: atOnce, message: `flowc: output of step it: it contains the character \u0000`, tries: 1,
		},
		"a number bomb": {
			handler: func(context.Context) (json.RawMessage, error) { return json.RawMessage(`[1e131071]`), nil },
			options: atOnce, message: `flowc: output of step it: it contains numbers that are too long where they are written without exponents`, tries: 1,
		},
		"not JSON": {
			handler: func(context.Context) (json.RawMessage, error) { return json.RawMessage(`{`), nil },
			options: atOnce, message: `flowc: output of step it: json: error calling MarshalJSON`, tries: 1,
		},
		"unstorable": {
			handler: func(context.Context) (json.RawMessage, error) { return json.RawMessage(`"\ud800"`), nil },
			options: atOnce, message: "flowc: the output cannot be stored: ", tries: 1,
		},
		"an error that is no text": {
			handler: func(context.Context) (json.RawMessage, error) { return nil, errors.New("a\x00b\xff") },
			options: once, message: "a\\x00b\uFFFD", tries: 1,
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
				require.Contains(t, failed.Message, "failure_test.go:", "the stack says where")
			}
			require.Equal(t, tt.tries, count(t, pool, `SELECT attempts_count FROM pgflow.step_tasks`))
		})
	}
}

// An output that cannot be stored harms nobody else, although it is reported
// together with others.
func TestPoisonInABatch(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	const runs = 16
	var together = make(chan struct{})
	var arrived atomic.Int64
	flow := job[int, json.RawMessage]("maybe", atOnce)
	service := serve(flow, func(_ context.Context, n int) (json.RawMessage, error) {
		if arrived.Add(1) == runs {
			close(together)
		}
		<-together
		if n%4 == 3 {
			return json.RawMessage(`"\ud800"`), nil
		}
		return json.RawMessage(`"fine"`), nil
	})
	pool := database(t, service)
	var ins []int
	for n := range runs {
		ins = append(ins, n)
	}
	started, err := flow.StartMany(ctx, pool, ins)
	require.NoError(t, err)
	w := run(t, pool, worker.Config{Concurrency: runs}, service)
	for n, run := range started {
		out, err := run.Wait(ctx)
		if n%4 == 3 {
			require.Contains(t, failure(t, err).Message, "the output cannot be stored")
		} else {
			require.NoError(t, err)
			require.JSONEq(t, `"fine"`, string(out))
		}
	}
	w.counted(worker.Stats{Claimed: runs, Completed: 12, Failed: 4})
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
	info, err := runtime.GetRunWithStates(ctx, pool, started.ID())
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

// Both handlers overrun their timeout: one notices its context, the other never
// returns before the test ends. Each is reported, and neither stops the worker.
func TestTimeout(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	release := make(chan struct{})
	defer close(release)
	causes := make(chan error, 1)
	options := spec.Flow{MaxAttempts: 1, Timeout: time.Second}
	heeding, deaf, quick := job[int, int]("heeding", options), job[int, int]("deaf", options), job[int, int]("quick", options)
	services := []handler.Service{
		serve(heeding, func(ctx context.Context, _ int) (int, error) {
			<-ctx.Done()
			causes <- context.Cause(ctx)
			return 0, fmt.Errorf("asking the bank: %w", context.Cause(ctx))
		}),
		serve(deaf, func(context.Context, int) (int, error) { <-release; return 0, nil }),
		serve(quick, func(_ context.Context, n int) (int, error) { return n, nil }),
	}
	pool := database(t, services...)
	w := run(t, pool, worker.Config{Concurrency: 1, Grace: -1}, services...)
	_, err := heeding.StartSync(ctx, pool, 0)
	require.Equal(t, "flowc: the attempt exceeded the step's timeout of 1s: asking the bank: "+handler.ErrTaskTimeout.Error(), failure(t, err).Message)
	require.ErrorIs(t, receive(t, causes), handler.ErrTaskTimeout)

	_, err = deaf.StartSync(ctx, pool, 0)
	require.Equal(t, "flowc: the attempt exceeded the step's timeout of 1s", failure(t, err).Message)
	require.Contains(t, w.log.String(), "handler ignores its ended context")
	out, err := quick.StartSync(ctx, pool, 7)
	require.NoError(t, err, "the slot of the deaf handler is free")
	require.Equal(t, 7, out)
}

// When too many handlers are astray the worker stands still, and goes on when
// one of them returns.
func TestStraysAreLimited(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	release := make(chan struct{})
	options := spec.Flow{MaxAttempts: 1, Timeout: time.Second}
	deaf, quick := job[int, int]("deaf", options), job[int, int]("quick", options)
	services := []handler.Service{
		serve(deaf, func(context.Context, int) (int, error) { <-release; return 0, nil }),
		serve(quick, func(_ context.Context, n int) (int, error) { return n, nil }),
	}
	pool := database(t, services...)
	run(t, pool, worker.Config{Concurrency: 1}, services...)
	for range 2 {
		_, err := deaf.StartSync(ctx, pool, 0)
		failure(t, err)
	}
	waits, err := quick.Start(ctx, pool, 7)
	require.NoError(t, err)
	_, err = waits.Wait(ctx, runtime.WithTimeout(time.Second))
	require.ErrorIs(t, err, runtime.ErrTimeout)
	close(release)
	out, err := waits.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, 7, out)
}

// A run that ended otherwise takes its tasks from the worker.
func TestLostTask(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	began, causes := make(chan struct{}), make(chan error, 1)
	flow := job[int, int]("long", spec.Flow{})
	service := serve(flow, func(ctx context.Context, _ int) (int, error) {
		close(began)
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return 0, ctx.Err()
	})
	pool := database(t, service)
	w := run(t, pool, worker.Config{}, service)
	_, err := flow.Start(ctx, pool, 0)
	require.NoError(t, err)
	receive(t, began)
	_, err = flow.Delete(ctx, pool, runtime.AllowDataLoss())
	require.NoError(t, err)
	require.ErrorIs(t, receive(t, causes), handler.ErrTaskLost)
	eventually(t, func() bool { return w.Stats().Lost == 1 }, "the result is dropped")
}

// The context of a running handler ends when its run is cancelled, with its cause,
// and what it gives then is dropped. A retry does the task again.
func TestCancelledRunEndsItsHandlers(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	began, causes := make(chan struct{}, 2), make(chan error, 1)
	flow := job[int, string]("long", spec.Flow{})
	service := serve(flow, func(ctx context.Context, _ int) (string, error) {
		began <- struct{}{}
		if len(causes) == cap(causes) {
			return "again", nil
		}
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return "too late", nil
	})
	pool := database(t, service)
	w := run(t, pool, worker.Config{}, service)
	started, err := flow.Start(ctx, pool, 0)
	require.NoError(t, err)
	receive(t, began)
	require.NoError(t, runtime.CancelRun(ctx, pool, started.ID(), "enough"))
	eventually(t, func() bool { return w.Stats().Lost == 1 }, "the result is dropped")
	_, err = started.Wait(ctx)
	failed := failure(t, err)
	require.Equal(t, runtime.RunCancelled, failed.Status)
	require.Equal(t, "enough", failed.Message)
	require.NoError(t, runtime.RetryRun(ctx, pool, started.ID()))
	out, err := started.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, "again", out)
	require.ErrorIs(t, receive(t, causes), handler.ErrTaskLost)
}

// A worker whose heart stops loses its tasks to another, and its late report
// changes nothing.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := job[int, string]("work", spec.Flow{Timeout: time.Second})
	pool := database(t, serve(flow, func(context.Context, int) (string, error) { return "", nil }))

	// The first claims by hand and is then silent.
	_, err := pool.Exec(ctx, `SELECT flowc.register_worker('11111111-1111-1111-1111-111111111111', 'silent', '{work}')`)
	require.NoError(t, err)
	started, err := flow.Start(ctx, pool, 0)
	require.NoError(t, err)
	require.Equal(t, 1, count(t, pool, `SELECT count(*) FROM flowc.claim('11111111-1111-1111-1111-111111111111', '{work}', '{1}')`))

	var attempt atomic.Int64
	run(t, pool, worker.Config{}, serve(flow, func(ctx context.Context, _ int) (string, error) {
		task, _ := handler.TaskFromContext(ctx)
		attempt.Store(int64(task.Attempt))
		return "done", nil
	}))
	out, err := started.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, "done", out)
	require.EqualValues(t, 1, attempt.Load(), "what the dead worker had is not counted as a try")
	require.Equal(t, 1, count(t, pool, `SELECT requeued_count FROM pgflow.step_tasks`))
}
