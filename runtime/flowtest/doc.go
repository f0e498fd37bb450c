// Package flowtest tests flows.
//
// [Inline] runs them in the test itself, without a database and a worker: starting a run
// runs all its tasks before it returns, one after the other, in the goroutine of the test.
// The tested code is that of production, the generated package and the program's own, since
// an inline database is a [runtime.DB]:
//
//	db := flowtest.Inline(processorder.Serve(handlers))
//	shipment, err := processorder.StartProcessOrderSync(ctx, db, order)
//
// Conditions, skips, maps, joins, retries, timeouts and middleware work as in a database,
// but without waiting: delays between attempts are only recorded, see [DB.Attempts], and
// those of scheduled runs are ignored; [DB.Tick] replaces the clock of schedules. Runs can be
// cancelled and retried. What needs a database, such as listing runs, returns an error.
//
// A run that waits for an answer stops there, and goes on when the test sends it, with the
// Signal function of its package. A run that waits for time, since it was snoozed or has a
// start delay, goes on when the test moves the clock with [DB.Advance]; so do waits that
// expire and deadlines. To wait for the end of such a run returns a [WaitingError].
//
// In a flow that is unique ([spec.Flow.Unique]), a start finds the runs that are like it, by
// the clock of [DB.Now]. Runs with a debounce begin at once, so that each start is one.
//
// [Database] runs the same code on a PostgreSQL with a worker, which is removed after the
// test:
//
//	db := flowtest.Database(t, processorder.Serve(handlers))
package flowtest
