package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/spec"
)

func ExampleStartFlow() {
	ctx, pool := context.Background(), connect()

	run, err := runtime.StartFlow(ctx, pool, "process_order", Order{ID: 1, Cents: 500})
	if err != nil {
		panic(err)
	}
	output, err := run.Wait(ctx)
	fmt.Printf("%s %v\n", output, err)
	// Output: {"ship": "parcel for receipt 1"} <nil>
}

// A run that is started in a transaction starts when that commits, and never if
// it does not: the order and its processing cannot come apart.
func ExampleStartFlow_inTransaction() {
	ctx, pool := context.Background(), connect()

	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO orders (id) VALUES ($1)`, 7); err != nil {
			return err
		}
		_, err := runtime.StartFlow(ctx, tx, "process_order", Order{ID: 7, Cents: 500})
		return err
	})
	fmt.Println(err)
	// Output: <nil>
}

func ExampleStartFlow_unknown() {
	ctx, pool := context.Background(), connect()

	_, err := runtime.StartFlow(ctx, pool, "proces_order", Order{ID: 1})
	fmt.Println(errors.Is(err, runtime.ErrFlowNotFound))
	// Output: true
}

func ExampleStartMany() {
	ctx, pool := context.Background(), connect()

	orders := []any{Order{ID: 11}, Order{ID: 12}, Order{ID: 13}}
	runs, err := runtime.StartMany(ctx, pool, "process_order", orders, runtime.WithKeys("order 11", "order 12", "order 13"))
	if err != nil {
		panic(err)
	}
	for _, run := range runs {
		output, err := run.Wait(ctx)
		fmt.Printf("%s %v\n", output, err)
	}
	// Output:
	// {"ship": "parcel for receipt 11"} <nil>
	// {"ship": "parcel for receipt 12"} <nil>
	// {"ship": "parcel for receipt 13"} <nil>
}

func ExampleStartFlowSync() {
	ctx, pool := context.Background(), connect()

	info, err := runtime.StartFlowSync(ctx, pool, "process_order", Order{ID: 2}, runtime.WithTimeout(30*time.Second))
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s %s\n", info.Status, info.Output)
	// Output: completed {"ship": "parcel for receipt 2"}
}

func ExampleEnqueue() {
	ctx, pool := context.Background(), connect()

	run, err := runtime.Enqueue(ctx, pool, "stocktaking", map[string]string{"shelf": "A"})
	if err != nil {
		panic(err)
	}
	info, err := run.Info(ctx)
	fmt.Println(info.Status, string(info.Input), err)
	// Output: running {"shelf": "A"} <nil>
}

func ExampleEnqueueIn() {
	ctx, pool := context.Background(), connect()

	run, err := runtime.EnqueueIn(ctx, pool, "stocktaking", nil, 90*time.Minute)
	if err != nil {
		panic(err)
	}
	info, err := run.Info(ctx)
	fmt.Println(info.Status, err)
	// Output: scheduled <nil>
}

func ExampleEnqueueAt() {
	ctx, pool := context.Background(), connect()

	silvester := time.Date(2999, time.December, 31, 12, 0, 0, 0, time.UTC)
	run, err := runtime.EnqueueAt(ctx, pool, "stocktaking", nil, silvester)
	if err != nil {
		panic(err)
	}
	fmt.Println(run.ScheduledAt().UTC())
	// Output: 2999-12-31 12:00:00 +0000 UTC
}

// A key makes a start safe to repeat: the second one returns the first one's run.
func ExampleWithIdempotencyKey() {
	ctx, pool := context.Background(), connect()

	for range 2 {
		run, err := runtime.StartFlow(ctx, pool, "process_order", Order{ID: 3}, runtime.WithIdempotencyKey("order 3"))
		if err != nil {
			panic(err)
		}
		fmt.Println(run.ID(), run.Existed())
	}
	// Output:
	// 5c321351-1d97-5f64-9a65-e0398fa591bb false
	// 5c321351-1d97-5f64-9a65-e0398fa591bb true
}

func ExampleWithRunID() {
	ctx, pool := context.Background(), connect()

	run, err := runtime.StartFlow(ctx, pool, "process_order", Order{ID: 4}, runtime.WithRunID("0f8d2b0e-8e53-4f0e-9d3d-6a4ee1e4a5a1"))
	if err != nil {
		panic(err)
	}
	fmt.Println(run.ID())
	// Output: 0f8d2b0e-8e53-4f0e-9d3d-6a4ee1e4a5a1
}

// The options of StartMany hold for each of its runs.
func ExampleWithDelay() {
	ctx, pool := context.Background(), connect()

	runs, err := runtime.StartMany(ctx, pool, "process_order", []any{Order{ID: 21}, Order{ID: 22}}, runtime.WithDelay(time.Hour))
	if err != nil {
		panic(err)
	}
	fmt.Println(runs[0].ScheduledAt().Equal(runs[1].ScheduledAt()), time.Until(runs[0].ScheduledAt()) > 59*time.Minute)
	// Output: true true
}

func ExampleWithStartAt() {
	ctx, pool := context.Background(), connect()

	run, err := runtime.StartFlow(ctx, pool, "process_order", Order{ID: 5}, runtime.WithStartAt(time.Now().Add(-time.Hour)))
	if err != nil {
		panic(err)
	}
	fmt.Println(run.ScheduledAt().IsZero()) // a time that is past means now
	// Output: true
}

func ExampleRun_Wait() {
	ctx, pool := context.Background(), connect()

	run, err := processOrder.Start(ctx, pool, Order{ID: 6, Cents: -1})
	if err != nil {
		panic(err)
	}
	parcel, err := run.Wait(ctx, runtime.WithTimeout(30*time.Second))
	var failed *runtime.RunFailedError
	switch {
	case errors.Is(err, runtime.ErrTimeout):
		fmt.Println("still running, look again later:", run.ID())
	case errors.As(err, &failed):
		fmt.Println(failed.Step, "failed:", failed.Message)
	case err == nil:
		fmt.Println("sent", parcel)
	}
	// Output: charge failed: cannot charge -1
}

// A run cannot be waited for in the transaction in which it is started.
func ExampleRun_Via() {
	ctx, pool := context.Background(), connect()

	tx, err := pool.Begin(ctx)
	if err != nil {
		panic(err)
	}
	defer tx.Rollback(ctx)
	run, err := processOrder.Start(ctx, tx, Order{ID: 8})
	if err != nil {
		panic(err)
	}
	_, err = run.Wait(ctx)
	fmt.Println(errors.Is(err, runtime.ErrWaitInTx))
	if err := tx.Commit(ctx); err != nil {
		panic(err)
	}
	parcel, err := run.Via(pool).Wait(ctx)
	fmt.Println(parcel, err)
	// Output:
	// true
	// parcel for receipt 8 <nil>
}

func ExampleGetRun() {
	ctx, pool := context.Background(), connect()
	run, err := processOrder.Start(ctx, pool, Order{ID: 9, Cents: 500})
	if err != nil {
		panic(err)
	}

	info, err := runtime.GetRun(ctx, pool, run.ID())
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s %s\n", info.Flow, info.Input)
	_, err = runtime.GetRun(ctx, pool, "00000000-0000-0000-0000-000000000000")
	fmt.Println(errors.Is(err, runtime.ErrRunNotFound))
	// Output:
	// process_order {"id": 9, "cents": 500}
	// true
}

func ExampleGetRun_states() {
	ctx, pool := context.Background(), connect()
	run, err := processOrder.Start(ctx, pool, Order{ID: 10})
	if err != nil {
		panic(err)
	}
	if _, err := run.Wait(ctx); err != nil {
		panic(err)
	}

	info, err := runtime.GetRun(ctx, pool, run.ID(), runtime.WithStates())
	if err != nil {
		panic(err)
	}
	for _, state := range info.States {
		fmt.Printf("%s %s %s\n", state.Step, state.Status, state.Output)
	}
	// Output:
	// charge completed "receipt 10"
	// ship completed "parcel for receipt 10"
}

// A flow can be put together at run time, for example one for each tenant.
func ExampleUpsertFlow() {
	ctx, pool := context.Background(), connect()

	flow := spec.Flow{
		MaxAttempts: 5,
		Steps: []spec.Step{
			{Slug: "reshape"},
			{Slug: "create_contact", Deps: []string{"reshape"}, Timeout: 10 * time.Second},
		},
	}
	for range 2 {
		result, err := runtime.UpsertFlow(ctx, pool, flow.As("acct_123_hubspot_sync_v1"))
		fmt.Println(result.Status, err)
	}
	// Output:
	// compiled <nil>
	// verified <nil>
}

// All that is wrong with a flow is said at once, and nothing is written.
func ExampleUpsertFlow_invalid() {
	ctx, pool := context.Background(), connect()

	_, err := runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "sync", Steps: []spec.Step{
		{Slug: "reshape", Deps: []string{"reshpe"}},
		{Slug: "create_contact", MaxAttempts: -1},
	}})
	fmt.Println(err)
	// Output:
	// flowc: flow "sync" is not valid, 2 faults:
	// 	step reshape: it waits for "reshpe", which is no step of this flow
	// 	step create_contact: MaxAttempts is -1, it counts the first attempt and must be at least 1
}

// A flow of another shape is left as it is, unless AllowDataLoss is given.
func ExampleMismatchError() {
	ctx, pool := context.Background(), connect()
	if _, err := runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "acct_7_sync", Steps: []spec.Step{{Slug: "fetch"}}}); err != nil {
		panic(err)
	}

	changed := spec.Flow{Steps: []spec.Step{{Slug: "fetch"}, {Slug: "store"}}}
	_, err := runtime.UpsertFlow(ctx, pool, changed.As("acct_7_sync"))
	var mismatch *runtime.MismatchError
	if errors.As(err, &mismatch) {
		fmt.Println(mismatch.Differences[0])
	}
	// Output: Step count differs: 2 vs 1
}

func ExampleDeleteFlow() {
	ctx, pool := context.Background(), connect()
	if _, err := runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "retired_v1", Steps: []spec.Step{{Slug: "only"}}}); err != nil {
		panic(err)
	}
	if _, err := runtime.StartFlow(ctx, pool, "retired_v1", nil); err != nil {
		panic(err)
	}

	deleted, err := runtime.DeleteFlow(ctx, pool, "retired_v1", runtime.AllowDataLoss())
	fmt.Printf("%+v %v\n", deleted, err)
	deleted, err = runtime.DeleteFlow(ctx, pool, "retired_v1")
	fmt.Printf("%+v %v\n", deleted, err)
	// Output:
	// {Existed:true Runs:1 Steps:1} <nil>
	// {Existed:false Runs:0 Steps:0} <nil>
}

func ExampleFlowExists() {
	ctx, pool := context.Background(), connect()

	for _, slug := range []string{"process_order", "Process_Order"} {
		exists, err := runtime.FlowExists(ctx, pool, slug)
		fmt.Println(exists, err)
	}
	// Output:
	// true <nil>
	// false <nil>
}

// Generated packages call NewFlow; with it, calls have the types of the flow.
func ExampleNewFlow() {
	ctx, pool := context.Background(), connect()

	parcel, err := processOrder.StartSync(ctx, pool, Order{ID: 14})
	fmt.Println(parcel, err)
	// Output: parcel for receipt 14 <nil>
}
