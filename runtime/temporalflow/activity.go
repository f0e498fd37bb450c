package temporalflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/attempt"
	"github.com/flowc-dev/flowc/runtime/internal/machine"
	"github.com/flowc-dev/flowc/runtime/spec"
)

const (
	// heartbeatEvery is how often a worker says that a task is in flight, and
	// heartbeatTimeout is how long without that until another worker may have it.
	heartbeatEvery   = 1500 * time.Millisecond
	heartbeatTimeout = 5 * time.Second
	// hardLimit is how much longer than its timeout an attempt may take in any case.
	hardLimit = 2 * time.Second
	// maxLost is how often a task may be lost with its worker.
	maxLost = 3
)

// past is what earlier attempts at a task leave to the next one, in their heartbeats. What
// Temporal counts as attempts has those that were lost with a worker, too.
type past struct {
	Failures int `json:"failures"`
	Released int `json:"released,omitempty"`
}

// An executor does the tasks of a step.
type executor struct {
	step    string
	handler handler.Handler
	log     *slog.Logger
	limit   int // how many bytes an output may have
	slots   slots
	polled  func(queue string) *queueSlots // nil if the worker does not poll it
	// input reads the input of a run.
	input func(ctx context.Context, runID string) (json.RawMessage, error)

	stuck    *atomic.Int64 // handlers of the worker that ignore their ended contexts
	maxStuck int64
}

// attempt is the activity of a task.
func (x *executor) attempt(ctx context.Context, in task) (done, error) {
	var before past
	if activity.HasHeartbeatDetails(ctx) {
		_ = activity.GetHeartbeatDetails(ctx, &before)
	}
	n := before.Failures + 1
	if lost := int(activity.GetInfo(ctx).Attempt) - 1 - before.Failures - before.Released; lost > maxLost {
		return done{}, final(fmt.Sprintf("flowc: the worker was lost %d times while it did this task", lost), before.Failures)
	}
	stop := heartbeats(ctx, before)
	r := x.result(ctx, in, n)
	stop()
	if r.Outcome == attempt.Completed && len(r.Output) > x.limit {
		r = attempt.Result{Outcome: attempt.Permanent, Err: tooLong("output of step "+x.step, len(r.Output)).Error()}
	}
	if r.Outcome == attempt.Snoozed {
		r = attempt.Result{Outcome: attempt.Permanent, Err: "flowc: Snooze needs flowc's engine: Temporal keeps the time of the next attempt"}
	}
	switch r.Outcome {
	case attempt.Lost:
		x.logTask(ctx, slog.LevelWarn, "task lost, result dropped", in, n)
		return done{}, temporal.NewCanceledError()
	case attempt.Released:
		before.Released++
		activity.RecordHeartbeat(ctx, before)
		return done{}, again(r.Err, 0, before.Failures)
	}
	step := machine.Step{Step: spec.Step{Slug: x.step, MaxAttempts: in.MaxAttempts, BaseDelay: &in.BaseDelay, WhenExhausted: in.Exhausted}}
	switch v := step.Judge(n, r); v.Outcome {
	case machine.Completed:
		return done{v.Output, n}, nil
	case machine.Retried:
		x.logTask(ctx, slog.LevelWarn, "task failed, will retry", in, n, slog.String("error", v.Err), slog.Duration("retry_in", v.RetryIn))
		before.Failures++
		activity.RecordHeartbeat(ctx, before)
		return done{}, again(v.Err, v.RetryIn, n)
	case machine.Skipped:
		x.logTask(ctx, slog.LevelInfo, "step skipped by its handler", in, n, slog.String("reason", v.Err))
		return done{}, final(v.Err, n)
	default:
		x.logTask(ctx, slog.LevelError, "task failed", in, n, slog.String("error", v.Err))
		return done{}, final(v.Err, n)
	}
}

func (x *executor) logTask(ctx context.Context, level slog.Level, event string, in task, n int, more ...slog.Attr) {
	x.log.LogAttrs(ctx, level, event, append([]slog.Attr{
		slog.String("flow", in.Flow), slog.String("run_id", in.RunID), slog.String("step", x.step), slog.Int("index", in.Index),
		slog.Int("attempt", n), slog.Int("max_attempts", in.MaxAttempts),
	}, more...)...)
}

