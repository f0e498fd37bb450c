package worker

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
	"github.com/flowc-dev/flowc/runtime/internal/try"
	"github.com/flowc-dev/flowc/runtime/spec"
)

const (
	// What one report may carry.
	maxReports     = 1000
	maxReportBytes = 16 << 20

	// largeBytes is from what size on a result is reported apart, so that small ones
	// need not wait while it is on its way.
	largeBytes = 1 << 20
	// maxWaitingBytes is how much may wait to be reported before slots stay taken until
	// their results have been reported, so that less is claimed.
	maxWaitingBytes = 64 << 20

	// A result whose run somebody else has locked is reported again after
	// minLockedWait, doubled each time up to maxLockedWait.
	minLockedWait, maxLockedWait = 5 * time.Millisecond, 100 * time.Millisecond
)

// A reporter hands results to the database. It is one goroutine.
type reporter struct {
	*session
	results <-chan result
	apart   chan<- result // takes what takes long; nil for the reporter that does
	locked  []result      // whose runs somebody else has locked; the next to be reported again first
}

// report reports results, as many at once as there are, until there will be no more.
// While the database is away it holds what it has. When ctx ends it gives up; it
// returns how many results were not reported.
func (r *reporter) report(ctx context.Context) (unreported int) {
	var next []result // read from the channel, and not reported yet
	for {
		for len(r.locked) > 0 && (!time.Now().Before(r.locked[0].again) || ctx.Err() != nil) {
			next, r.locked = append(next, r.locked[0]), r.locked[1:]
		}
		if len(next) == 0 {
			if r.results == nil && len(r.locked) == 0 {
				return unreported
			}
			var due <-chan time.Time
			var end <-chan struct{}
			if len(r.locked) > 0 {
				due, end = time.After(time.Until(r.locked[0].again)), ctx.Done()
			}
			select {
			case first, more := <-r.results:
				if more {
					next = append(next, first)
				} else {
					r.results = nil
				}
			case <-due:
			case <-end:
			}
			continue
		}
		next = waiting(next, r.results)
		some := cut(next)
		next = next[len(some):]
		unreported += r.reportBatch(ctx, batchOf(some))
	}
}

// nudge makes the claimer look for work once more.
func (s *session) nudge() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// waiting adds to next what is waiting in the channel.
func waiting(next []result, results <-chan result) []result {
	next = slices.Grow(next, max(min(len(results), maxReports-len(next)), 0))
	for len(next) < maxReports {
		select {
		case r, more := <-results:
			if !more {
				return next
			}
			next = append(next, r)
		default:
			return next
		}
	}
	return next
}

// cut is the part of the results that one call carries.
func cut(results []result) []result {
	size := 0
	for i, r := range results {
		size += r.bytes()
		if i == maxReports || size > maxReportBytes && i > 0 {
			return results[:i]
		}
	}
	return results
}

// A batch is results that are reported together.
type batch struct{ finished, released, lost []result }

func batchOf(results []result) (b batch) {
	if !slices.ContainsFunc(results, func(r result) bool { return r.Outcome == try.Lost || r.Outcome == try.Released }) {
		return batch{finished: results} // as nearly always: nothing to copy
	}
	for _, r := range results {
		switch r.Outcome {
		case try.Lost:
			b.lost = append(b.lost, r)
		case try.Released:
			b.released = append(b.released, r)
		default:
			b.finished = append(b.finished, r)
		}
	}
	return b
}

// reportBatch reports a batch. A small report claims along. It returns how many results
// could not be reported before ctx ended.
func (r *reporter) reportBatch(ctx context.Context, b batch) (unreported int) {
	for _, one := range b.lost {
		r.lost(one)
	}
	r.over(b.lost)
	if len(b.finished) > 0 {
		rep := reportOf(b.finished)
		var next *ask
		var along *along
		if r.apart != nil && rep.bytes <= claimAlongBytes {
			along = r.claimWith(b.finished)
		}
		if along != nil {
			next = &along.ask
		}
		got, err := r.db.finish(ctx, r.id, rep, next)
		if along != nil {
			r.claimedWith(along, got.tasks, err == nil)
		}
		unreported = r.finish(ctx, b.finished, got, err, along != nil)
		if err != nil || along == nil {
			r.nudge() // what was finished may have made work
		}
	}
	r.giveBack(ctx, b.released)
	r.over(b.released)
	return unreported
}

