package runtime_test

import "github.com/flowc-dev/flowc/runtime/internal/exampleshop"

// An Order is what the flow of the examples takes.
type Order = exampleshop.Order

// processOrder is what a generated package has for a flow of two steps: the order
// is charged and then shipped, which gives the number of the parcel.
var processOrder = exampleshop.ProcessOrder

// connect returns a database that has the flow process_order, which a worker serves, and
// the flow stocktaking, which none does.
var connect = exampleshop.Connect

// till is what the orders of the examples are charged with.
var till = exampleshop.Till

func must(err error) { exampleshop.Must(err) }
