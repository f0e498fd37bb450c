// Package worker runs the handlers of flows: it claims tasks from the database, calls
// their handlers, and reports the results.
//
//	w, err := worker.New(pool, worker.Config{Concurrency: 16},
//		processorder.Serve(handlers), sendreceipt.Serve(sendReceipt))
//	...
//	err = w.Run(ctx) // until ctx is cancelled, then drains
//
// [Worker.RunUntilSignal] is Run for a main function, and [Worker.Start] runs a worker
// in the background. [Worker.Health] reports its state; [Config].Metrics and
// [Config].Logger observe its work. To do more work, start more processes: workers
// need not know of each other.
//
// # Delivery
//
// Delivery is at least once: a task whose worker dies, or whose attempt exceeds its
// timeout without being reported, is run again by another worker. Reports are fenced,
// so that only the last owner's counts. A live worker keeps the lease of a task until
// it has reported it.
//
// If a worker is killed, at most four times [Config].Concurrency attempts are repeated:
// those that run, and three times as many that have ended and wait to be reported. They
// wait while the database is unreachable, or another transaction has locked their runs.
// Once so many wait, or 64 MB, each further result keeps its slot until it is reported.
// So a transaction that locks a run and stays open does not hold up other runs, unless
// so many tasks of the runs that it has locked are ready.
//
// Handlers hold no connection, and an unreachable database delays results but loses
// none. Results of a megabyte and more are reported apart from the others.
//
// # Connections
//
// A worker opens a few connections of its own with the pool's configuration. One worker
// with many handlers costs the database less than many workers with few, since its calls
// carry more.
//
// On these connections, the statement, lock and transaction timeouts of roles and
// databases are switched off. Each call has a deadline of its own instead, which starts
// at seconds, so that dead connections are noticed, and grows for calls with much to do.
// A report that is cancelled all the same, by anybody, is retried with less.
//
// If the pool's address names several hosts and has no connect_timeout, each may take
// two seconds to answer (a single one five), so that a worker tries the next when one
// hangs. The pool itself, over which a program starts runs, waits two minutes for each:
// such an address needs connect_timeout, in seconds, for that.
//
// # How it works
//
// A worker has three stages, joined by channels: one claimer takes as many tasks as
// there are free slots, a goroutine per task runs its handler, and reporters send all
// results that have come together in one call.
//
// Small reports piggyback a claim: report and claim run in one transaction, which saves
// a round trip and a commit, and the notification of what the claim takes. Large reports
// do not, since the claim would hold the locks of their runs meanwhile; nor does a worker
// with limits, which two claims at once could exceed. A claim that got less than it asked
// for has emptied its flows and is not repeated.
//
// When a worker is idle, StartFlow through the same pool also claims the new task for
// it, so the handler starts after one round trip and one flush instead of two. That
// needs a worker that serves the flow as a whole, without limits and delays. If it
// fails, the run is started alone.
//
// An idle worker sends a heartbeat every 1.5 s, which also tells it whether there is
// something to recover or to start, and polls for work every 2 s. A busy one advances
// the queue watermark, so that claims skip finished rows.
//
// # Databases with pgflow, but without the engine
//
// Where pgflow itself is installed, a worker uses the functions of its contract, beside
// workers in other languages. It polls there. Tasks in flight when it dies, or when its
// grace period ends, come back half a minute after the flow's timeout instead of at
// once; a permanent failure uses up the attempts that are left, and so does a skip.
package worker
