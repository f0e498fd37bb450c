package worker

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
	"github.com/flowc-dev/flowc/runtime/internal/try"
)

// What one report may carry.
const (
	maxReports     = 1000
	maxReportBytes = 16 << 20
)

// report hands results to the database, as many at once as there are, until
// there will be no more. While the database is away it holds what it has. When
// ctx ends it gives up; it returns how many results were not reported.
func (s *session) report(ctx context.Context, results <-chan result) (unreported int) {
	var next []result // read from the channel, and not reported yet
	for {
		if len(next) == 0 {
			r, more := <-results
			if !more {
				return unreported
			}
			next = append(next, r)
		}
		s.line.Lock()
		turn, done := s.db.inTurn(ctx)
		next = waiting(next, results)
		b := batchOf(cut(next))
		next = next[len(b.all):]
		along := s.claimWith(b.finished)
		s.line.Unlock()
		unreported += s.reportBatch(turn, b, along)
		done()
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

// cut is the part of the results that goes into one report, at least one.
func cut(results []result) []result {
	size := 0
	for i, r := range results {
		if size += len(r.Output) + len(r.Err); i > 0 && size > maxReportBytes || i == maxReports {
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

// reportBatch reports a batch and takes it out of the worker's hand. It returns how
// many results could not be reported before ctx ended.
func (s *session) reportBatch(ctx context.Context, b batch, next *along) (unreported int) {
	for _, r := range b.lost {
		s.lost(r)
	}
	unreported = s.finish(ctx, b.finished, next)
	s.giveBack(ctx, b.released)
	for _, r := range b.all {
		s.hand.remove(r.task)
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

// finish reports results that are to be reported. One that the database refuses
// does not harm the others: they are then reported one by one. The claim in next, if
// there is one, goes with them.
func (s *session) finish(ctx context.Context, results []result, next *along) (unreported int) {
	if len(results) == 0 {
		return 0
	}
	var verdicts []verdict
	went := next != nil
	repeated := -1
	err := s.db.patiently(ctx, func() (err error) {
		repeated++
		if next == nil {
			verdicts, _, err = s.db.finish(ctx, s.id, reportOf(results), nil)
			return err
		}
		var rows []claimed
		verdicts, rows, err = s.db.finish(ctx, s.id, reportOf(results), &next.ask)
		s.claimedWith(next, rows, err == nil)
		next = nil
		return err
	})
	if !went || repeated > 0 {
		s.nudge() // what was finished may have made work
	}
	switch {
	case err == nil:
		s.note(results, verdicts, repeated > 0)
		return 0
	case ctx.Err() != nil:
		return len(results)
	case len(results) > 1:
		for _, r := range results {
			unreported += s.finish(ctx, []result{r}, nil)
		}
		return unreported
	}
	r := results[0]
	if r.Outcome == try.Permanent {
		s.log.LogAttrs(ctx, slog.LevelError, "the task's result could not be reported", append(r.task.attrs(), slog.String("error", err.Error()))...)
		return 1
	}
	what := "what came of the task cannot be recorded"
	if pgerr.Unstorable(err) {
		what = "the output cannot be stored"
	}
	r.Result = try.Result{Outcome: try.Permanent, Err: try.ErrorText(fmt.Errorf("flowc: %s: %w", what, err))}
	return s.finish(ctx, []result{r}, nil)
}

func reportOf(results []result) report {
	n := len(results)
	rep := report{
		runs: make([]string, n), steps: make([]string, n), indexes: make([]int32, n), messages: make([]int64, n), attempts: make([]int32, n),
		outcomes: make([]string, n), outputs: make([]*string, n), errors: make([]*string, n), delays: make([]*float64, n),
	}
	for i := range results {
		r := &results[i]
		t := r.task
		rep.runs[i], rep.steps[i], rep.indexes[i] = t.RunID, t.Step, int32(t.Index)
		rep.messages[i], rep.attempts[i] = t.MessageID, t.Attempt
		rep.outcomes[i] = r.Outcome
		if r.Delay != nil {
			seconds := r.Delay.Seconds()
			rep.delays[i] = &seconds
		}
		if r.Outcome == try.Completed {
			rep.outputs[i] = &r.Output
			rep.bytes += len(r.Output)
		} else {
			rep.errors[i] = &r.Err
		}
	}
	return rep
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
