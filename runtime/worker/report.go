package worker

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
	"github.com/flowc-dev/flowc/runtime/internal/try"
)

// What one report may carry.
const (
	maxReports     = 1000
	maxReportBytes = 16 << 20
	// A result whose run somebody else has locked is reported again after
	// minLockedWait, doubled each time up to maxLockedWait.
	minLockedWait, maxLockedWait = 5 * time.Millisecond, time.Second
)

// report reports results, as many at once as there are, until there will be no more.
// While the database is away it holds what it has. When ctx ends it gives up; it
// returns how many results were not reported.
func (s *session) report(ctx context.Context, results <-chan result) (unreported int) {
	var next []result   // read from the channel, and not reported yet
	var locked []result // whose runs somebody else has locked; the next to be reported again first
	for {
		for len(locked) > 0 && (!time.Now().Before(locked[0].again) || ctx.Err() != nil) {
			next, locked = append(next, locked[0]), locked[1:]
		}
		if len(next) == 0 {
			if results == nil && len(locked) == 0 {
				return unreported
			}
			var due <-chan time.Time
			var end <-chan struct{}
			if len(locked) > 0 {
				due, end = time.After(time.Until(locked[0].again)), ctx.Done()
			}
			select {
			case first, more := <-results:
				if more {
					next = append(next, first)
				} else {
					results = nil
				}
			case <-due:
			case <-end:
			}
			continue
		}
		next = waiting(next, results)
		some := cut(next)
		next = next[len(some):]
		again, left := s.reportBatch(ctx, batchOf(some))
		unreported += left
		if len(again) > 0 {
			locked = append(locked, again...)
			slices.SortStableFunc(locked, func(a, b result) int { return a.again.Compare(b.again) })
		}
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
		size += len(r.Output) + len(r.Err)
		if i == maxReports || size > maxReportBytes && i > 0 {
			return results[:i]
		}
	}
	return results
}

// A batch is results that are reported together.
type batch struct {
	all                      []result
	finished, released, lost []result
}

func batchOf(results []result) batch {
	if !slices.ContainsFunc(results, func(r result) bool { return r.Outcome == try.Lost || r.Outcome == try.Released }) {
		return batch{all: results, finished: results} // as nearly always: nothing to copy
	}
	b := batch{all: results}
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

// reportBatch reports a batch and takes it out of the worker's hand, but for those
// whose runs are locked, which it returns. A small report claims along. It also returns
// how many results could not be reported before ctx ended.
func (s *session) reportBatch(ctx context.Context, b batch) (locked []result, unreported int) {
	for _, one := range b.lost {
		s.lost(one)
	}
	if len(b.finished) > 0 {
		var next *ask
		along := s.claimWith(b.finished)
		if along != nil {
			next = &along.ask
		}
		got, err := s.db.finish(ctx, s.id, reportOf(b.finished), next)
		if along != nil {
			s.claimedWith(along, got.tasks, err == nil)
		}
		locked, unreported = s.finish(ctx, b.finished, got, err)
		if err != nil || along == nil {
			s.nudge() // what was finished may have made work
		}
	}
	s.giveBack(ctx, b.released)
	for _, one := range b.all {
		if !slices.ContainsFunc(locked, func(l result) bool { return l.task == one.task }) {
			s.hand.remove(one.task)
		}
	}
	return locked, unreported
}

func (s *session) lost(r result) {
	s.ended(r, Lost)
	s.log.LogAttrs(r.task.ctx, slog.LevelWarn, "the task is not this worker's any more, its result is dropped", r.task.attrs()...)
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
		s.log.Error("tasks could not be given back, they come back when their timeouts are over", "tasks", len(tasks), "error", err.Error())
		return
	}
	for _, r := range released {
		s.ended(r, Released)
	}
}

