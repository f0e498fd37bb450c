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
// While a worker rests, starts through its pool in the same process claim for it what
// they make, in the transaction of the start: a job begins after one round trip and one
// flush instead of two, and nobody is notified. They do so only if the worker does the
// flow as a whole, without limits and delays. If that fails, the run is started alone.
//
// Each worker has a few connections of its own, which are not its pool's. One worker
// with many handlers costs the database less than many with few: its calls carry more.
//
// On these connections, timeouts that roles and databases have for statements, locks and
// transactions do not count. Each call has a deadline of its own instead, which begins
// with seconds, so that dead connections are noticed, and grows for calls that have much
// to do. A report that was cancelled all the same, by whomever, is repeated with less.
//
// A task stays its worker's until it has been reported, for as long as the worker lives.
// Results of a megabyte and more are reported apart from the others, and when 64 MB wait,
// slots stay taken until their results have been reported.
//
// A worker without work makes a heartbeat every 1.5 s, which also says whether there
// is something to recover or to start, and looks for work itself every 2 s. With work,
// it moves on where claims begin to look, so that what is done does not slow them down.
//
// Where the pool's address names several hosts and has no connect_timeout, each may take
// two seconds to answer (the only one five), so that a worker goes on with the next when
// one hangs. The pool itself, over which a program starts runs, waits two minutes for
// each: such an address needs connect_timeout, in seconds, for that.
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
//
// # What was tried for speed
//
//   - Withdrawn: workers of one process that share their connections and make their calls
//     together. 16 workers of 64 handlers in one process did 0.39 of the rate of one of
//     1024 each for itself, and 0.9 to 1.0 so; but nobody needs 16 in one process.
//   - A try is one goroutine and a timer, not two goroutines that wait for each other; a
//     claim is read without reflection: 17 to 11 µs of the worker's time a job.
//   - The context of a try is made when its handler asks for it, and handlers that do
//     not return are looked for ten times a second, instead of two timers and five parts
//     of contexts for each try: 12.0 to 9.4 µs of the worker's time a job, for handlers
//     that do not look at their contexts. About a third of what is left is for garbage,
//     3.4 kB a job with its start: rows that were read, tries, parameters that pgx writes
//     into buffers which grow.
//   - Rows become tasks at once, and reports copy no results: 3560 to 2510 bytes of
//     garbage a job, 11.4 to 9.4 µs. Rejected: how long tasks waited without a pointer
//     for each; one object of 21 less, and no gain. Rejected: an encoder of our own for
//     text[], which boxes no strings: 2260 bytes, and 0.8 µs of client's time a job that
//     did not show in the rate; pgx's is good enough.
//   - From start to handler on an idle system it took 2.1 to 2.6 ms: 1.45 the start, 0.02
//     the notification, 0.04 waking the claimer, 0.97 the claim, 0.07 until the handler.
//     It is processors and caches that have gone cold: in a row, a start takes 0.45
//     and a claim 0.5, and after a rest of 30 ms a bare insert 0.75. A flush is 0.09 of
//     it, a notification that somebody listens to 0.05. Starts that claim for a worker of
//     their own process: 1.6 to 1.7 ms.
//   - The slowest of a hundred, at 4 to 6 ms, were starts and claims just after a table
//     had been vacuumed or analyzed, which has plans made anew; now that this is done
//     less often (see the engine's documentation) they take 2.7 to 3.2. Some are commits
//     that were held up. A heartbeat fell together with one start of 400; asking what is
//     due, with none.
//   - Rejected: not trying connections that were idle for less than 2 s before they are
//     used. The first job after a rest came no sooner.
package worker
