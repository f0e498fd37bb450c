package worker_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// A call is a task of a tenant.
type call struct {
	Tenant string `json:"tenant"`
	N      int    `json:"n"`
}

// gated is a flow of one step with limits, by tenant.
func gated(slug string, step spec.Step) *runtime.Flow[call, int] {
	step.Slug, step.Key = slug, spec.Path{"run", "tenant"}
	return runtime.NewFlow[call](spec.Flow{Slug: slug, BaseDelay: spec.Set(time.Duration(0)), Steps: []spec.Step{step}}, handler.Output[int](slug))
}

// calls returns n calls of each of some tenants.
func calls(n int, tenants ...string) (all []call) {
	for _, tenant := range tenants {
		for i := range n {
			all = append(all, call{tenant, i})
		}
	}
	return all
}

// sound checks that nothing is left of gates.
func sound(t *testing.T, flow string, db runtime.DB) {
	t.Helper()
	eventually(t, func() bool {
		gates, err := ops.ListGates(context.Background(), db, ops.GateFilter{Flow: flow})
		require.NoError(t, err)
		for _, g := range gates {
			if g.InFlight != 0 || g.Waiting != 0 {
				return false
			}
		}
		return true
	}, "everything has left the gates")
}

// Limits hold over all workers, whatever becomes of tasks, and every tenant gets its turn.
func TestGates(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	g := newGauge()
	flow := gated("gate", spec.Step{Concurrency: 2, MaxAttempts: 3})
	var attempts atomic.Int64
	second := map[string]chan struct{}{"a": make(chan struct{}), "b": make(chan struct{}), "c": make(chan struct{})}
	firsts := map[string]*atomic.Int64{"a": {}, "b": {}, "c": {}}
	service := serve(flow, func(ctx context.Context, c call) (int, error) {
		defer g.enter(c.Tenant)()
		switch firsts[c.Tenant].Add(1) { // the first with a key ends only when there is a second
		case 1:
			select {
			case <-second[c.Tenant]:
			case <-ctx.Done():
			}
		case 2:
			close(second[c.Tenant])
		}
		time.Sleep(2 * time.Millisecond) // work
		if attempts.Add(1)%7 == 0 {
			return 0, errors.New("now and then it fails")
		}
		return c.N, nil
	})
	free := job[int, int]("free", spec.Flow{})
	other := serve(free, func(_ context.Context, n int) (int, error) { return n, nil })
	pool := database(t, service, other)
	started, err := flow.StartMany(ctx, pool, calls(40, "a", "b", "c"))
	require.NoError(t, err)
	_, err = free.StartMany(ctx, pool, make([]int, 40))
	require.NoError(t, err)
	for range 3 {
		run(t, pool, worker.Config{Concurrency: 8}, service, other)
	}
	for _, r := range started {
		_, err := r.Wait(ctx)
		require.NoError(t, ignoreFailure(err))
	}
	require.Equal(t, map[string]int{"a": 2, "b": 2, "c": 2}, g.mosts())
	sound(t, "gate", pool)
}

// ignoreFailure returns errors other than that a run failed.
func ignoreFailure(err error) error {
	var failed *runtime.RunFailedError
	if errors.As(err, &failed) {
		return nil
	}
	return err
}

// A worker that polls seldom starts the next task with a key as soon as one has ended.
func TestGatesPassAtOnce(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := gated("chain", spec.Step{Concurrency: 1})
	service := serve(flow, func(_ context.Context, c call) (int, error) { return c.N, nil })
	pool := database(t, service)
	run(t, pool, worker.Config{}, service)
	run(t, pool, worker.Config{}, service)
	const n = 200
	began := time.Now()
	started, err := flow.StartMany(ctx, pool, calls(n, "a"))
	require.NoError(t, err)
	for _, r := range started {
		_, err := r.Wait(ctx)
		require.NoError(t, err)
	}
	t.Logf("%d tasks one after the other took %s", n, time.Since(began))
	sound(t, "chain", pool)
}

