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
		info, err := runtime.GetRun(ctx, pool, started.ID(), runtime.WithStates())
		require.NoError(t, err)
		return info.States[2].Status == runtime.StepCompleted && info.States[3].Status == runtime.StepStarted
	}, "all that can be done is done")
	run(t, pool, worker.Config{}, packer)
	_, err = started.Wait(ctx)
	require.NoError(t, err)
	require.Panics(t, func() { handler.Serve(service.Definition(), service.Handlers(), handler.Without("nothing")) })
}

// Headers reach every attempt at every step of their run, and no other's.
func TestHeaders(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := runtime.NewFlow[int](spec.Flow{Slug: "carry",
		BaseDelay: spec.Set(time.Duration(0)),
		Steps:     []spec.Step{{Slug: "one"}, {Slug: "two", Deps: []string{"one"}}},
	}, handler.Output[string]("two"))
	headers := func(ctx context.Context) string {
		task, _ := handler.TaskFromContext(ctx)
		return fmt.Sprint(task.Headers)
	}
	service := handler.Serve(flow.Definition(), []handler.Handler{
		handler.Handle("one", handler.Nothing(), handler.NoInput(func(ctx context.Context) (string, error) {
			if task, _ := handler.TaskFromContext(ctx); task.Attempt == 1 {
				return "", errors.New("not yet")
			}
			return headers(ctx), nil
		})),
		handler.Handle("two", handler.Output[string]("one"), func(ctx context.Context, one string) (string, error) {
			return one + " " + headers(ctx), nil
		}),
	})
	pool := database(t, service)
	run(t, pool, worker.Config{}, service)
	for _, tt := range []struct {
		opts []runtime.StartOption
		want string
	}{
		{nil, "map[] map[]"},
		{[]runtime.StartOption{runtime.WithHeaders(map[string]string{"tenant": "acme"})}, "map[tenant:acme] map[tenant:acme]"},
		{[]runtime.StartOption{runtime.WithHeaders(map[string]string{"a": "1", "b": "2"}), runtime.WithHeaders(map[string]string{"b": "3"}),
			runtime.WithDelay(time.Millisecond)}, "map[a:1 b:3] map[a:1 b:3]"},
	} {
		out, err := flow.StartSync(ctx, pool, 1, tt.opts...)
		require.NoError(t, err)
		require.Equal(t, tt.want, out)
	}
	many, err := flow.StartMany(ctx, pool, []int{1, 2}, runtime.WithHeaders(map[string]string{"k": "v"}))
	require.NoError(t, err)
	for _, r := range many {
		out, err := r.Wait(ctx)
		require.NoError(t, err)
		require.Equal(t, "map[k:v] map[k:v]", out)
	}
	require.Equal(t, 4, count(t, pool, `SELECT count(*) FROM flowc.run_headers`), "who has none pays nothing")

	// Starts that are sent together each keep their own.
	var all sync.WaitGroup
	outs := make([]string, 100)
	for i := range outs {
		all.Go(func() {
			var opts []runtime.StartOption
			if i%3 > 0 {
				opts = append(opts, runtime.WithHeaders(map[string]string{"i": fmt.Sprint(i)}))
			}
			outs[i], _ = flow.StartSync(ctx, pool, i, opts...)
		})
	}
	all.Wait()
	for i, out := range outs {
		want := "map[]"
		if i%3 > 0 {
			want = fmt.Sprintf("map[i:%d]", i)
		}
		require.Equal(t, want+" "+want, out)
	}
	for name, values := range map[string]map[string]string{"no name": {"": "x"}, "cannot be stored": {"a": "\x00"}} {
		_, err := flow.Start(ctx, pool, 1, runtime.WithHeaders(values))
		require.ErrorIs(t, err, runtime.ErrInvalidOption)
		require.ErrorContains(t, err, strings.TrimPrefix(name, ""))
	}
}
