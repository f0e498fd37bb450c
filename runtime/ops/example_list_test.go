package ops_test

import (
	"context"
	"fmt"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
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

	filter := ops.RunFilter{
		Flows:    []string{"inventory"},
		Statuses: []runtime.RunStatus{runtime.RunRunning},
		Limit:    2,
	}
	for {
		page, err := ops.ListRuns(ctx, pool, filter)
		if err != nil {
			panic(err)
		}
		fmt.Println(len(page), "runs")
		if len(page) < filter.Limit {
			break
		}
		filter.After = &page[len(page)-1]
	}
	odd, err := ops.ListRuns(ctx, pool, ops.RunFilter{
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

	failures, err := ops.ListFailures(ctx, pool, time.Now().Add(-time.Hour), 1)
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

	tasks, err := ops.ListTasks(ctx, pool, run.ID(), ops.TaskFilter{OutputBytes: ops.AllOutputs})
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

// Of a map over many elements a filter picks those that matter, here those that
// have not been done, without the outputs of the others.
func ExampleListTasks_filter() {
	ctx, pool := context.Background(), connect()
	_, err := runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "labels",
		Steps: []spec.Step{{Slug: "label", Type: spec.TypeMap}},
	})
	must(err)
	run, err := runtime.StartFlow(ctx, pool, "labels", []string{"a", "b", "c", "d"})
	must(err)

	tasks, err := ops.ListTasks(ctx, pool, run.ID(), ops.TaskFilter{
		Step:     "label",
		Statuses: []ops.TaskStatus{ops.TaskQueued, ops.TaskStarted},
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

func ExampleListTasksInFlight() {
	ctx, pool := context.Background(), connect()
	till.Jam() // so that a task is in flight
	run, err := processOrder.Start(ctx, pool, Order{ID: 43})
	must(err)
	till.AwaitJam()

	tasks, err := ops.ListTasksInFlight(ctx, pool, 10)
	for _, task := range tasks {
		fmt.Println(task.Flow, task.Step, task.Attempt, task.DueAt.After(task.StartedAt))
	}
	fmt.Println(err)
	till.Open()
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

	flows, err := ops.ListFlows(ctx, pool, time.Now().Add(-24*time.Hour))
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

	points, err := ops.Throughput(ctx, pool, time.Now().Add(-2*time.Hour), time.Hour)
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

	workers, err := ops.ListWorkers(ctx, pool, time.Now().Add(-time.Hour))
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

func ExampleListPayloads() {
	ctx, pool := context.Background(), connect()
	run, err := processOrder.Start(ctx, pool, Order{ID: 47, Cents: 5})
	must(err)
	_, err = run.Wait(ctx)
	must(err)

	payloads, err := ops.ListPayloads(ctx, pool, run.ID(), 1000)
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

	receipt, err := ops.GetPayload(ctx, pool, run.ID(), ops.PayloadFilter{Kind: ops.PayloadStepOutput, Step: "charge"})
	if err != nil {
		panic(err)
	}
	fmt.Println(string(receipt.JSON))
	// Output: "receipt 48"
}

func ExampleAdjacentRuns() {
	ctx, pool := context.Background(), connect()
	_, err := runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "neighbours", Steps: []spec.Step{{Slug: "only"}}})
	must(err)
	first, second, third := start("neighbours"), start("neighbours"), start("neighbours")

	newer, older, err := ops.AdjacentRuns(ctx, pool, second)
	fmt.Println(newer == third, older == first, err)
	// Output: true true <nil>
}

func ExampleGetDefinition() {
	ctx, pool := context.Background(), connect()

	def, err := ops.GetDefinition(ctx, pool, "process_order")
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
