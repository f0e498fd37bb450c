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
// Tasks are done by a worker, see package worker. Programs that use database/sql
// find their DB in package sqldb.
//
// # Schedules
//
// A flow with the tag cron, or [FlowOptions.Cron], is started by the clock: by the
// database's clock and time zones, so that those of workers do not matter. Each
// tick is one run, whose id is made from it: no fault, and no clock that is set
// back, starts it twice. Ticks that pass while no worker serves the flow are one
// run, that of the last of them. Where daylight saving time begins and ends,
// [FlowOptions.Cron] says what happens.
//
// # Poolers
//
// Nothing has to be set for a pooler in transaction mode, such as PgBouncer: a
// pool finds out that there is one and then executes statements without preparing
// them, which is what happens in a transaction or on a connection anyway. Since
// notifications do not pass such a pooler, waiting polls.
//
// # Databases with pgflow, but without the engine
//
// Where another make of pgflow is installed, calls are made in the functions of
// its contract, which is that of version 0.14. Runs are started, waited for and read,
// and flows put in, deleted and looked for, as everywhere; waiting polls, and options
// of a flow that is there are not changed. Workers work there too. What remains is an
// [ErrNeedsEngine]: starting later, schedules, lists, and steering and deleting runs.
// A pgflow of another version is an [ErrOtherPgflow].
package runtime
