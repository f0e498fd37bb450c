package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/dsl"
	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

type order struct {
	Lines []string `json:"lines"`
	Buyer string   `json:"buyer"`
}

type shipment struct {
	Buyer   string   `json:"run"`
	Receipt string   `json:"charge"`
	Parcels []string `json:"pack"`
}

// orders is a diamond: validate; then list, and charge; pack maps over the list;
// ship joins the run's input, charge and pack.
var orders = runtime.NewFlow[order](spec.Flow{Slug: "orders",
	Steps: []spec.Step{
		{Slug: "validate"},
		{Slug: "list", Deps: []string{"validate"}},
		{Slug: "charge", Deps: []string{"validate"}},
		{Slug: "pack", Type: spec.TypeMap, Deps: []string{"list"}},
		{Slug: "ship", Deps: []string{"charge", "pack"}},
	},
}, handler.Output[shipment]("ship"))

func ordersService(pack func(context.Context, string) (string, error)) handler.Service {
	type wire struct {
		Input  order    `json:"run"`
		Charge string   `json:"charge"`
		Pack   []string `json:"pack"`
	}
	return handler.Serve(orders.Definition(), []handler.Handler{
		handler.Handle("validate", handler.Input[order](), func(_ context.Context, o order) (order, error) {
			if o.Buyer == "" {
				return o, handler.Permanent(errors.New("nobody buys"))
			}
			return o, nil
		}),
		handler.Handle("list", handler.Output[order]("validate"), func(_ context.Context, o order) ([]string, error) { return o.Lines, nil }),
		handler.Handle("charge", handler.Output[order]("validate"), func(_ context.Context, o order) (string, error) {
			return "paid by " + o.Buyer, nil
		}),
		handler.Handle("pack", handler.Item[string](), pack),
		handler.Handle("ship", handler.Join(func(w wire) wire { return w }, "run", "charge", "pack"),
			func(_ context.Context, w wire) (shipment, error) {
				return shipment{Buyer: w.Input.Buyer, Receipt: w.Charge, Parcels: w.Pack}, nil
			}),
	})
}

func box(_ context.Context, line string) (string, error) { return "[" + line + "]", nil }

func TestDiamond(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	service := ordersService(box)
	pool := database(t, service)
	run(t, pool, worker.Config{}, service)

	out, err := orders.StartSync(ctx, pool, order{Lines: []string{"tea", "pot"}, Buyer: "Ada"})
	require.NoError(t, err)
	require.Equal(t, shipment{Buyer: "Ada", Receipt: "paid by Ada", Parcels: []string{"[tea]", "[pot]"}}, out)

	out, err = orders.StartSync(ctx, pool, order{Lines: []string{}, Buyer: "Bob"})
	require.NoError(t, err)
	require.Equal(t, shipment{Buyer: "Bob", Receipt: "paid by Bob", Parcels: []string{}}, out)

	_, err = orders.StartSync(ctx, pool, order{})
	failed := failure(t, err)
	require.Equal(t, "validate", failed.Step)
	require.Equal(t, "nobody buys", failed.Message)
}

// An array that is too large to be sent with every task is read once.
func TestLargeMap(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	service := ordersService(box)
	pool := database(t, service)
	run(t, pool, worker.Config{}, service)
	in := order{Buyer: "Ada"}
	for i := range 500 {
		in.Lines = append(in.Lines, fmt.Sprintf("%d %s", i, strings.Repeat("x", 20)))
	}
	out, err := orders.StartSync(ctx, pool, in)
	require.NoError(t, err)
	require.Len(t, out.Parcels, 500)
	for i, parcel := range out.Parcels {
		require.Equal(t, "["+in.Lines[i]+"]", parcel)
	}
}

func TestManyRuns(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	service := ordersService(box)
	pool := database(t, service)
	run(t, pool, worker.Config{Concurrency: 8}, service)
	run(t, pool, worker.Config{Concurrency: 3}, service)
	var ins []order
	for i := range 200 {
		ins = append(ins, order{Buyer: fmt.Sprint(i), Lines: []string{"a", "b", "c"}})
	}
	runs, err := orders.StartMany(ctx, pool, ins)
	require.NoError(t, err)
	for i, run := range runs {
		out, err := run.Wait(ctx)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(i), out.Buyer)
	}
	require.Equal(t, 200*7, count(t, pool, `SELECT count(*) FROM pgflow.step_tasks WHERE status = 'completed' AND attempts_count = 1`))
	require.Zero(t, count(t, pool, `SELECT count(*) FROM flowc.queue`))
}

// What a worker has done is left behind: claims do not look at it any more.
func TestWatermarksAdvance(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := job[int, int]("work", spec.Flow{})
	service := serve(flow, func(_ context.Context, n int) (int, error) { return n, nil })
	pool := database(t, service)
	w := run(t, pool, worker.Config{Concurrency: 100}, service)
	started := 0
	for first := -1; first < 1500; first = count(t, pool, `SELECT coalesce(max(message_id), 0) FROM flowc.watermarks`) {
		_, err := flow.StartMany(ctx, pool, make([]int, 1500))
		require.NoError(t, err)
		started += 1500
		eventually(t, func() bool { return w.Stats().Completed == int64(started) }, "all are done")
		time.Sleep(500 * time.Millisecond)
	}
	require.Equal(t, started, count(t, pool, `SELECT count(*) FROM pgflow.runs WHERE status = 'completed'`))
}