// elsewhere is the activity of a step that this worker leaves to others, for tasks of runs
// that were begun before it was known. It costs no attempt.
func elsewhere(ctx context.Context, _ task) (done, error) {
	var before past
	if activity.HasHeartbeatDetails(ctx) {
		_ = activity.GetHeartbeatDetails(ctx, &before)
	}
	before.Released++
	activity.RecordHeartbeat(ctx, before)
	return done{}, again("flowc: the worker leaves this step to others", time.Second, before.Failures)
}

// final returns the error of a task that has failed for good.
func final(text string, attempts int) error {
	return temporal.NewApplicationErrorWithOptions(text, attemptFailed, temporal.ApplicationErrorOptions{
		NonRetryable: true, Details: []any{failure{text, attempts}},
	})
}

// again returns the error of a task that is attempted again. A delay of 0 would mean that of
// the policy.
func again(text string, delay time.Duration, attempts int) error {
	return temporal.NewApplicationErrorWithOptions(text, attemptFailed, temporal.ApplicationErrorOptions{
		NextRetryDelay: max(delay, time.Millisecond), Details: []any{failure{text, attempts}},
	})
}

// result calls the handler for the n-th attempt at a task.
func (x *executor) result(ctx context.Context, in task, n int) attempt.Result {
	release, ok := x.slots.take(ctx, x.polled(activity.GetInfo(ctx).TaskQueue))
	if !ok {
		return attempt.Result{Outcome: attempt.Released, Err: "flowc: the worker had no free slot"}
	}
	v := handler.Values{Input: in.Input, Outputs: in.Outputs, Item: in.Item}
	if in.NoInput && x.handler.NeedsInput() {
		var err error
		if v.Input, err = x.input(ctx, in.RunID); err != nil {
			release()
			return attempt.Result{Outcome: attempt.Released, Err: attempt.ErrorText(err)}
		}
	}
	hctx, end := x.context(ctx, in, n)
	defer end()
	output, err, abandoned := x.call(hctx, v, release)
	if abandoned {
		x.logTask(ctx, slog.LevelWarn, "handler ignores its ended context", in, n)
	}
	return attempt.Classify(context.Cause(hctx), in.Timeout, output, err)
}

// context returns that of a handler. It ends, with flowc's causes, when the activity's does.
func (x *executor) context(ctx context.Context, in task, n int) (context.Context, func()) {
	values := handler.WithTask(context.WithoutCancel(ctx), handler.Task{
		RunID: in.RunID, Flow: in.Flow, Step: x.step, Index: in.Index,
		Attempt: n, MaxAttempts: in.MaxAttempts, Headers: in.Headers, Tick: in.Tick,
	})
	values = handler.WithLogger(values, x.log)
	revocable, revoke := context.WithCancelCause(values)
	hctx, stop := context.WithTimeoutCause(revocable, in.Timeout, handler.ErrTaskTimeout)
	unwatch := context.AfterFunc(ctx, func() {
		cause := handler.ErrTaskLost
		if errors.Is(context.Cause(ctx), worker.ErrWorkerShutdown) {
			cause = handler.ErrWorkerStopping
		}
		revoke(cause)
	})
	return hctx, func() { unwatch(); stop(); revoke(nil) }
}

// call calls the handler, and abandons it if it does not return when its context has ended.
// If too many are abandoned, the slot stays taken until the handler returns: it is better
// to stop working than to pile up more.
func (x *executor) call(ctx context.Context, v handler.Values, release func()) (_ json.RawMessage, _ error, abandoned bool) {
	type result struct {
		output json.RawMessage
		err    error
	}
	results := make(chan result, 1)
	go func() {
		r := result{err: errors.New("flowc: the handler called runtime.Goexit")}
		defer func() { results <- r }()
		r.output, r.err = attempt.Call(ctx, x.handler, v)
	}()
	select {
	case r := <-results:
		release()
		return r.output, r.err, false
	case <-ctx.Done():
	}
	select {
	case r := <-results:
		release()
		return r.output, r.err, false
	case <-time.After(attempt.ReturnTime):
	}
	keep := x.stuck.Add(1) > x.maxStuck
	if !keep {
		release()
	}
	go func() {
		<-results
		x.stuck.Add(-1)
		if keep {
			release()
		}
	}()
	return nil, context.Cause(ctx), true
}

// heartbeats says, until it is stopped, that a task is in flight.
func heartbeats(ctx context.Context, p past) (stop func()) {
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(heartbeatEvery)
		defer ticker.Stop()
		for {
			select {
			case <-quit:
				return
			case <-ctx.Done():
				return
			case <-ticker.C:
				activity.RecordHeartbeat(ctx, p)
			}
		}
	}()
	return func() { close(quit); <-ended }
}
