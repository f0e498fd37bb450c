// Package runtime is what generated code and programs call: it starts runs of
// flows, waits for them, looks them up, and puts flows into the database.
//
// Every function takes a [DB]: a pool, a connection or a transaction. A run that
// is started in a transaction starts when the transaction commits, and never if
// it does not.
//
//	run, err := runtime.StartFlow(ctx, pool, "process_order", order)
//	...
//	shipment, err := run.Wait(ctx)
//
// Flows are usually declared in Go and called through the package that is
// generated for them, whose types are checked by the compiler. The functions
// here that take a slug do the same for flows that are known only at run time.
//
// Tasks are done by a worker, see package worker.
package runtime
