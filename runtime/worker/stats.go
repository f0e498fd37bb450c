package worker

import "sync/atomic"

// Stats counts what a worker did since [New].
type Stats struct {
	// Claimed is how many tasks were claimed.
	Claimed int64
	// Completed is how many tasks were completed.
	Completed int64
	// Retried is how many attempts failed and were followed by another.
	Retried int64
	// Failed is how many tasks failed for good; those of skipped steps are among them.
	Failed int64
	// Lost is how many tasks were reclaimed or ended before their results were
	// reported.
	Lost int64
	// Released is how many tasks were released without a result.
	Released int64
	// Pruned is how many old runs were deleted, see [Config.Retention].
	Pruned int64
	// Faults is how many calls to the database failed.
	Faults int64
}

type counters struct {
	claimed, completed, retried, failed, lost, released, pruned, faults atomic.Int64
}

// Stats returns what the worker did so far. It may be called at any time.
func (w *Worker) Stats() Stats {
	c := &w.stats
	return Stats{
		Claimed: c.claimed.Load(), Completed: c.completed.Load(), Retried: c.retried.Load(), Failed: c.failed.Load(),
		Lost: c.lost.Load(), Released: c.released.Load(), Pruned: c.pruned.Load(), Faults: c.faults.Load(),
	}
}
