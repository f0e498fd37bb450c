package worker

import (
	"context"
	"time"
)

const (
	// pruneMost and pruneLeast are how often it is looked for runs that have been
	// kept long enough: ten times in that time, within these bounds.
	pruneMost, pruneLeast = time.Second, time.Minute
	// mostPruned is how many runs one call deletes at most.
	mostPruned = 1000
	// A call that deletes runs should take about so long: others who start runs of
	// the flow may have to wait for it.
	quickPrune, slowPrune = 200 * time.Millisecond, time.Second
)

// retain deletes runs that have been kept long enough, until ctx ends. Any worker
// may do it at any time: a flow that one of them is at is passed over by others.
func (s *session) retain(ctx context.Context) {
	keep := s.config.Retention
	if keep == 0 {
		return
	}
	every := min(max(keep/10, pruneMost), pruneLeast)
	wait, batch := pruneMost, 100
	for sleep(ctx, wait, nil) {
		began := time.Now()
		deleted, err := s.db.prune(ctx, s.id, s.slugs, keep, batch)
		s.stats.pruned.Add(int64(deleted))
		wait = every
		switch took := time.Since(began); {
		case err != nil || took > slowPrune:
			batch = max(batch/2, 1)
		case deleted == batch && took < quickPrune:
			batch = min(2*batch, mostPruned)
		}
		if err == nil && deleted > 0 {
			wait = time.Since(began) // there may be more; half of the time is for others
		}
	}
}
