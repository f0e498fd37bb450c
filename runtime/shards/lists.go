package shards

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/pgcall"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// Lists query all shards at once and merge what they return. A shard that does not answer is
// left out, and the error, an [ops.PartialError], names it.

var (
	_ ops.Lister    = backend{}
	_ ops.Definer   = backend{}
	_ ops.Operator  = backend{}
	_ ops.Scheduler = backend{}
	_ ops.Sharder   = backend{}
)

// listWait is how long a shard may take to say that it is there, so that what the others have
// is shown soon. The query itself may take as long as the caller allows.
const listWait = 2 * time.Second

// ask calls a function with a shard, unless that is down or takes too long to say that it is
// not. It learns of shards that were added.
func (b backend) ask(ctx context.Context, e entry, do func(*member) error) error {
	if m := b.db.lookup(e); m != nil {
		if o := m.down.Load(); o != nil && m.isDown() {
			return o.err
		}
	}
	return b.db.call(ctx, e.Number, func(m *member) error {
		waiting, cancel := context.WithTimeout(ctx, listWait)
		defer cancel()
		_, err := b.db.learn(waiting, m)
		switch {
		case err == nil:
			return do(m)
		case waiting.Err() != nil && ctx.Err() == nil:
			return fmt.Errorf("it did not answer within %s: %w", listWait, context.DeadlineExceeded)
		}
		return err
	})
}

// A reply is what a shard returned.
type reply[T any] struct {
	shard string
	value T
}

// queryAll calls a function with each shard, with all at once, and returns what those
// returned that answered, and the errors of the others.
func queryAll[T any](ctx context.Context, b backend, do func(context.Context, runtime.DB) (T, error)) (replies []reply[T], faults []*ops.ShardError) {
	var mu sync.Mutex
	asked := map[int]bool{}
	for known := (*shardMap)(nil); known != b.db.known.Load(); { // it may learn of shards
		known = b.db.known.Load()
		var calls sync.WaitGroup
		for _, e := range known.version {
			if asked[e.Number] {
				continue
			}
			asked[e.Number] = true
			calls.Go(func() {
				var value T
				err := b.ask(ctx, e, func(m *member) (err error) {
					value, err = do(ctx, m.pool)
					return err
				})
				mu.Lock()
				defer mu.Unlock()
				var fault *Error
				switch {
				case err == nil:
					replies = append(replies, reply[T]{e.Name, value})
				case errors.As(err, &fault):
					faults = append(faults, &Error{Shard: e.Name, Err: fault.Err})
				default:
					faults = append(faults, &Error{Shard: e.Name, Err: err})
				}
			})
		}
		calls.Wait()
	}
	slices.SortFunc(replies, func(a, b reply[T]) int { return cmp.Compare(a.shard, b.shard) })
	slices.SortFunc(faults, func(a, b *ops.ShardError) int { return cmp.Compare(a.Shard, b.Shard) })
	return replies, faults
}

// query does what [queryAll] does. Its error is an [ops.PartialError] if some shards answered.
func query[T any](ctx context.Context, b backend, doing string, do func(context.Context, runtime.DB) (T, error)) ([]reply[T], error) {
	replies, faults := queryAll(ctx, b, do)
	for _, f := range faults {
		if errors.Is(f.Err, runtime.ErrInvalidOption) { // which all refuse
			return nil, f.Err
		}
	}
	partial := &ops.PartialError{Doing: doing, Shards: faults}
	switch {
	case len(faults) == 0:
		return replies, nil
	case len(replies) == 0:
		return nil, failed(partial)
	}
	return replies, partial
}

// failed returns an error that is not about some of the shards only.
func failed(err error) error {
	if partial := ops.Partial(err); partial != nil {
		return errors.Join(partial.Unwrap()...)
	}
	return err
}

// merge returns the rows of all shards, in order, and at most so many; 0 means all.
func merge[T any](replies []reply[[]T], name func(row *T, shard string), order func(a, b T) int, limit int) []T {
	var all []T
	for _, r := range replies {
		for i := range r.value {
			name(&r.value[i], r.shard)
		}
		all = append(all, r.value...)
	}
	slices.SortStableFunc(all, order)
	if limit > 0 && len(all) > limit {
		all = all[:limit]
	}
	return all
}

func nameRun(r *ops.RunSummary, shard string) { r.Shard = shard }

// ListRuns merges pages: the next one of each shard begins after the last run of this one,
// whichever shard has that.
func (b backend) ListRuns(ctx context.Context, filter ops.RunFilter) ([]ops.RunSummary, error) {
	replies, err := query(ctx, b, "listing runs", func(ctx context.Context, db runtime.DB) ([]ops.RunSummary, error) {
		return ops.ListRuns(ctx, db, filter)
	})
	return merge(replies, nameRun, newestFirst, filter.Limit), err
}