// over takes what has been reported out of the worker's hand.
func (s *session) over(results []result) {
	for _, r := range results {
		s.waiting.Add(-int64(r.size))
		s.hand.remove(r.task)
		if r.keepsSlot {
			s.slots <- struct{}{}
		}
	}
}

func (s *session) lost(r result) {
	s.ended(r, Lost)
	s.log.LogAttrs(r.task.ctx, slog.LevelWarn, "task lease lost, result dropped", r.task.attrs()...)
}

// giveBack releases tasks. If it cannot, they come back when their leases end.
func (s *session) giveBack(ctx context.Context, released []result) {
	if len(released) == 0 {
		return
	}
	var tasks []*task
	for _, r := range released {
		tasks = append(tasks, r.task)
	}
	err := s.db.patiently(ctx, func() error { return s.db.release(ctx, s.id, tasks) })
	if err != nil {
		s.log.Error("releasing tasks failed, they can be claimed again when their leases expire", "tasks", len(tasks), "error", err.Error())
		return
	}
	for _, r := range released {
		s.ended(r, Released)
	}
}

// finish is for results whose report has ended so, which claimed along or not. If it
// failed, it is repeated: with less if the database did not get done with it, and one
// result that takes long is left to the reporter for those. One that the database refuses
// does not harm the others: they are then reported one by one. It returns how many results
// could not be reported before ctx ended.
func (r *reporter) finish(ctx context.Context, results []result, got answer, err error, claimed bool) (unreported int) {
	var pause backoff
	for err != nil && isTransient(err) {
		for i := range results {
			results[i].repeated = true
		}
		if isSlow(err) && len(results) > 1 {
			half := len(results) / 2
			return r.reportAgain(ctx, results[:half]) + r.reportAgain(ctx, results[half:])
		}
		if isSlow(err) && !claimed && r.apart != nil {
			r.apart <- results[0]
			return 0
		}
		if !pause.wait(ctx, r.db) {
			break
		}
		claimed = false
		got, err = r.reportOnly(ctx, results)
	}
	switch {
	case err == nil:
		r.over(r.note(results, got.verdicts))
		return 0
	case ctx.Err() != nil:
		r.over(results)
		return len(results)
	case len(results) > 1 || claimed:
		for i := range results {
			unreported += r.reportAgain(ctx, results[i:i+1])
		}
		return unreported
	}
	one := results[0]
	if one.Outcome == try.Permanent {
		r.log.LogAttrs(ctx, slog.LevelError, "reporting a task's result failed", append(one.task.attrs(), slog.String("error", err.Error()))...)
		r.over(results)
		return 1
	}
	one.Result = try.Result{Outcome: try.Permanent, Err: try.ErrorText(fmt.Errorf("flowc: %s: %w", r.refused(one, err), err))}
	return r.reportAgain(ctx, []result{one})
}

// reportAgain reports results of a report that failed.
func (r *reporter) reportAgain(ctx context.Context, results []result) (unreported int) {
	got, err := r.reportOnly(ctx, results)
	return r.finish(ctx, results, got, err, false)
}

// largestValue is how many bytes a value in the database has at most.
const largestValue = 256 << 20

// refused says what the database cannot do with a result.
func (s *session) refused(r result, err error) string {
	switch {
	case pgerr.Code(err) == "54000" && len(r.Output) < largestValue/2 && s.isMap(r.task):
		return "the outputs of all tasks of the map are too large together for one value"
	case pgerr.Unstorable(err):
		return "the output cannot be stored"
	}
	return "what came of the task cannot be recorded"
}

// isMap reports whether a task is one of a map.
func (s *session) isMap(t *task) bool {
	return slices.ContainsFunc(s.services[t.Flow].definition.Steps, func(step spec.Step) bool {
		return step.Slug == t.Step && step.Type == spec.TypeMap
	})
}

