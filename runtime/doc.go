// Package runtime starts runs of flows, waits for them, looks them up, and puts
// flows into the database. Generated code and programs call it.
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
// Package spec has their definitions.
//
// Tasks are run by workers, see package worker, and what handlers use is in package
// handler. Lists, pauses and pruning are in package ops. Programs that use database/sql
// wrap it with package sqldb.
//
// # Schedules
//
// A flow with the tag cron, or [spec.Flow.Cron], is started on schedule, by the
// database's clock and time zones; those of workers do not matter. Each tick is one
// run, whose id is derived from it, so that no fault, and no clock that is set back,
// starts it twice. Ticks that are missed while no worker serves the flow become one
// run, that of the last of them. [spec.Flow.Cron] tells what happens when daylight
// saving time begins and ends.
//
// # Poolers
//
// A pooler in transaction mode, such as PgBouncer, needs no configuration: calls
// through a pool detect it and then execute statements without preparing them, as
// calls in a transaction or on a connection always do. Notifications do not pass
// such a pooler, so waiting polls.
//
// # Databases with pgflow, but without the engine
//
// Where pgflow itself is installed, calls use the functions of its contract, version
// 0.14. Starting, waiting for and reading runs, and putting in, deleting and looking
// for flows work as everywhere; waiting polls, and the options of an existing flow are
// not changed. Workers run there too. Everything else returns an [ErrNeedsEngine]:
// starting later, schedules, lists, and steering and deleting runs. A pgflow of another
// version is an [ErrOtherPgflow].
package runtime