// newestFirst compares runs as the lists of the database do.
func newestFirst(a, b ops.RunSummary) int {
	x, y := parse(a.ID), parse(b.ID)
	return cmp.Or(b.StartedAt.Compare(a.StartedAt), bytes.Compare(y[:], x[:]))
}

func (b backend) ListFailures(ctx context.Context, since time.Time, limit int) ([]ops.RunSummary, error) {
	replies, err := query(ctx, b, "listing failures", func(ctx context.Context, db runtime.DB) ([]ops.RunSummary, error) {
		return ops.ListFailures(ctx, db, since, limit)
	})
	return merge(replies, nameRun, func(a, b ops.RunSummary) int { return b.EndedAt.Compare(a.EndedAt) }, limit), err
}

// AdjacentRuns finds the runs that started just after and just before a run, on whatever
// shard.
func (b backend) AdjacentRuns(ctx context.Context, id string) (newer, older string, _ error) {
	run, err := b.Run(ctx, id, runtime.RunDetail{})
	if errors.Is(err, runtime.ErrRunNotFound) {
		return "", "", nil
	}
	if err != nil {
		return "", "", err
	}
	type adjacent struct {
		newer, older     *string
		newerAt, olderAt *time.Time
	}
	replies, err := query(ctx, b, "finding the runs adjacent to run "+id, func(ctx context.Context, db runtime.DB) (adjacent, error) {
		a, _, err := pgcall.EngineOne(ctx, db, func(row pgx.CollectableRow) (a adjacent, _ error) {
			return a, row.Scan(&a.newer, &a.newerAt, &a.older, &a.olderAt)
		}, `SELECT newer::text, newer_at, older::text, older_at FROM flowc.adjacent_runs($1::text::uuid, $2, $3)`, id, run.Flow, run.StartedAt)
		return a, err
	})
	var after, before ops.RunSummary
	for _, r := range replies {
		a := r.value
		if a.newer != nil {
			if found := (ops.RunSummary{ID: *a.newer, StartedAt: *a.newerAt}); after.ID == "" || newestFirst(found, after) > 0 {
				after = found
			}
		}
		if a.older != nil {
			if found := (ops.RunSummary{ID: *a.older, StartedAt: *a.olderAt}); before.ID == "" || newestFirst(found, before) < 0 {
				before = found
			}
		}
	}
	return after.ID, before.ID, err
}

func (b backend) ListWorkers(ctx context.Context, since time.Time) ([]ops.WorkerInfo, error) {
	replies, err := query(ctx, b, "listing workers", func(ctx context.Context, db runtime.DB) ([]ops.WorkerInfo, error) {
		return ops.ListWorkers(ctx, db, since)
	})
	return merge(replies, func(w *ops.WorkerInfo, shard string) { w.Shard = shard },
		func(a, b ops.WorkerInfo) int { return b.StartedAt.Compare(a.StartedAt) }, 0), err
}

func (b backend) ListTasksInFlight(ctx context.Context, limit int) ([]ops.TaskInFlight, error) {
	replies, err := query(ctx, b, "listing tasks in flight", func(ctx context.Context, db runtime.DB) ([]ops.TaskInFlight, error) {
		return ops.ListTasksInFlight(ctx, db, limit)
	})
	return merge(replies, func(t *ops.TaskInFlight, shard string) { t.Shard = shard },
		func(a, b ops.TaskInFlight) int { return a.StartedAt.Compare(b.StartedAt) }, limit), err
}

// ListSchedules returns each schedule from the shard that starts its runs.
func (b backend) ListSchedules(ctx context.Context, slugs ...string) ([]ops.ScheduleInfo, error) {
	replies, err := query(ctx, b, "listing schedules", func(ctx context.Context, db runtime.DB) ([]ops.ScheduleInfo, error) {
		return ops.ListSchedules(ctx, db, slugs...)
	})
	return merge(replies, func(s *ops.ScheduleInfo, shard string) { s.Shard = shard },
		func(a, b ops.ScheduleInfo) int { return cmp.Compare(a.Flow, b.Flow) }, 0), err
}

// Throughput adds up the intervals, which are the same on all shards.
func (b backend) Throughput(ctx context.Context, since time.Time, stretch time.Duration) ([]ops.ThroughputPoint, error) {
	replies, err := query(ctx, b, "counting runs", func(ctx context.Context, db runtime.DB) ([]ops.ThroughputPoint, error) {
		return ops.Throughput(ctx, db, since, stretch)
	})
	var sums []ops.ThroughputPoint
	for _, r := range replies {
		for i, p := range r.value {
			if i == len(sums) {
				sums = append(sums, ops.ThroughputPoint{From: p.From})
			}
			sums[i].Started += p.Started
			sums[i].Completed += p.Completed
			sums[i].Failed += p.Failed
		}
	}
	return sums, err
}

