package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// start starts a run of a flow that nobody works on, for an example that does
// something with it.
func start(flow string, opts ...runtime.StartOption) string {
	run, err := runtime.StartFlow(context.Background(), connect(), flow, nil, opts...)
	must(err)
	return run.ID()
}

func ExampleCancelRun() {
	ctx, pool := context.Background(), connect()
	id := start("stocktaking")

	err := runtime.CancelRun(ctx, pool, id, "the shop has closed")
	if err != nil {
		panic(err)
	}
	info, err := runtime.GetRun(ctx, pool, id)
	fmt.Println(info.Status, info.CancelReason, err)

	err = runtime.CancelRun(ctx, pool, id, "once more")
	fmt.Println(errors.Is(err, runtime.ErrWrongStatus))
	// Output:
	// cancelled the shop has closed <nil>
	// true
}

// A run that failed is taken up where it stopped, when what made it fail is mended.
func ExampleRetryRun() {
	ctx, pool := context.Background(), connect()
	till.Lock()
	run, err := processOrder.Start(ctx, pool, Order{ID: 31, Cents: 500})
	must(err)
	_, err = run.Wait(ctx)
	fmt.Println(errors.As(err, new(*runtime.RunFailedError)))

	till.Open()
	if err := runtime.RetryRun(ctx, pool, run.ID()); err != nil {
		panic(err)
	}
	parcel, err := run.Wait(ctx)
	fmt.Println(parcel, err)
	// Output:
	// true
	// parcel for receipt 31 <nil>
}

// A step is done once more, and what comes after it.
func ExampleRetryStep() {
	ctx, pool := context.Background(), connect()
	run, err := processOrder.Start(ctx, pool, Order{ID: 32})
	must(err)
	_, err = run.Wait(ctx)
	must(err)

	if err := runtime.RetryStep(ctx, pool, run.ID(), "ship"); err != nil {
		panic(err)
	}
	parcel, err := run.Wait(ctx)
	fmt.Println(parcel, err)
	tasks, err := ops.ListTasks(ctx, pool, run.ID(), ops.TaskFilter{OutputBytes: ops.AllOutputs})
	fmt.Println(len(tasks), err)
	// Output:
	// parcel for receipt 32 <nil>
	// 2 <nil>
}

func ExampleRescheduleRun() {
	ctx, pool := context.Background(), connect()
	id := start("stocktaking", runtime.WithDelay(time.Hour))

	holidays := time.Date(2999, time.July, 1, 8, 0, 0, 0, time.UTC)
	if err := runtime.RescheduleRun(ctx, pool, id, holidays); err != nil {
		panic(err)
	}
	info, err := runtime.GetRun(ctx, pool, id)
	fmt.Println(info.Status, info.ScheduledAt.UTC(), err)
	// Output: scheduled 2999-07-01 08:00:00 +0000 UTC <nil>
}

// A run that has to wait is started with a low priority, and is given a high one when
// somebody asks for its result.
func ExampleSetPriority() {
	ctx, pool := context.Background(), connect()
	id := start("stocktaking", runtime.WithPriority(runtime.Low))

	err := runtime.SetPriority(ctx, pool, id, runtime.High)
	if err != nil {
		panic(err)
	}
	info, err := runtime.GetRun(ctx, pool, id)
	fmt.Println(info.Priority, err)
	// Output:
	// high <nil>
}

func ExampleDeleteRun() {
	ctx, pool := context.Background(), connect()
	id := start("stocktaking")

	_, err := runtime.DeleteRun(ctx, pool, id)
	fmt.Println(errors.Is(err, runtime.ErrWrongStatus)) // it has not ended
	must(runtime.CancelRun(ctx, pool, id, ""))
	for range 2 {
		deleted, err := runtime.DeleteRun(ctx, pool, id)
		fmt.Println(deleted, err)
	}
	// Output:
	// true
	// true <nil>
	// false <nil>
}

// A flow is left alone while it has runs that have not ended.
func ExampleAllowDataLoss() {
	ctx, pool := context.Background(), connect()
	_, err := runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "retired_v2", Steps: []spec.Step{{Slug: "only"}}})
	must(err)
	start("retired_v2")

	_, err = runtime.DeleteFlow(ctx, pool, "retired_v2")
	var active *runtime.ActiveRunsError
	if errors.As(err, &active) {
		fmt.Println(active.Active, "has not ended")
	}
	deleted, err := runtime.DeleteFlow(ctx, pool, "retired_v2", runtime.AllowDataLoss())
	fmt.Println(deleted.Runs, "deleted", err)
	// Output:
	// 1 has not ended
	// 1 deleted <nil>
}
