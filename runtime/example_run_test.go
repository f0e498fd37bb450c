package runtime_test

import (
	"context"
	"fmt"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

func ExampleGetRun_withoutPayloads() {
	ctx, pool := context.Background(), connect()
	run, err := processOrder.Start(ctx, pool, Order{ID: 46})
	must(err)
	_, err = run.Wait(ctx)
	must(err)

	info, err := runtime.GetRun(ctx, pool, run.ID(), runtime.WithStates(), runtime.WithoutPayloads())
	if err != nil {
		panic(err)
	}
	for _, state := range info.States {
		fmt.Println(state.Step, state.Status, state.Attempts)
	}
	fmt.Println(info.Status, info.Input == nil)
	// Output:
	// charge completed 1
	// ship completed 1
	// completed true
}

// A run that nobody works says so.
func ExampleExplainRun() {
	ctx, pool := context.Background(), connect()
	_, err := runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "stocktaking_v2", Steps: []spec.Step{{Slug: "count"}}})
	must(err)
	id := start("stocktaking_v2")

	reasons, err := runtime.ExplainRun(ctx, pool, id)
	fmt.Println(reasons, err)
	// Output: [no worker serves stocktaking_v2] <nil>
}

// A handle can be part of what a service answers with.
func ExampleRun_MarshalJSON() {
	ctx, pool := context.Background(), connect()
	run, err := processOrder.Start(ctx, pool, Order{ID: 55}, runtime.WithRunID("018f0a5d-ac96-774b-bcce-b302099a8057"))
	must(err)
	text, err := run.MarshalJSON() // as json.Marshal does
	fmt.Println(string(text), err)
	fmt.Println(run.String()) // as logs do
	// Output:
	// {"id":"018f0a5d-ac96-774b-bcce-b302099a8057","flow":"process_order","existed":false} <nil>
	// process_order 018f0a5d-ac96-774b-bcce-b302099a8057
}

// A program puts all flows that it serves into the database, then works them.
func ExampleUpsertServed() {
	ctx, pool := context.Background(), connect()
	def := spec.Flow{Slug: "sweeping", Steps: []spec.Step{{Slug: "sweep"}}}
	sweep := handler.HandleValues("sweep", func(context.Context, handler.Values) (any, error) { return "clean", nil })
	// Strict loses no field that is unknown here, and NoDelays is for tests.
	services := []handler.Service{handler.Serve(def, []handler.Handler{sweep}, handler.Strict(), handler.NoDelays())}

	fmt.Println(runtime.UpsertServed(ctx, pool, services...))
	// Output: <nil>
}

func ExampleRunSchedule() {
	ctx, pool := context.Background(), connect()
	_, err := runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "weekly_invoice",
		Cron: "@weekly", Steps: []spec.Step{{Slug: "invoice"}},
	})
	if err != nil {
		panic(err)
	}

	run, err := runtime.RunSchedule(ctx, pool, "weekly_invoice")
	if err != nil {
		panic(err)
	}
	info, err := run.Info(ctx)
	if err != nil {
		panic(err)
	}
	fmt.Println(info.Status, info.Tick.IsZero())
	// Output: running false
}