// ListFlows adds up the figures of each flow.
func (b backend) ListFlows(ctx context.Context, since time.Time) ([]ops.FlowInfo, error) {
	replies, err := b.listFlows(ctx, since)
	flows := map[string]*ops.FlowInfo{}
	on := map[string]int{}
	for _, r := range replies {
		for _, f := range r.value {
			if !f.PausedAt.IsZero() {
				f.PausedOn = []string{r.shard}
			}
			if on[f.Slug]++; on[f.Slug] == 1 {
				flows[f.Slug] = &f
			} else {
				addFlow(flows[f.Slug], f)
			}
		}
	}
	all := []ops.FlowInfo{}
	for _, f := range flows {
		if len(f.PausedOn) == on[f.Slug] {
			f.PausedOn = nil
		}
		all = append(all, *f)
	}
	slices.SortFunc(all, func(a, b ops.FlowInfo) int { return cmp.Compare(a.Slug, b.Slug) })
	return all, err
}

func (b backend) listFlows(ctx context.Context, since time.Time) ([]reply[[]ops.FlowInfo], error) {
	return query(ctx, b, "listing flows", func(ctx context.Context, db runtime.DB) ([]ops.FlowInfo, error) {
		return ops.ListFlows(ctx, db, since)
	})
}

// addFlow adds the figures of a flow on another shard.
func addFlow(sum *ops.FlowInfo, f ops.FlowInfo) {
	if completed := sum.Completed + f.Completed; completed > 0 {
		share := float64(f.Completed) / float64(completed)
		sum.MeanTime += time.Duration(share * float64(f.MeanTime-sum.MeanTime))
	}
	sum.P95Time = max(sum.P95Time, f.P95Time)
	sum.Started += f.Started
	sum.Completed += f.Completed
	sum.Failed += f.Failed
	sum.Running += f.Running
	sum.Waiting += f.Waiting
	sum.Delayed += f.Delayed
	sum.InFlight += f.InFlight
	sum.Workers += f.Workers
	sum.CreatedAt = earlier(sum.CreatedAt, f.CreatedAt)
	sum.OldestWaiting = earlier(sum.OldestWaiting, f.OldestWaiting)
	if !f.PausedAt.IsZero() && (sum.PausedAt.IsZero() || f.PausedAt.Before(sum.PausedAt)) {
		sum.PausedAt, sum.PausedBy = f.PausedAt, f.PausedBy
	}
	sum.PausedOn = append(sum.PausedOn, f.PausedOn...)
	_, a := spec.VersionOf(sum.ReplacedBy)
	if _, b := spec.VersionOf(f.ReplacedBy); f.ReplacedBy != "" && (sum.ReplacedBy == "" || b > a) {
		sum.ReplacedBy = f.ReplacedBy
	}
}

// earlier returns the earlier of two times, of which one may be zero.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// GetDefinition returns the definition on the first shard that has the flow.
func (b backend) GetDefinition(ctx context.Context, slug string) (spec.Flow, error) {
	replies, err := query(ctx, b, "reading flow "+slug, func(ctx context.Context, db runtime.DB) (*spec.Flow, error) {
		def, err := ops.GetDefinition(ctx, db, slug)
		if errors.Is(err, runtime.ErrFlowNotFound) {
			return nil, nil
		}
		return &def, err
	})
	for _, r := range replies {
		if r.value != nil {
			return *r.value, nil
		}
	}
	if err != nil { // a shard that does not answer may have it
		return spec.Flow{}, failed(err)
	}
	return spec.Flow{}, &runtime.FlowNotFoundError{Flow: slug}
}

// PauseFlow pauses a flow on all shards.
func (b backend) PauseFlow(ctx context.Context, flow, by string) (bool, error) {
	return b.switchFlow(ctx, flow, "pausing flow "+flow, func(ctx context.Context, db runtime.DB) (bool, error) {
		return ops.PauseFlow(ctx, db, flow, by)
	})
}

// ResumeFlow resumes a flow on all shards.
func (b backend) ResumeFlow(ctx context.Context, flow string) (bool, error) {
	return b.switchFlow(ctx, flow, "resuming flow "+flow, func(ctx context.Context, db runtime.DB) (bool, error) {
		return ops.ResumeFlow(ctx, db, flow)
	})
}

