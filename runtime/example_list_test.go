package runtime_test

import (
	"context"
	"fmt"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A page at a time, the newest runs first.
func ExampleListRuns() {
	ctx, pool := context.Background(), connect()
	_, err := runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "inventory", Steps: []spec.Step{{Slug: "count"}}})
	must(err)
	for shelf := range 5 {
		_, err := runtime.StartFlow(ctx, pool, "inventory", map[string]any{"shelf": shelf, "odd": shelf%2 == 1})
		must(err)
	}

	filter := runtime.RunFilter{
		Flows:    []string{"inventory"},
		Statuses: []runtime.RunStatus{runtime.RunRunning},
		Limit:    2,
	}
	for {
		page, err := runtime.ListRuns(ctx, pool, filter)
		if err != nil {
			panic(err)
		}
		fmt.Println(len(page), "runs")
		if len(page) < filter.Limit {
			break
		}
		filter.After = &page[len(page)-1]
	}
	odd, err := runtime.ListRuns(ctx, pool, runtime.RunFilter{
		Flows: []string{"inventory"}, StartedFrom: time.Now().Add(-time.Hour), InputContains: []byte(`{"odd": true}`),
	})
	fmt.Println(len(odd), "odd ones", err)
	// Output:
	// 2 runs
	// 2 runs
	// 1 runs
	// 2 odd ones <nil>
}

func ExampleListFailures() {
	ctx, pool := context.Background(), connect()
	_, err := processOrder.StartSync(ctx, pool, Order{ID: 41, Cents: -5})
	fmt.Println(err != nil)

	failures, err := runtime.ListFailures(ctx, pool, time.Now().Add(-time.Hour), 1)
	fmt.Println(failures[0].Flow, failures[0].FailedStep+":", failures[0].Error, err)
	// Output:
	// true
	// process_order charge: cannot charge -5 <nil>
}

func ExampleListTasks() {
	ctx, pool := context.Background(), connect()
	run, err := processOrder.Start(ctx, pool, Order{ID: 42})
	must(err)
	_, err = run.Wait(ctx)
	must(err)

	tasks, err := runtime.ListTasks(ctx, pool, run.ID())
	if err != nil {
		panic(err)
	}
	for _, task := range tasks {
		fmt.Printf("%s[%d] %s after %d: %s\n", task.Step, task.Index, task.Status, task.Attempts, task.Output)
	}
	// Output:
	// charge[0] completed after 1: "receipt 42"
	// ship[0] completed after 1: "parcel for receipt 42"
}

// Of a map over many elements FindTasks reads those that matter, here those that
// have not been done, without the outputs of the others.
func ExampleFindTasks() {
	ctx, pool := context.Background(), connect()
	_, err := runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "labels",
		Steps: []spec.Step{{Slug: "label", Type: spec.TypeMap}},
	})
	must(err)
	run, err := runtime.StartFlow(ctx, pool, "labels", []string{"a", "b", "c", "d"})
	must(err)

	tasks, err := runtime.FindTasks(ctx, pool, run.ID(), runtime.TaskFilter{
		Step:     "label",
		Statuses: []runtime.TaskStatus{runtime.TaskQueued, runtime.TaskStarted},
		After:    spec.Set(0),
		PerStep:  2,
	})
	for _, task := range tasks {
		fmt.Println(task.Step, task.Index, task.Status)
	}
	fmt.Println(err)
	// Output:
	// label 1 queued
	// label 2 queued
	// <nil>
}

func ExampleListTasksInHand() {
	ctx, pool := context.Background(), connect()
	till.jam() // so that something is in hand
	run, err := processOrder.Start(ctx, pool, Order{ID: 43})
	must(err)
	till.awaitJam()

	tasks, err := runtime.ListTasksInHand(ctx, pool, 10)
	for _, task := range tasks {
		fmt.Println(task.Flow, task.Step, task.Attempt, task.DueAt.After(task.StartedAt))
	}
	fmt.Println(err)
	till.open()
	_, err = run.Wait(ctx)
	must(err)
	// Output:
	// process_order charge 1 true
	// <nil>
}