// While a key is held off nothing with it begins, and others go on.
func TestHoldOff(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := gated("api", spec.Step{Concurrency: 5, MaxAttempts: 3})
	var calmAt atomic.Int64
	var early, asked atomic.Int64
	service := serve(flow, func(_ context.Context, c call) (int, error) {
		switch now := time.Now().UnixNano(); {
		case c.Tenant == "b":
		case calmAt.Load() == 0:
			calmAt.CompareAndSwap(0, now+int64(time.Second))
			asked.Add(1)
			return 0, handler.HoldOff(time.Second, errors.New("429"))
		case now < calmAt.Load()-int64(100*time.Millisecond):
			early.Add(1)
		}
		return c.N, nil
	})
	pool := database(t, service)
	first, err := flow.Start(ctx, pool, call{"a", 0})
	require.NoError(t, err)
	run(t, pool, worker.Config{}, service)
	eventually(t, func() bool {
		gates, err := ops.ListGates(ctx, pool, ops.GateFilter{})
		require.NoError(t, err)
		return len(gates) == 1 && !gates[0].HeldUntil.IsZero()
	}, "the key is held off")
	others, err := flow.StartMany(ctx, pool, calls(5, "a", "b"))
	require.NoError(t, err)
	_, err = others[9].Wait(ctx)
	require.NoError(t, err)
	for _, r := range append(others, first) {
		_, err := r.Wait(ctx)
		require.NoError(t, err)
	}
	require.Zero(t, early.Load(), "attempts with the key that began too early")
	require.EqualValues(t, 1, asked.Load())
	sound(t, "api", pool)
}

// A task that was cancelled keeps its place until its handler has returned.
func TestGatesAndCancels(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	g := newGauge()
	flow := gated("cancel", spec.Step{Concurrency: 1})
	began := make(chan int, 10)
	service := serve(flow, func(ctx context.Context, c call) (int, error) {
		defer g.enter(c.Tenant)()
		began <- c.N
		if c.N == 0 {
			<-ctx.Done()
			time.Sleep(300 * time.Millisecond) // it takes a while to notice
		}
		return c.N, nil
	})
	pool := database(t, service)
	first, err := flow.Start(ctx, pool, call{"a", 0})
	require.NoError(t, err)
	run(t, pool, worker.Config{}, service)
	require.Equal(t, 0, receive(t, began))
	second, err := flow.Start(ctx, pool, call{"a", 1})
	require.NoError(t, err)
	require.NoError(t, runtime.CancelRun(ctx, pool, first.ID(), ""))
	out, err := second.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, 1, out)
	require.Equal(t, map[string]int{"a": 1}, g.mosts())
	sound(t, "cancel", pool)
}

// A program that has a gate finds its tasks in a database that does not know of it, and the
// other way round.
func TestGatesOfOneSideOnly(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := gated("sides", spec.Step{Concurrency: 2})
	plain := flow.Definition()
	plain.Steps = []spec.Step{{Slug: "sides"}}
	work := func(_ context.Context, c call) (int, error) { return c.N, nil }
	pool := database(t, handler.Serve(plain, nil))
	run(t, pool, worker.Config{}, serve(flow, work))
	started, err := flow.StartMany(ctx, pool, calls(20, "a", "b"))
	require.NoError(t, err)
	_, err = runtime.UpsertFlow(ctx, pool, flow.Definition())
	require.NoError(t, err)
	more, err := flow.StartMany(ctx, pool, calls(20, "a", "b"))
	require.NoError(t, err)
	for _, r := range append(started, more...) {
		_, err := r.Wait(ctx)
		require.NoError(t, err)
	}
	sound(t, "sides", pool)
}

