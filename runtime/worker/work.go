package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"github.com/flowc-dev/flowc/runtime"
)

const (
	// noticeTime is how long a handler may take to return after its context
	// ended. The lease lasts two seconds longer than the timeout.
	noticeTime = 500 * time.Millisecond
	// maxErrorBytes is how much of an error is kept.
	maxErrorBytes = 16 << 10
)

// What becomes of a try, in the words of flowc.finish and three of our own.
const (
	outcomeCompleted = "completed"
	outcomeFailed    = "failed"
	outcomePermanent = "permanent"
	outcomeSkipped   = "skipped"
	outcomeReleased  = "released" // given back, the worker stops
	outcomeLost      = "lost"     // not ours any more, nothing is reported
)

// A result is what a try gave.
type result struct {
	task    *task
	outcome string
	output  json.RawMessage
	err     string
	delay   *float64 // seconds
	took    time.Duration
}

// do runs one try to its end and hands on what it gave.
func (s *session) do(t *task, v runtime.Values) {
	began := time.Now()
	returned := make(chan result, 1)
	go call(t, v, returned)
	r, stray := await(t, returned)
	r.took = time.Since(began)
	if !stray {
		s.settle(r)
		return
	}
	s.log.LogAttrs(t.ctx, slog.LevelWarn, "the handler did not return when its context ended", t.attrs()...)
	if s.strays.Add(1) > int64(s.config.Concurrency) {
		// Too many are astray: better to stand still than to pile up more. The
		// slot is free when the handler returns.
		s.handOn(r)
		<-returned
		s.strays.Add(-1)
		s.slots <- struct{}{}
		return
	}
	s.settle(r)
	<-returned
	s.strays.Add(-1)
}

// settle hands a result to the reporter and gives the slot to the next task.
func (s *session) settle(r result) {
	s.handOn(r)
	s.slots <- struct{}{}
}

// handOn hands a result to the reporter, after which the try is over.
func (s *session) handOn(r result) {
	r.task.stop()
	s.results <- r
	s.running.Done()
}

// await waits for a handler to return. If its context ends it gets a moment to
// notice that; stray is true if it did not.
func await(t *task, returned <-chan result) (r result, stray bool) {
	select {
	case r = <-returned:
		return r, false
	case <-t.ctx.Done():
	}
	timer := time.NewTimer(noticeTime)
	defer timer.Stop()
	select {
	case r = <-returned:
		return r, false
	case <-timer.C:
		return judge(t, nil, context.Cause(t.ctx)), true
	}
}

// call runs the handler. A panic is a failure like any other, and so is a handler
// that ends its goroutine, as a failing test helper does.
func call(t *task, v runtime.Values, returned chan<- result) {
	r := judge(t, nil, errEnded)
	defer func() {
		if p := recover(); p != nil {
			r = judge(t, nil, fmt.Errorf("panic: %v\n\n%s", p, debug.Stack()))
		}
		returned <- r
	}()
	output, err := t.handler.Work(t.ctx, v)
	r = judge(t, output, err)
}

var errEnded = errors.New("flowc: the handler ended its goroutine")

// judge says what becomes of a try.
func judge(t *task, output json.RawMessage, err error) result {
	r := result{task: t, output: output}
	if err != nil {
		r.err = errorText(err)
	}
	var skip *runtime.SkipError
	var permanent *runtime.PermanentError
	var later *runtime.RetryAfterError
	cause := context.Cause(t.ctx)
	switch {
	case cause == runtime.ErrTaskLost:
		r.outcome = outcomeLost
	case err == nil:
		r.outcome = outcomeCompleted
	case errors.As(err, &permanent):
		r.outcome = outcomePermanent
	case errors.As(err, &skip):
		r.outcome, r.err = outcomeSkipped, errorText(errors.New(skip.Reason))
	case cause == runtime.ErrWorkerStopping:
		r.outcome = outcomeReleased
	case errors.As(err, &later):
		seconds := later.Delay.Seconds()
		r.outcome, r.delay = outcomeFailed, &seconds
	default:
		r.outcome = outcomeFailed
	}
	if r.outcome == outcomeFailed && cause == runtime.ErrTaskTimeout {
		text := fmt.Sprintf("flowc: the try took longer than the step's timeout of %ds", t.Timeout)
		if err != cause && !errors.Is(err, context.DeadlineExceeded) {
			text += ": " + r.err
		}
		r.err = text
	}
	return r
}

// errorText is the text of an error as the database can store it.
func errorText(err error) string {
	text := strings.ReplaceAll(err.Error(), "\x00", `\x00`)
	if len(text) > maxErrorBytes {
		text = text[:maxErrorBytes] + " …"
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// attrs are what the log says about a task.
func (t *task) attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("flow", t.Flow), slog.String("run_id", t.RunID), slog.String("step", t.Step),
		slog.Int("index", t.Index), slog.Int("attempt", t.Tries), slog.Int("max_attempts", t.MaxAttempts),
	}
}
