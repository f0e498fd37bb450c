package ops_test

import (
	"context"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/exampleshop"
)

// An Order is what the flow of the examples takes.
type Order = exampleshop.Order

// processOrder is a flow of two steps, which a worker serves.
var processOrder = exampleshop.ProcessOrder

// connect returns a database that has the flow process_order, and the flow stocktaking,
// which no worker serves.
var connect = exampleshop.Connect

// till is what the orders of the examples are charged with.
var till = exampleshop.Till

// start starts a run of a flow that no worker serves.
func start(flow string, opts ...runtime.StartOption) string {
	run, err := runtime.StartFlow(context.Background(), connect(), flow, nil, opts...)
	must(err)
	return run.ID()
}

func must(err error) { exampleshop.Must(err) }