func ExampleListFlows() {
	ctx, pool := context.Background(), connect()
	_, err := processOrder.StartSync(ctx, pool, Order{ID: 44})
	must(err)

	flows, err := runtime.ListFlows(ctx, pool, time.Now().Add(-24*time.Hour))
	if err != nil {
		panic(err)
	}
	for _, flow := range flows {
		if flow.Slug == "process_order" {
			fmt.Println(flow.Slug, flow.Completed > 0, flow.MeanTime < time.Minute)
		}
	}
	// Output: process_order true true
}

func ExampleThroughput() {
	ctx, pool := context.Background(), connect()
	_, err := processOrder.StartSync(ctx, pool, Order{ID: 45})
	must(err)

	points, err := runtime.Throughput(ctx, pool, time.Now().Add(-2*time.Hour), time.Hour)
	if err != nil {
		panic(err)
	}
	started := 0
	for _, hour := range points {
		started += hour.Started
	}
	fmt.Println(started > 0)
	// Output: true
}

func ExampleListWorkers() {
	ctx, pool := context.Background(), connect()

	workers, err := runtime.ListWorkers(ctx, pool, time.Now().Add(-time.Hour))
	for _, w := range workers {
		if w.Name == "shop" {
			fmt.Println(w.Name, w.Status)
		}
	}
	fmt.Println(err)
	// Output:
	// shop working
	// <nil>
}

func ExampleGetRunProgress() {
	ctx, pool := context.Background(), connect()
	run, err := processOrder.Start(ctx, pool, Order{ID: 46})
	must(err)
	_, err = run.Wait(ctx)
	must(err)

	info, err := runtime.GetRunProgress(ctx, pool, run.ID())
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

func ExampleListPayloads() {
	ctx, pool := context.Background(), connect()
	run, err := processOrder.Start(ctx, pool, Order{ID: 47, Cents: 5})
	must(err)
	_, err = run.Wait(ctx)
	must(err)

	payloads, err := runtime.ListPayloads(ctx, pool, run.ID(), 1000)
	if err != nil {
		panic(err)
	}
	for _, payload := range payloads {
		fmt.Println(payload.Kind, payload.Step, string(payload.JSON))
	}
	// Output:
	// run_input  {"id": 47, "cents": 5}
	// run_output  {"ship": "parcel for receipt 47"}
	// step_output charge "receipt 47"
	// step_output ship "parcel for receipt 47"
}

func ExampleGetPayload() {
	ctx, pool := context.Background(), connect()
	run, err := processOrder.Start(ctx, pool, Order{ID: 48})
	must(err)
	_, err = run.Wait(ctx)
	must(err)

	receipt, err := runtime.GetPayload(ctx, pool, run.ID(), runtime.PayloadFilter{Kind: runtime.StepOutputPayload, Step: "charge"})
	if err != nil {
		panic(err)
	}
	fmt.Println(string(receipt.JSON))
	// Output: "receipt 48"
}

func ExampleNeighbours() {
	ctx, pool := context.Background(), connect()
	_, err := runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "neighbours", Steps: []spec.Step{{Slug: "only"}}})
	must(err)
	first, second, third := start("neighbours"), start("neighbours"), start("neighbours")

	newer, older, err := runtime.Neighbours(ctx, pool, second)
	fmt.Println(newer == third, older == first, err)
	// Output: true true <nil>
}

func ExampleGetDefinition() {
	ctx, pool := context.Background(), connect()

	def, err := runtime.GetDefinition(ctx, pool, "process_order")
	if err != nil {
		panic(err)
	}
	for _, step := range def.Steps {
		fmt.Println(step.Slug, step.Deps)
	}
	fmt.Println(def.Validate(), len(spec.Compare(def, processOrder.Definition())))
	// Output:
	// charge []
	// ship [charge]
	// <nil> 0
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
