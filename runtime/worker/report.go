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
	// apartTime is how long a worker reports without others when it had a result that
	// the database refuses: more may follow, and each makes a whole call fail.
	apartTime = 10 * time.Second
)

// A reporter hands results to the database. It is one goroutine.
type reporter struct {
	*session
	number int
	next   []result  // read from the channel, and not reported yet
	apart  time.Time // until when it reports without others
}

// report reports results, as many at once as there are, until there will be no more.
// While the database is away it holds what it has. When ctx ends it gives up; it
// returns how many results were not reported.
func (r *reporter) report(ctx context.Context) (unreported int) {
	results, line := r.results[r.number], &r.lines[r.number]
	for {
		if len(r.next) == 0 {
			first, more := <-results
			if !more {
				return unreported
			}
			r.next = append(r.next, first)
		}
		var b batch
		var next *along
		line.Lock()
		got, err := r.db.finish(ctx, r.id, r.number, order{
			alone: time.Now().Before(r.apart),
			results: func(rep *report, space space) (int, bool) {
				r.next = waiting(r.next, results)
				some := cut(r.next, space)
				if len(some) == 0 {
					return 0, false
				}
				b, r.next = batchOf(some), r.next[len(some):]
				line.Unlock()
				return rep.add(b.finished), true
			},
			claim: func() *ask {
				if next = r.claimWith(b.finished); next == nil {
					return nil
				}
				return &next.ask
			},
		})
		if next != nil {
			r.claimedWith(next, got, err == nil)
		}
		unreported += r.reported(ctx, b, got, err, next != nil)
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
	next = slices.Grow(next, min(len(results), maxReports-len(next)))
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

// cut is the part of the results for which a call has space.
func cut(results []result, space space) []result {
	size := 0
	for i, r := range results {
		size += len(r.Output) + len(r.Err)
		if i == space.results || size > space.bytes && (i > 0 || !space.first) {
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

// reported is for a batch whose report has ended so: it sees to what is left to do,
// and takes the batch out of the worker's hand. It returns how many results could not
// be reported before ctx ended.
func (r *reporter) reported(ctx context.Context, b batch, got answer, err error, claimed bool) (unreported int) {
	for _, one := range b.lost {
		r.lost(one)
	}
	unreported = r.finish(ctx, b.finished, got, err)
	if len(b.finished) > 0 && (err != nil || !claimed) {
		r.nudge() // what was finished may have made work
	}
	r.giveBack(ctx, b.released)
	for _, one := range b.all {
		r.hand.remove(one.task)
	}
	return unreported
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

// finish is for results whose report has ended so. If it failed, it is repeated,
// without what others had to report. One that the database refuses does not harm the
// others: they are then reported one by one.
func (r *reporter) finish(ctx context.Context, results []result, got answer, err error) (unreported int) {
	if len(results) == 0 {
		return 0
	}
	repeated := false
	if err != nil {
		failure := err
		if got.shared && !pgerr.Transient(err) {
			failure = nil // it may be for somebody else's
		}
		err = r.db.patiently(ctx, func() (err error) {
			if err, failure = failure, nil; err != nil {
				return err
			}
			repeated = true
			got, err = r.alone(ctx, results...)
			return err
		})
	}
	switch {
	case err == nil:
		r.note(results, got.verdicts, repeated)
		return 0
	case ctx.Err() != nil:
		return len(results)
	case len(results) > 1:
		for _, one := range results {
			got, err := r.alone(ctx, one)
			unreported += r.finish(ctx, []result{one}, got, err)
		}
		return unreported
	}
	one := results[0]
	if one.Outcome == try.Permanent {
		r.log.LogAttrs(ctx, slog.LevelError, "the task's result could not be reported", append(one.task.attrs(), slog.String("error", err.Error()))...)
		return 1
	}
	r.apart = time.Now().Add(apartTime)
	what := "what came of the task cannot be recorded"
	if pgerr.Unstorable(err) {
		what = "the output cannot be stored"
	}
	one.Result = try.Result{Outcome: try.Permanent, Err: try.ErrorText(fmt.Errorf("flowc: %s: %w", what, err))}
	got, err = r.alone(ctx, one)
	return r.finish(ctx, []result{one}, got, err)
}

// alone makes a report of these results, and of nothing else.
func (r *reporter) alone(ctx context.Context, results ...result) (answer, error) {
	return r.db.finish(ctx, r.id, r.number, order{alone: true, results: func(rep *report, _ space) (int, bool) { return rep.add(results), true }})
}

// add adds results to a report, and returns how many those are.
func (rep *report) add(results []result) int {
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
	return len(results)
}

// grow makes room for n more results at once.
func (rep *report) grow(n int) {
	rep.runs, rep.steps, rep.indexes = slices.Grow(rep.runs, n), slices.Grow(rep.steps, n), slices.Grow(rep.indexes, n)
	rep.messages, rep.attempts = slices.Grow(rep.messages, n), slices.Grow(rep.attempts, n)
	rep.outcomes, rep.outputs = slices.Grow(rep.outcomes, n), slices.Grow(rep.outputs, n)
	rep.errors, rep.delays = slices.Grow(rep.errors, n), slices.Grow(rep.delays, n)
}

// note counts and logs what became of the results. Those without a verdict were
// completed. If the report was repeated, a result that is refused may be one
// that the first report brought through.
func (s *session) note(results []result, verdicts []verdict, repeated bool) {
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
}
