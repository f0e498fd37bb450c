package worker

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/flowc-dev/flowc/runtime/internal/attempt"
	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
	"github.com/flowc-dev/flowc/runtime/worker/internal/backend"
	"github.com/flowc-dev/flowc/runtime/worker/internal/dbconn"
)

const (
	// A report has up to so many results, and bytes of results unless it has only one.
	maxReportResults = 1000
	maxReportBytes   = 16 << 20

	// A result whose run is locked by another transaction is reported again after
	// minLockedWait, doubled each time up to maxLockedWait.
	minLockedWait, maxLockedWait = 5 * time.Millisecond, 100 * time.Millisecond

	// maxValueBytes is how many bytes a value in the database has at most.
	maxValueBytes = 256 << 20
)

// reporting is what all reporters of a worker share.
type reporting struct {
	log        *slog.Logger
	db         *dbconn.DB
	backend    backend.Backend
	recorder   *recorder
	slots      slots
	signals    *signals
	inflight   *inflight
	results    *resultQueues
	dispatcher *dispatcher
}

// A reporter reports the results of one queue. It is one goroutine.
type reporter struct {
	reporting
	queue  <-chan result
	large  chan<- result // for a result that turns out to take long; nil for the reporter of those
	locked []result      // results whose runs are locked, the next to be reported again first
}

// run reports results, as many at once as there are, until the queue is closed and empty.
// While the database is unreachable it keeps what it has. When ctx ends it gives up, and
// returns how many results were not reported.
func (r *reporter) run(ctx context.Context) (unreported int) {
	var next []result // taken from the queue, and not reported yet
	for {
		for len(r.locked) > 0 && (!time.Now().Before(r.locked[0].again) || ctx.Err() != nil) {
			next, r.locked = append(next, r.locked[0]), r.locked[1:]
		}
		if len(next) == 0 {
			if r.queue == nil && len(r.locked) == 0 {
				return unreported
			}
			next = r.await(ctx)
			continue
		}
		next = takeWaiting(next, r.queue)
		batch := cutBatch(next)
		next = next[len(batch):]
		unreported += r.report(ctx, split(batch))
	}
}

// await waits for a result, or until one that was locked is to be reported again.
func (r *reporter) await(ctx context.Context) []result {
	var due <-chan time.Time
	var done <-chan struct{}
	if len(r.locked) > 0 {
		due, done = time.After(time.Until(r.locked[0].again)), ctx.Done()
	}
	select {
	case first, open := <-r.queue:
		if open {
			return []result{first}
		}
		r.queue = nil
	case <-due:
	case <-done:
	}
	return nil
}

// takeWaiting adds to next what waits in a queue.
func takeWaiting(next []result, queue <-chan result) []result {
	next = slices.Grow(next, max(min(len(queue), maxReportResults-len(next)), 0))
	for len(next) < maxReportResults {
		select {
		case r, open := <-queue:
			if !open {
				return next
			}
			next = append(next, r)
		default:
			return next
		}
	}
	return next
}

// cutBatch returns as many of the results, from the first, as one report may have.
func cutBatch(results []result) []result {
	size := 0
	for i, r := range results {
		size += r.bytes()
		if i == maxReportResults || size > maxReportBytes && i > 0 {
			return results[:i]
		}
	}
	return results
}

// A batch is results that are reported together, by what is done with them.
type batch struct{ finished, committed, released, lost []result }

func split(results []result) (b batch) {
	if !slices.ContainsFunc(results, func(r result) bool {
		return r.Outcome == attempt.Lost || r.Outcome == attempt.Released || r.committed
	}) {
		return batch{finished: results} // as nearly always: nothing to copy
	}
	for _, r := range results {
		switch {
		case r.committed:
			b.committed = append(b.committed, r)
		case r.Outcome == attempt.Lost:
			b.lost = append(b.lost, r)
		case r.Outcome == attempt.Released:
			b.released = append(b.released, r)
		default:
			b.finished = append(b.finished, r)
		}
	}
	return b
}