// A worker that sleeps is woken by those who start runs, and need not poll for them.
func TestSleepingWorkerIsWoken(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	echo := job[int, int]("echo", spec.Flow{})
	service := serve(echo, func(_ context.Context, n int) (int, error) { return n, nil })
	pool := database(t, service)
	seen := newRecords()
	run(t, pool, worker.Config{Metrics: seen}, service)
	other := dbtest.With(t, pool, nil) // starts through the worker's own pool claim as well
	asleep := func() bool { return count(t, pool, `SELECT count(*) FROM flowc.idle_workers`) == 1 }
	eventually(t, asleep, "the worker sleeps")
	const runs = 60
	polls := seen.wokenBy(worker.WakeReasonPoll)
	for n := range runs {
		eventually(t, asleep, "the worker sleeps again")
		out, err := echo.StartSync(ctx, other, n)
		require.NoError(t, err)
		require.Equal(t, n, out)
	}
	require.Less(t, seen.wokenBy(worker.WakeReasonPoll)-polls, runs, "otherwise each run would have been found by a poll")
	require.Greater(t, seen.wokenBy(worker.WakeReasonNotification), runs/2)
}

func TestScheduledRunStartsInTime(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	now := job[dsl.None, time.Time]("now", spec.Flow{})
	service := handler.Serve(now.Definition(), []handler.Handler{
		handler.Handle("now", handler.Nothing(), handler.NoInput(func(context.Context) (time.Time, error) { return time.Now(), nil })),
	})
	pool := database(t, service)
	run(t, pool, worker.Config{}, service)
	scheduled, err := now.StartIn(ctx, pool, dsl.None{}, 700*time.Millisecond)
	require.NoError(t, err)
	at, err := scheduled.Wait(ctx)
	require.NoError(t, err)
	require.False(t, at.Before(scheduled.ScheduledAt()), "never early")
	require.Less(t, at.Sub(scheduled.ScheduledAt()), time.Second)
}

func TestTaskFromContext(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := job[int, handler.Task]("who", spec.Flow{MaxAttempts: 4, BaseDelay: spec.Set(time.Duration(0))})
	service := serve(flow, func(ctx context.Context, n int) (handler.Task, error) {
		task, ok := handler.TaskFromContext(ctx)
		if !ok || task.Attempt < n {
			return task, errors.New("again")
		}
		handler.Logger(ctx).Info("here")
		return task, nil
	})
	pool := database(t, service)
	w := run(t, pool, worker.Config{}, service)
	started, err := flow.Start(ctx, pool, 3)
	require.NoError(t, err)
	task, err := started.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, handler.Task{RunID: started.ID(), Flow: "who", Step: "who", Attempt: 3, MaxAttempts: 4}, task)
	require.Contains(t, w.log.String(), fmt.Sprintf("msg=here flow=who run_id=%s step=who index=0 attempt=3", started.ID()))
}

// A flow that is known only at run time is served by untyped handlers.
func TestDynamicFlow(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	options := spec.Flow{Steps: []spec.Step{
		{Slug: "both", Deps: []string{"left", "right"}}, {Slug: "left"}, {Slug: "right"},
	}}
	echo := func(_ context.Context, v handler.Values) (any, error) {
		return map[string]json.RawMessage{"input": v.Input, "outputs": v.Outputs}, nil
	}
	service := handler.Serve(options.As("tenant_7"), []handler.Handler{
		handler.HandleValues("left", func(context.Context, handler.Values) (any, error) { return "l", nil }),
		handler.HandleValues("right", func(context.Context, handler.Values) (any, error) { return dsl.None{}, nil }),
		handler.HandleValues("both", echo),
	})
	pool := database(t, service)
	run(t, pool, worker.Config{}, service)
	info, err := runtime.StartFlowSync(ctx, pool, "tenant_7", map[string]int{"n": 1})
	require.NoError(t, err)
	require.Equal(t, runtime.RunCompleted, info.Status)
	require.JSONEq(t, `{"both": {"input": {"n": 1}, "outputs": {"left": "l", "right": null}}}`, string(info.Output))
}

// Steps without a handler are left to other workers.
func TestWithout(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	service := ordersService(box)
	pool := database(t, service)
	packer := handler.Serve(service.Definition(), service.Handlers(), handler.Without("validate", "list", "charge", "ship"))
	rest := handler.Serve(service.Definition(), service.Handlers(), handler.Without("pack"))
	run(t, pool, worker.Config{}, rest)
	started, err := orders.Start(ctx, pool, order{Lines: []string{"tea"}, Buyer: "Ada"})
	require.NoError(t, err)
	eventually(t, func() bool {
		info, err := runtime.GetRunWithStates(ctx, pool, started.ID())
		require.NoError(t, err)
		return info.States[2].Status == runtime.StepCompleted && info.States[3].Status == runtime.StepStarted
	}, "all that can be done is done")
	run(t, pool, worker.Config{}, packer)
	_, err = started.Wait(ctx)
	require.NoError(t, err)
	require.Panics(t, func() { handler.Serve(service.Definition(), service.Handlers(), handler.Without("nothing")) })
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