// switchFlow reports whether a flow was changed on a shard.
func (b backend) switchFlow(ctx context.Context, flow, doing string, do func(context.Context, runtime.DB) (bool, error)) (bool, error) {
	type switched struct{ found, changed bool }
	replies, err := query(ctx, b, doing, func(ctx context.Context, db runtime.DB) (switched, error) {
		changed, err := do(ctx, db)
		if errors.Is(err, runtime.ErrFlowNotFound) {
			return switched{}, nil
		}
		return switched{true, changed}, err
	})
	found, changed := false, false
	for _, r := range replies {
		found, changed = found || r.value.found, changed || r.value.changed
	}
	if !found && err == nil {
		return false, &runtime.FlowNotFoundError{Flow: flow}
	}
	return changed, err
}

// Prune prunes all shards at once.
func (b backend) Prune(ctx context.Context, o ops.PruneOptions) (int, error) {
	var mu sync.Mutex
	total := 0
	_, err := query(ctx, b, "pruning", func(ctx context.Context, db runtime.DB) (struct{}, error) {
		own, before := o, 0
		own.Progress = func(deleted int) {
			mu.Lock()
			defer mu.Unlock()
			total += deleted - before
			before = deleted
			if o.Progress != nil {
				o.Progress(total)
			}
		}
		_, err := ops.Prune(ctx, db, own)
		return struct{}{}, err
	})
	return total, err
}

// PauseSchedule pauses the schedule on the shard that starts its runs.
func (b backend) PauseSchedule(ctx context.Context, slug, reason string) (bool, error) {
	return b.switchSchedule(ctx, "pausing", slug, func(ctx context.Context, db runtime.DB) (bool, error) {
		return ops.PauseSchedule(ctx, db, slug, reason)
	})
}

// ResumeSchedule resumes the schedule on the shard that starts its runs.
func (b backend) ResumeSchedule(ctx context.Context, slug string) (bool, error) {
	return b.switchSchedule(ctx, "resuming", slug, func(ctx context.Context, db runtime.DB) (bool, error) {
		return ops.ResumeSchedule(ctx, db, slug)
	})
}

func (b backend) switchSchedule(ctx context.Context, doing, slug string, do func(context.Context, runtime.DB) (bool, error)) (bool, error) {
	schedules, err := b.ListSchedules(ctx, slug)
	for _, s := range schedules {
		e, ok := b.db.known.Load().named(s.Shard)
		if !ok {
			continue
		}
		var changed bool
		err := b.db.call(ctx, e.Number, func(m *member) (err error) {
			changed, err = do(ctx, m.pool)
			return err
		})
		return changed, err
	}
	if err == nil {
		err = fmt.Errorf("flowc: %s the schedule of flow %s: %w", doing, slug, runtime.ErrNoSchedule)
	}
	return false, failed(err)
}

// NextTicks asks a shard that answers: all compute the same.
func (b backend) NextTicks(ctx context.Context, cron string, n int) ([]time.Time, error) {
	replies, err := query(ctx, b, "finding ticks", func(ctx context.Context, db runtime.DB) ([]time.Time, error) {
		return ops.NextTicks(ctx, db, cron, n)
	})
	if len(replies) > 0 {
		return replies[0].value, nil
	}
	return nil, err
}

// ListShards returns the shards in the order of their numbers, also those that do not answer.
func (b backend) ListShards(ctx context.Context, since time.Time) ([]ops.ShardInfo, error) {
	type figures struct {
		flows   []ops.FlowInfo
		workers int
	}
	replies, faults := queryAll(ctx, b, func(ctx context.Context, db runtime.DB) (f figures, err error) {
		if f.flows, err = ops.ListFlows(ctx, db, since); err != nil {
			return f, err
		}
		workers, err := ops.ListWorkers(ctx, db, time.Now())
		for _, w := range workers {
			if w.Status == ops.WorkerWorking || w.Status == ops.WorkerDraining {
				f.workers++
			}
		}
		return f, err
	})
	var all []ops.ShardInfo
	for _, e := range b.db.known.Load().byNumber() {
		info := ops.ShardInfo{Name: e.Name, State: e.State}
		for _, f := range faults {
			if f.Shard == e.Name {
				info.Error = f.Err.Error()
			}
		}
		for _, r := range replies {
			if r.shard != e.Name {
				continue
			}
			info.Workers = r.value.workers
			for _, f := range r.value.flows {
				info.Started += f.Started
				info.Completed += f.Completed
				info.Failed += f.Failed
				info.Running += f.Running
				info.Waiting += f.Waiting
				info.Delayed += f.Delayed
				info.InFlight += f.InFlight
			}
		}
		all = append(all, info)
	}
	return all, nil
}

// ShardOf returns the name of the shard that has a run.
func (b backend) ShardOf(ctx context.Context, id string) (string, error) {
	s, err := b.db.ShardOf(ctx, id)
	return s.Name, err
}