// report reports a batch; a small report piggybacks a claim. It returns how many results
// could not be reported before ctx ended.
func (r *reporter) report(ctx context.Context, b batch) (unreported int) {
	for _, one := range b.lost {
		r.recordLost(one)
	}
	r.release(ctx, r.dispatcher.gated(b.lost), false) // they counted as in flight until now
	r.settle(b.lost)
	for _, one := range b.committed {
		r.recordCompleted(one)
	}
	r.settle(b.committed)
	if len(b.committed) > 0 {
		r.dispatcher.expect(flowsOf(b.committed)...) // what was completed may have made tasks ready
		r.signals.wakeClaimer()
	}
	if len(b.finished) > 0 {
		report := reportOf(b.finished)
		var claim *carriedClaim
		var request *backend.ClaimRequest
		if r.large != nil {
			claim = r.dispatcher.piggyback(b.finished, report.Bytes)
		}
		if claim != nil {
			request = &claim.ClaimRequest
		}
		reply, err := r.backend.Report(ctx, report, request)
		if claim != nil {
			r.dispatcher.finish(claim, reply.Claimed, err == nil)
		}
		unreported = r.conclude(ctx, b.finished, reply.Results, err, claim != nil)
		switch {
		case err != nil || claim == nil:
			r.dispatcher.expect(flowsOf(b.finished)...)
			r.signals.wakeClaimer()
		case r.dispatcher.freesOthers(b.finished, claim):
			r.dispatcher.expectAll()
			r.signals.wakeClaimer()
		}
	}
	r.release(ctx, b.released, true)
	r.settle(b.released)
	return unreported
}

// flowsOf returns the flows of results.
func flowsOf(results []result) (flows []string) {
	for i := range results {
		if flow := results[i].task.Flow; len(flows) == 0 || flows[len(flows)-1] != flow {
			flows = append(flows, flow)
		}
	}
	return flows
}

// settle takes results out of flight that need no report any more.
func (r *reporter) settle(results []result) {
	for i := range results {
		one := &results[i]
		r.inflight.remove(one.task)
		r.results.reported(one)
		if one.keepsSlot {
			r.slots.release(1)
		}
	}
}

func (r *reporter) recordCompleted(one result) {
	r.record(one, OutcomeCompleted)
	if r.log.Enabled(one.task.ctx, slog.LevelDebug) {
		r.log.LogAttrs(one.task.ctx, slog.LevelDebug, "task completed", append(one.task.attrs(), slog.Duration("duration", one.took))...)
	}
}

func (r *reporter) recordLost(one result) {
	r.record(one, OutcomeLost)
	r.log.LogAttrs(one.task.ctx, slog.LevelWarn, "task lease lost, result dropped", one.task.attrs()...)
}

// release releases tasks, or those that are no longer the worker's: these free room at their
// gates. If it cannot, they come back when their leases expire.
func (r *reporter) release(ctx context.Context, released []result, owned bool) {
	if len(released) == 0 {
		return
	}
	var tasks []*backend.Claimed
	var kept []string
	for _, one := range released {
		tasks, kept = append(tasks, one.task.Claimed), append(kept, one.Kept)
	}
	err := r.db.Retry(ctx, func() error { return r.backend.Release(ctx, tasks, kept) })
	if err != nil {
		r.log.Error("releasing tasks failed, they can be claimed again when their leases expire", "tasks", len(tasks), "error", err.Error())
		return
	}
	for _, one := range released {
		if owned {
			r.record(one, OutcomeReleased)
		}
	}
}

// conclude deals with what a report returned, which piggybacked a claim or did not. If it
// failed, it is repeated: with fewer results if it took too long, and a single result that
// takes long is left to the reporter of large ones. If the database refuses a result, the
// results are reported one by one, so that it does not affect the others. conclude returns
// how many results could not be reported before ctx ended.
func (r *reporter) conclude(ctx context.Context, results []result, reports []backend.ReportResult, err error, claimed bool) (unreported int) {
	var pause dbconn.Backoff
	for err != nil && dbconn.IsTransient(err) {
		for i := range results {
			results[i].repeated = true
		}
		if dbconn.IsSlow(err) && len(results) > 1 {
			half := len(results) / 2
			return r.reportAgain(ctx, results[:half]) + r.reportAgain(ctx, results[half:])
		}
		if dbconn.IsSlow(err) && !claimed && r.large != nil {
			r.large <- results[0]
			return 0
		}
		if !pause.Wait(ctx, r.db.Recovered()) {
			break
		}
		claimed = false
		reports, err = r.reportOnly(ctx, results)
	}
	switch {
	case err == nil:
		r.settle(r.recordResults(results, reports))
		return 0
	case ctx.Err() != nil:
		r.settle(results)
		return len(results)
	case len(results) > 1 || claimed:
		for i := range results {
			unreported += r.reportAgain(ctx, results[i:i+1])
		}
		return unreported
	}
	one := results[0]
	if one.Outcome == attempt.Permanent {
		r.log.LogAttrs(ctx, slog.LevelError, "reporting a task's result failed", append(one.task.attrs(), slog.String("error", err.Error()))...)
		r.settle(results)
		return 1
	}
	one.Result = attempt.Result{Outcome: attempt.Permanent, Err: attempt.ErrorText(fmt.Errorf("flowc: %s: %w", refusal(one, err), err))}
	return r.reportAgain(ctx, []result{one})
}

