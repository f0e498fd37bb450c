package ops_test

import (
	"context"
	"fmt"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A chart of how many claims wait for a person needs no more than this.
func ExampleCountWaits() {
	ctx, pool := context.Background(), connect()
	_, err := runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "count_claims", Steps: []spec.Step{{Slug: "approve", Type: spec.TypeWait}}})
	must(err)
	start("count_claims")
	start("count_claims")

	counts, err := ops.CountWaits(ctx, pool)
	must(err)
	for _, c := range counts {
		if c.Flow == "count_claims" {
			fmt.Println(c.Step, c.Waiting, c.Endless)
		}
	}
	// Output: approve 2 2
}

// What was asked of a run in a transaction is listed until a worker has done it.
func ExampleListRequests() {
	ctx, pool := context.Background(), connect()
	id := start("stocktaking")
	tx, err := pool.Begin(ctx)
	must(err)
	must(runtime.CancelRun(ctx, tx, id, "the shop is closed"))
	must(tx.Commit(ctx))

	requests, err := ops.ListRequests(ctx, pool, time.Now().Add(time.Hour), 100)
	must(err)
	for _, r := range requests {
		if r.RunID == id {
			fmt.Println(r.Action, r.Argument)
		}
	}
	// Output: cancel the shop is closed
}
