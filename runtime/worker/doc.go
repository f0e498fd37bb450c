// Package worker does the tasks of flows: it claims them from the database, runs
// their handlers, and reports what they gave.
//
//	w, err := worker.New(pool, worker.Config{Concurrency: 16},
//		processorder.Serve(handlers), sendreceipt.Serve(sendReceipt))
//	...
//	err = w.Run(ctx) // until ctx is cancelled, then drains
//
// A worker is three stages that are joined by channels: one claimer takes as many
// tasks as there are free slots, a goroutine for each runs its handler, and one
// reporter hands all results that have come together to the database at once. So
// a handler never holds a connection, and a database that is slow or away delays
// results but loses none.
//
// How it is, says [Worker.Health]; what it does, it tells its [Metrics] and its
// logger. [Worker.RunUntilSignal] is Run for a main function.
//
// A report of few results claims along: both are sent together, as one transaction,
// so that what a step made work of is begun with one round trip and one flush, and
// nobody is notified of what the claim takes. Reports of many results do not, since
// a claim would hold the locks of their runs meanwhile; nor does a worker with
// limits, of which two claims at once could take too much. A claim that got less
// than it asked for has emptied its flows and is not repeated.
//
// A worker without work makes a heartbeat every 1.5 s, which also says whether there
// is something to recover or to start, and looks for work itself every 2 s.
//
// Delivery is at least once: a task whose worker dies, or whose try overruns its
// timeout without being reported, is run again by another worker. Reports are
// fenced, so that only the last owner's counts.
//
// Where another make of pgflow is installed, a worker works in the functions of its
// contract, beside workers in other languages. It polls there. What it has in hand when
// it dies, or when its grace period is over, comes back half a minute after the flow's
// timeout instead of at once; a permanent failure uses up the tries that are left, and a
// skip does so too.
package worker
