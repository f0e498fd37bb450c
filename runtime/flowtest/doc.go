// Package flowtest tests flows.
//
// [Inline] runs them in the test itself, with no database and no worker: starting a
// run does all its tasks before it returns, one after the other, in the goroutine of
// the test. What is tested is the same code as in production, the generated package
// and the program's own, since an inline database is a [runtime.DB]:
//
//	db := flowtest.Inline(processorder.Serve(handlers))
//	shipment, err := processorder.StartProcessOrderSync(ctx, db, order)
//
// Conditions, skips, maps, joins, retries, timeouts and middleware do what they do
// in a database. Nothing is waited for, though: neither the delays between attempts,
// which [DB.Attempts] has, nor those of scheduled runs, nor the clock, for which
// [DB.Tick] stands in. What needs a database, as
// listing or cancelling runs, is an error.
//
// [Database] gives the same code a PostgreSQL with a worker, which is thrown away
// after the test:
//
//	db := flowtest.Database(t, processorder.Serve(handlers))
package flowtest
