// Package runtime starts runs of flows, waits for them, reads and controls them, and
// upserts flows. Generated code and programs call it.
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
// here that take a slug do the same for flows that are known only at run time, whose
// definitions package spec builds.
//
// Workers run the tasks, see package worker; package handler is for the code of handlers,
// and package ops for operators: lists, pausing, pruning. Programs that use database/sql
// wrap it with package sqldb.
//
// # Schedules
//
// A flow with the tag cron, or [spec.Flow.Cron], is started on schedule, by the
// database's clock and time zones; those of workers do not matter. Each tick is one
// run, whose id is derived from it, so that no fault, and no clock that is set back,
// starts it twice. Ticks that are missed while no worker serves the flow become one
// run, that of the last of them. [spec.Flow.Cron] describes what happens when daylight
// saving time begins and ends.
//
// # Poolers
//
// A pooler in transaction mode, such as PgBouncer, needs no configuration: calls
// through a pool detect it and then execute statements without preparing them, as
// calls in a transaction or on a connection always do. Notifications do not pass
// such a pooler, so [Run.Wait] polls.
//
// # Databases with pgflow, but without the engine
//
// Where pgflow itself is installed, calls use the functions of its contract, version
// 0.14. Starting, waiting for and reading runs, and upserting, deleting and looking up
// flows work as everywhere, except that waiting polls, and that the options of an existing
// flow are not changed. Workers run there too. Everything else returns an [ErrNeedsEngine]:
// starting later, schedules, lists, and controlling and deleting runs. For a pgflow of
// another version, calls return an [ErrOtherPgflow].
package runtime