// reportAgain reports results of a report that failed.
func (r *reporter) reportAgain(ctx context.Context, results []result) (unreported int) {
	reports, err := r.reportOnly(ctx, results)
	return r.conclude(ctx, results, reports, err, false)
}

// reportOnly reports results without a claim.
func (r *reporter) reportOnly(ctx context.Context, results []result) ([]backend.ReportResult, error) {
	reply, err := r.backend.Report(ctx, reportOf(results), nil)
	return reply.Results, err
}

// reportOf returns the report of results.
func reportOf(results []result) *backend.Report {
	report := backend.NewReport(len(results))
	for i := range results {
		report.Add(results[i].task.Claimed, &results[i].Result)
	}
	return report
}

// refusal says why the database refused a result.
func refusal(r result, err error) string {
	switch {
	case pgerr.Code(err) == "54000" && len(r.Output) < maxValueBytes/2 && r.task.step.isMap:
		return "the outputs of all tasks of the map are too large together for one value"
	case pgerr.Unstorable(err):
		return "the output cannot be stored"
	}
	return "what came of the task cannot be recorded"
}

// recordResults counts and logs what became of results, and returns those that have been
// dealt with; the runs of the others are locked. A result for which the report returned
// nothing was completed. One that was reported before may be refused for having been
// recorded then.
func (r *reporter) recordResults(results []result, reports []backend.ReportResult) (done []result) {
	of := make([]*backend.ReportResult, len(results))
	for i := range reports {
		of[reports[i].N-1] = &reports[i]
	}
	var locked []result
	for i, one := range results {
		report := of[i]
		status := ""
		if report != nil && report.Status != nil {
			status = *report.Status
		}
		switch {
		case report == nil || report.Accepted && status == attempt.Completed:
			r.recordCompleted(one)
		case !report.Accepted && one.mayBeCommitted && status == attempt.Completed:
			r.recordCompleted(one)
		case !report.Accepted && status == "locked":
			one.wait = min(max(2*one.wait, minLockedWait), maxLockedWait)
			one.again = time.Now().Add(one.wait)
			locked = append(locked, one)
		case !report.Accepted && one.repeated && status == one.Outcome:
			r.record(one, Outcome(one.Outcome))
		case !report.Accepted:
			r.recordLost(one)
		case report.RetryIn != nil && status == attempt.Snoozed:
			r.record(one, OutcomeSnoozed)
			r.signals.retryPending.Store(true)
			r.log.LogAttrs(one.task.ctx, slog.LevelDebug, "task snoozed", append(one.task.attrs(),
				slog.String("note", one.Err), slog.Duration("duration", one.took), slog.Duration("snoozed_for", backend.Seconds(*report.RetryIn)))...)
		case report.RetryIn != nil:
			r.record(one, OutcomeRetried)
			r.signals.retryPending.Store(true)
			r.log.LogAttrs(one.task.ctx, slog.LevelWarn, "task failed, will retry", append(one.task.attrs(),
				slog.String("error", one.Err), slog.Duration("duration", one.took), slog.Duration("retry_in", backend.Seconds(*report.RetryIn)))...)
		case one.Outcome == attempt.Skipped:
			r.record(one, OutcomeSkipped)
			r.log.LogAttrs(one.task.ctx, slog.LevelInfo, "step skipped by its handler", append(one.task.attrs(), slog.String("reason", one.Err))...)
		default:
			r.record(one, OutcomeFailed)
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

func (r *reporter) record(one result, outcome Outcome) {
	r.recorder.attemptEnded(one.task.info(), outcome, one.took)
}
