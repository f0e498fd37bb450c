package worker_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

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

// When too many handlers are stuck the worker stops working, and goes on when
// one of them returns.
func TestStuckHandlersAreLimited(t *testing.T) {
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

// Handlers that never return are a reason to start the process again, when they
// have become too many.
func TestHealthOfAWorkerWithStuckHandlers(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	release := make(chan struct{})
	deaf := job[int, int]("deaf", spec.Flow{MaxAttempts: 1, Timeout: time.Second})
	service := serve(deaf, func(context.Context, int) (int, error) { <-release; return 0, nil })
	pool := database(t, service)
	w := run(t, pool, worker.Config{Concurrency: 1}, service)
	for range 2 {
		require.NoError(t, w.Health().Live())
		_, err := deaf.StartSync(ctx, pool, 0)
		failure(t, err)
	}
	eventually(t, func() bool { return w.Health().Live() != nil }, "it stops working")
	require.ErrorContains(t, w.Health().Ready(), "no free slots, 2 handlers ignore their ended contexts")
	close(release)
	eventually(t, func() bool { return w.Health().Ready() == nil }, "it goes on")
}