// reportOnly reports results without a claim.
func (s *session) reportOnly(ctx context.Context, results []result) (answer, error) {
	return s.db.finish(ctx, s.id, reportOf(results), nil)
}

// reportOf is the report of these results.
func reportOf(results []result) (rep report) {
	rep.grow(len(results))
	for i := range results {
		r := &results[i]
		t := r.task
		rep.runs, rep.steps, rep.indexes = append(rep.runs, t.RunID), append(rep.steps, t.Step), append(rep.indexes, int32(t.Index))
		rep.messages, rep.claims = append(rep.messages, t.MessageID), append(rep.claims, t.ClaimNumber)
		rep.outcomes = append(rep.outcomes, r.Outcome)
		rep.bytes += r.bytes()
		var delay *float64
		if r.Delay != nil {
			seconds := r.Delay.Seconds()
			delay = &seconds
		}
		output, err := &r.Output, (*string)(nil)
		if r.Outcome != try.Completed {
			output, err = nil, &r.Err
		}
		rep.outputs, rep.errors, rep.delays = append(rep.outputs, output), append(rep.errors, err), append(rep.delays, delay)
	}
	return rep
}

// grow makes room for n results at once.
func (rep *report) grow(n int) {
	rep.runs, rep.steps, rep.indexes = slices.Grow(rep.runs, n), slices.Grow(rep.steps, n), slices.Grow(rep.indexes, n)
	rep.messages, rep.claims = slices.Grow(rep.messages, n), slices.Grow(rep.claims, n)
	rep.outcomes, rep.outputs = slices.Grow(rep.outcomes, n), slices.Grow(rep.outputs, n)
	rep.errors, rep.delays = slices.Grow(rep.errors, n), slices.Grow(rep.delays, n)
}

// note counts and logs what became of the results, and returns those that are over; the
// others' runs are locked. Those without a verdict were completed. If one was reported
// before, it may be refused because that brought it through.
func (r *reporter) note(results []result, verdicts []verdict) (over []result) {
	told := make([]*verdict, len(results))
	for i := range verdicts {
		told[verdicts[i].N-1] = &verdicts[i]
	}
	var locked []result
	for i, one := range results {
		v := told[i]
		switch {
		case v == nil || v.Accepted && v.Status != nil && *v.Status == "completed":
			r.ended(one, Completed)
			if r.log.Enabled(one.task.ctx, slog.LevelDebug) {
				r.log.LogAttrs(one.task.ctx, slog.LevelDebug, "task completed", append(one.task.attrs(), slog.Duration("duration", one.took))...)
			}
		case !v.Accepted && v.Status != nil && *v.Status == "locked":
			one.wait = min(max(2*one.wait, minLockedWait), maxLockedWait)
			one.again = time.Now().Add(one.wait)
			locked = append(locked, one)
		case !v.Accepted && one.repeated && v.Status != nil && *v.Status == one.Outcome:
			r.ended(one, Outcome(one.Outcome))
		case !v.Accepted:
			r.lost(one)
		case v.RetryIn != nil:
			r.ended(one, Retried)
			r.retries.Store(true)
			r.log.LogAttrs(one.task.ctx, slog.LevelWarn, "task failed, will retry", append(one.task.attrs(),
				slog.String("error", one.Err), slog.Duration("duration", one.took), slog.Duration("retry_in", secondsToDuration(*v.RetryIn)))...)
		case one.Outcome == try.Skipped:
			r.ended(one, Skipped)
			r.log.LogAttrs(one.task.ctx, slog.LevelInfo, "step skipped by its handler", append(one.task.attrs(), slog.String("reason", one.Err))...)
		default:
			r.ended(one, Failed)
			r.log.LogAttrs(one.task.ctx, slog.LevelError, "task failed", append(one.task.attrs(),
				slog.String("error", one.Err), slog.Duration("duration", one.took))...)
		}
	}
	if len(locked) == 0 {
		return results
	}
	r.locked = append(r.locked, locked...)
	slices.SortStableFunc(r.locked, func(a, b result) int { return a.again.Compare(b.again) })
	return slices.DeleteFunc(slices.Clone(results), func(one result) bool {
		return slices.ContainsFunc(locked, func(l result) bool { return l.task == one.task })
	})
}