// Limits can be changed while workers run.
func TestChangingGates(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := gated("change", spec.Step{Concurrency: 1})
	began, finish := make(chan int, 100), make(chan struct{})
	service := serve(flow, func(_ context.Context, c call) (int, error) { began <- c.N; <-finish; return c.N, nil })
	pool := database(t, service)
	_, err := flow.StartMany(ctx, pool, calls(10, "a"))
	require.NoError(t, err)
	run(t, pool, worker.Config{Concurrency: 20}, service)
	receive(t, began)
	require.NoError(t, ops.SetGate(ctx, pool, "change.change", ops.GateLimits{Concurrency: 3, Rate: spec.Rate{Tokens: 1000, Per: time.Second}}))
	receive(t, began)
	receive(t, began)
	key := "a"
	require.NoError(t, ops.HoldGate(ctx, pool, "change.change", &key, time.Hour))
	gates, err := ops.ListGates(ctx, pool, ops.GateFilter{Flow: "change"})
	require.NoError(t, err)
	require.Len(t, gates, 1)
	require.Equal(t, []string{"change.change"}, gates[0].Steps)
	require.Equal(t, 3, gates[0].InFlight)
	require.Equal(t, 7, gates[0].Waiting)
	require.Equal(t, ops.GateLimits{Concurrency: 3, Rate: spec.Rate{Tokens: 1000, Per: time.Second, Burst: 100}}, gates[0].Limits)
	require.Equal(t, ops.GateLimits{Concurrency: 1}, gates[0].Declared)
	require.True(t, gates[0].Overridden)
	require.False(t, gates[0].HeldUntil.IsZero())
	require.NoError(t, ops.HoldGate(ctx, pool, "change.change", &key, 0))
	close(finish)
	eventually(t, func() bool { return len(began) == 7 }, "the rest")
	require.NoError(t, ops.SetGate(ctx, pool, "change.change", ops.GateLimits{}))
	require.ErrorIs(t, ops.SetGate(ctx, pool, "none", ops.GateLimits{}), ops.ErrGateNotFound)
	require.ErrorIs(t, ops.HoldGate(ctx, pool, "none", nil, 0), ops.ErrGateNotFound)
	sound(t, "change", pool)
}

// Where pgflow stands alone nobody keeps to limits, so a worker that should refuses to start.
func TestGatesNeedTheEngine(t *testing.T) {
	t.Parallel()
	ctx, pool, _ := contract(t)
	service := serve(gated("alone", spec.Step{Concurrency: 1}), func(_ context.Context, c call) (int, error) { return c.N, nil })
	_, err := runtime.UpsertFlow(ctx, pool, service.Definition())
	require.ErrorIs(t, err, runtime.ErrNeedsEngine)
	w, err := worker.New(pool, worker.Config{}, service)
	require.NoError(t, err)
	err = w.Run(ctx)
	require.ErrorIs(t, err, runtime.ErrNeedsEngine)
	require.ErrorContains(t, err, "step alone.alone has limits or a key")
	w, err = worker.New(pool, worker.Config{}, serve(job[int, int]("few", spec.Flow{Concurrency: 1}), func(_ context.Context, n int) (int, error) { return n, nil }))
	require.NoError(t, err)
	require.ErrorContains(t, w.Run(ctx), "flow few limits its runs in progress")
}

// TestLimitOfRuns: with several workers, no more runs are in progress than may be, whatever
// becomes of them, and those in line begin at once.
func TestLimitOfRuns(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := runtime.NewFlow[call](spec.Flow{
		Slug: "line", Concurrency: 2, Key: spec.Path{"run", "tenant"}, MaxAttempts: 2, BaseDelay: spec.Set(time.Duration(0)),
		Steps: []spec.Step{{Slug: "first"}, {Slug: "last", Deps: []string{"first"}}},
	}, handler.Output[int]("last"))
	g := newGauge()
	var attempts atomic.Int64
	work := func(_ context.Context, c call) (int, error) {
		defer g.enter(c.Tenant)()
		time.Sleep(time.Millisecond) // work
		if attempts.Add(1)%5 == 0 {
			return 0, errors.New("now and then it fails")
		}
		return c.N, nil
	}
	service := flow.Serve([]handler.Handler{
		handler.Handle("first", handler.Input[call](), work), handler.Handle("last", handler.Input[call](), work),
	})
	pool := database(t, service)
	for range 3 {
		run(t, pool, worker.Config{Concurrency: 8}, service)
	}
	began := time.Now()
	started, err := flow.StartMany(ctx, pool, calls(60, "a", "b", "c"))
	require.NoError(t, err)
	var failed []string
	for _, r := range started {
		_, err := r.Wait(ctx)
		if err != nil {
			failed = append(failed, r.ID())
		}
		require.NoError(t, ignoreFailure(err))
	}
	t.Logf("%d runs, 2 of each of 3 tenants at once, took %s; %d failed", len(started), time.Since(began), len(failed))
	for _, id := range failed {
		if err := runtime.RetryRun(ctx, pool, id); err != nil {
			require.ErrorIs(t, err, runtime.ErrRequested)
		}
	}
	sound(t, "line", pool)
	for tenant, most := range g.mosts() {
		require.LessOrEqual(t, most, 2, tenant)
	}
}