// finish is for results whose report has ended so. If it failed, it is repeated. One
// that the database refuses does not harm the others: they are then reported one by one.
// It returns those whose runs are locked, and how many were not reported.
func (s *session) finish(ctx context.Context, results []result, got answer, err error) (locked []result, unreported int) {
	repeated := false
	if err != nil {
		failure := err
		err = s.db.patiently(ctx, func() (err error) {
			if err, failure = failure, nil; err != nil {
				return err
			}
			repeated = true
			got, err = s.reportOnly(ctx, results...)
			return err
		})
	}
	switch {
	case err == nil:
		return s.note(results, got.verdicts, repeated), 0
	case ctx.Err() != nil:
		return nil, len(results)
	case len(results) > 1:
		for _, one := range results {
			got, err := s.reportOnly(ctx, one)
			again, left := s.finish(ctx, []result{one}, got, err)
			locked, unreported = append(locked, again...), unreported+left
		}
		return locked, unreported
	}
	one := results[0]
	if one.Outcome == try.Permanent {
		s.log.LogAttrs(ctx, slog.LevelError, "the task's result could not be reported", append(one.task.attrs(), slog.String("error", err.Error()))...)
		return nil, 1
	}
	what := "what came of the task cannot be recorded"
	if pgerr.Unstorable(err) {
		what = "the output cannot be stored"
	}
	one.Result = try.Result{Outcome: try.Permanent, Err: try.ErrorText(fmt.Errorf("flowc: %s: %w", what, err))}
	got, err = s.reportOnly(ctx, one)
	return s.finish(ctx, []result{one}, got, err)
}

// reportOnly reports results without a claim.
func (s *session) reportOnly(ctx context.Context, results ...result) (answer, error) {
	return s.db.finish(ctx, s.id, reportOf(results), nil)
}

// reportOf is the report of these results.
func reportOf(results []result) (rep report) {
	rep.grow(len(results))
	for i := range results {
		r := &results[i]
		t := r.task
		rep.runs, rep.steps, rep.indexes = append(rep.runs, t.RunID), append(rep.steps, t.Step), append(rep.indexes, int32(t.Index))
		rep.messages, rep.attempts = append(rep.messages, t.MessageID), append(rep.attempts, t.Attempt)
		rep.outcomes = append(rep.outcomes, r.Outcome)
		rep.bytes += len(r.Output) + len(r.Err)
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
	rep.messages, rep.attempts = slices.Grow(rep.messages, n), slices.Grow(rep.attempts, n)
	rep.outcomes, rep.outputs = slices.Grow(rep.outcomes, n), slices.Grow(rep.outputs, n)
	rep.errors, rep.delays = slices.Grow(rep.errors, n), slices.Grow(rep.delays, n)
}

// note counts and logs what became of the results, and returns those whose runs are
// locked. Those without a verdict were completed. If the report was repeated, a result
// that is refused may be one that the first report brought through.
func (s *session) note(results []result, verdicts []verdict, repeated bool) (locked []result) {
	told := make([]*verdict, len(results))
	for i := range verdicts {
		told[verdicts[i].N-1] = &verdicts[i]
	}
	for i, r := range results {
		v := told[i]
		switch {
		case v == nil || v.Accepted && v.Status != nil && *v.Status == "completed":
			s.ended(r, Completed)
			if s.log.Enabled(r.task.ctx, slog.LevelDebug) {
				s.log.LogAttrs(r.task.ctx, slog.LevelDebug, "task completed", append(r.task.attrs(), slog.Duration("duration", r.took))...)
			}
		case !v.Accepted && v.Status != nil && *v.Status == "locked":
			r.wait = min(max(2*r.wait, minLockedWait), maxLockedWait)
			r.again = time.Now().Add(r.wait)
			locked = append(locked, r)
		case !v.Accepted && repeated && v.Status != nil && *v.Status == r.Outcome:
			s.ended(r, Outcome(r.Outcome))
		case !v.Accepted:
			s.lost(r)
		case v.RetryIn != nil:
			s.ended(r, Retried)
			s.retries.Store(true)
			s.log.LogAttrs(r.task.ctx, slog.LevelWarn, "task failed, it will be tried again", append(r.task.attrs(),
				slog.String("error", r.Err), slog.Duration("duration", r.took), slog.Duration("retry_in", secondsToDuration(*v.RetryIn)))...)
		case r.Outcome == try.Skipped:
			s.ended(r, Skipped)
			s.log.LogAttrs(r.task.ctx, slog.LevelInfo, "the handler skipped its step", append(r.task.attrs(), slog.String("reason", r.Err))...)
		default:
			s.ended(r, Failed)
			s.log.LogAttrs(r.task.ctx, slog.LevelError, "task failed", append(r.task.attrs(),
				slog.String("error", r.Err), slog.Duration("duration", r.took))...)
		}
	}
	return locked
}
