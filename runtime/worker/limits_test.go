package worker_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// A gauge counts how many are at something at once, and at most.
type gauge struct {
	mu        sync.Mutex
	now, most map[string]int
}

func newGauge() *gauge { return &gauge{now: map[string]int{}, most: map[string]int{}} }

// enter counts one more; the function that it returns ends that.
func (g *gauge) enter(names ...string) (leave func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, name := range names {
		g.now[name]++
		g.most[name] = max(g.most[name], g.now[name])
	}
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, name := range names {
			g.now[name]--
		}
	}
}

func (g *gauge) mosts() map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	most := map[string]int{}
	for name, n := range g.most {
		most[name] = n
	}
	return most
}

// pair is a flow of two maps over the same list.
var pair = runtime.NewFlow[[]int](spec.Flow{Slug: "pair",
	Steps: []spec.Step{
		{Slug: "left", Type: spec.TypeMap}, {Slug: "right", Type: spec.TypeMap}, {Slug: "end", Deps: []string{"left", "right"}},
	},
}, handler.Output[string]("end"))

// Limits of a worker, a flow and a step hold together, and what may run does.
func TestLimits(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	g := newGauge()
	work := func(names ...string) func(context.Context, int) (int, error) {
		return func(_ context.Context, n int) (int, error) {
			defer g.enter(append(names, "worker")...)()
			time.Sleep(3 * time.Millisecond) // work
			return n, nil
		}
	}
	end := func(context.Context) (string, error) { return "done", nil }
	limited := handler.Serve(pair.Definition(), []handler.Handler{
		handler.Handle("left", handler.Item[int](), work("pair", "left")),
		handler.Handle("right", handler.Item[int](), work("pair", "right")),
		handler.Handle("end", handler.Nothing(), handler.NoInput(end)),
	}, handler.Limit(5), handler.Limit(2, "left"))
	free := job[int, int]("free", spec.Flow{})
	services := []handler.Service{limited, serve(free, work("free"))}
	pool := database(t, services...)
	list := make([]int, 60)
	for i := range list {
		list[i] = i
	}
	paired, err := pair.Start(ctx, pool, list)
	require.NoError(t, err)
	others, err := free.StartMany(ctx, pool, list)
	require.NoError(t, err)
	run(t, pool, worker.Config{Concurrency: 12}, services...)
	out, err := paired.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, "done", out)
	for _, other := range others {
		_, err := other.Wait(ctx)
		require.NoError(t, err)
	}
	most := g.mosts()
	require.Equal(t, 2, most["left"], "%v", most)
	require.Equal(t, 5, most["pair"], "%v", most)
	require.Greater(t, most["free"], 5, "%v", most)
	require.LessOrEqual(t, most["worker"], 12, "%v", most)
}

// What a worker has no capacity for it does not claim: another one gets it at once.
func TestLimitsLeaveTasksToOthers(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	began, finish := make(chan struct{}), make(chan struct{})
	flow := job[int, int]("slow", spec.Flow{})
	def := flow.Definition()
	held := func(_ context.Context, n int) (int, error) { began <- struct{}{}; <-finish; return n, nil }
	full := handler.Serve(def, []handler.Handler{handler.Handle("slow", handler.Input[int](), held)}, handler.Limit(1, "slow"))
	pool := database(t, full)
	started, err := flow.StartMany(ctx, pool, make([]int, 10))
	require.NoError(t, err)
	one := run(t, pool, worker.Config{}, full)
	receive(t, began)

	two := run(t, pool, worker.Config{}, serve(flow, func(_ context.Context, n int) (int, error) { return n, nil }))
	eventually(t, func() bool { return two.Stats().Completed == 9 }, "the other does the rest")
	require.EqualValues(t, 1, one.Stats().Claimed)
	close(finish)
	for _, run := range started {
		_, err := run.Wait(ctx)
		require.NoError(t, err)
	}
}

// A flow whose handlers take for ever has its limit, and no more: the others go
// on as if it were not there.
func TestSlowFlowStarvesNobody(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	finish := make(chan struct{})
	slow, quick := job[int, int]("slow", spec.Flow{}), job[int, int]("quick", spec.Flow{})
	stuck := handler.Serve(slow.Definition(), []handler.Handler{handler.Handle("slow", handler.Input[int](),
		func(_ context.Context, n int) (int, error) { <-finish; return n, nil })}, handler.Limit(3))
	services := []handler.Service{stuck, serve(quick, func(_ context.Context, n int) (int, error) { return n, nil })}
	pool := database(t, services...)
	backlog, err := slow.StartMany(ctx, pool, make([]int, 100))
	require.NoError(t, err)
	w := run(t, pool, worker.Config{Concurrency: 4}, services...)
	for n := range 20 {
		_, err := quick.StartSync(ctx, pool, n)
		require.NoError(t, err)
	}
	require.EqualValues(t, 3+20, w.Stats().Claimed)
	close(finish)
	for _, run := range backlog {
		_, err := run.Wait(ctx)
		require.NoError(t, err)
	}
}

func TestLimitsThatCannotBe(t *testing.T) {
	t.Parallel()
	def := pair.Definition()
	require.PanicsWithValue(t, "flowc: Limit(0) for flow pair: it must be at least 1, use Without to leave out steps",
		func() { handler.Serve(def, nil, handler.Limit(0)) })
	require.PanicsWithValue(t, `flowc: Limit(1, "middle"): the flow pair has no such step`,
		func() { handler.Serve(def, nil, handler.Limit(1, "middle")) })
}

// A flow with a backlog must not keep another one waiting.
func TestFairness(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	var mu sync.Mutex
	var served []string
	note := func(name string) func(context.Context, int) (int, error) {
		return func(_ context.Context, n int) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			served = append(served, name)
			return n, nil
		}
	}
	busy, rare := job[int, int]("busy", spec.Flow{}), job[int, int]("rare", spec.Flow{})
	services := []handler.Service{serve(busy, note("busy")), serve(rare, note("rare"))}
	pool := database(t, services...)
	backlog, err := busy.StartMany(ctx, pool, make([]int, 400))
	require.NoError(t, err)
	few, err := rare.StartMany(ctx, pool, make([]int, 20))
	require.NoError(t, err)
	run(t, pool, worker.Config{Concurrency: 4}, services...)
	for _, run := range append(backlog, few...) {
		_, err := run.Wait(ctx)
		require.NoError(t, err)
	}
	last := 0
	for i, name := range served {
		if name == "rare" {
			last = i
		}
	}
	require.Less(t, last, 120, "the rare flow is done long before the backlog")
}
