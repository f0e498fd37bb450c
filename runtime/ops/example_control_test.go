package ops_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
)

// The step count has a start delay of an hour, which nobody has to wait for.
func ExampleRunNow() {
	ctx, pool := context.Background(), connect()
	id := start("stocktaking")

	tasks, err := ops.RunNow(ctx, pool, id, "count")
	fmt.Println(tasks, err)
	// Output: 1 <nil>
}

// A service that prunes once a day needs no more than this.
func ExamplePrune() {
	ctx, pool := context.Background(), connect()

	runs, err := ops.Prune(ctx, pool, ops.PruneOptions{
		OlderThan: 30 * 24 * time.Hour,
		Flows:     []string{"process_order"},
		Progress:  func(deleted int) { fmt.Println(deleted, "so far") },
	})
	fmt.Println(runs, err)
	// Output: 0 <nil>
}

// Nothing of a paused flow is handed to workers, though runs of it can be started.
func ExamplePauseFlow() {
	ctx, pool := context.Background(), connect()

	paused, err := ops.PauseFlow(ctx, pool, "process_order", "ann")
	fmt.Println(paused, err)
	run, err := processOrder.Start(ctx, pool, Order{ID: 33})
	if err != nil {
		panic(err)
	}
	_, err = run.Wait(ctx, runtime.WithTimeout(50*time.Millisecond))
	fmt.Println(errors.Is(err, runtime.ErrTimeout), strings.Contains(err.Error(), "paused 0 s ago by ann"))

	resumed, err := ops.ResumeFlow(ctx, pool, "process_order")
	fmt.Println(resumed, err)
	parcel, err := run.Wait(ctx)
	fmt.Println(parcel, err)
	// Output:
	// true <nil>
	// true true
	// true <nil>
	// parcel for receipt 33 <nil>
}

func ExampleResumeFlow() {
	ctx, pool := context.Background(), connect()

	resumed, err := ops.ResumeFlow(ctx, pool, "process_order")
	fmt.Println(resumed, err) // it was not paused
	// Output: false <nil>
}
