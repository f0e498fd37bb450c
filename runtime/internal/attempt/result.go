// Package attempt is one execution of a task's handler: its context, who ends it, and
// its result. Workers and the test kit share the result, so that a flow behaves in
// tests as it does in production.
package attempt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/flowc-dev/flowc/runtime/handler"
)

// maxErrorBytes is how much of an error is kept.
const maxErrorBytes = 16 << 10

// The outcomes of an attempt: those that are reported to the database, in its words,
// and two that are not.
const (
	Completed = "completed"
	Failed    = "failed"
	Permanent = "permanent"
	Skipped   = "skipped"
	Snoozed   = "snoozed"  // it is queued again, and the attempt does not count
	Released  = "released" // the worker stops and returns the task to the queue
	Lost      = "lost"     // the task is no longer this worker's
)

// A Result is the result of an attempt.
type Result struct {
	Outcome string
	Output  string         // JSON, if the attempt completed its task
	Err     string         // the error if it did not, the reason to skip, or the note of a snooze
	Delay   *time.Duration // until the next attempt, if the handler chose it
	HoldOff bool           // whether nothing else begins at the step's gate before that
	Kept    string         // JSON for the next attempt, empty if the handler kept nothing
}

// Call calls a handler. A panic is returned as an error with its stack.
func Call(ctx context.Context, h handler.Handler, v handler.Values) (output json.RawMessage, err error) {
	defer func() {
		if p := recover(); p != nil {
			output, err = nil, fmt.Errorf("panic: %v\n\n%s", p, debug.Stack())
		}
	}()
	return h.Work(ctx, v)
}

// Classify returns the result of an attempt from what its handler returned. cause is why
// the handler's context ended, nil if it did not: it may say more than err. timeout is
// that of the step.
func Classify(cause error, timeout time.Duration, output json.RawMessage, err error) Result {
	switch {
	case cause == handler.ErrTaskLost:
		return Result{Outcome: Lost}
	case err == nil:
		return Result{Outcome: Completed, Output: string(output)}
	}
	return failure(cause, timeout, err)
}

// failure returns the result of an attempt that failed. An error whose methods panic, as
// those of a nil pointer do, is replaced by one that says so.
func failure(cause error, timeout time.Duration, err error) (r Result) {
	defer func() {
		if p := recover(); p != nil {
			r = failure(cause, timeout, fmt.Errorf("flowc: the handler returned a %T that cannot be read: panic: %v", err, p))
		}
	}()
	r = Result{Err: ErrorText(err)}
	var skip *handler.SkipError
	var permanent *handler.PermanentError
	var later *handler.RetryAfterError
	var off *handler.HoldOffError
	var snooze *handler.SnoozeError
	switch {
	case errors.As(err, &permanent):
		r.Outcome = Permanent
	case errors.As(err, &skip):
		r.Outcome, r.Err = Skipped, ErrorText(errors.New(skip.Reason))
	case errors.As(err, &snooze):
		r.Outcome, r.Err, r.Delay = Snoozed, ErrorText(errors.New(snooze.Note)), &snooze.Delay
	case cause == handler.ErrWorkerStopping:
		r.Outcome = Released
	case errors.As(err, &later):
		r.Outcome, r.Delay = Failed, &later.Delay
	case errors.As(err, &off):
		r.Outcome, r.Delay, r.HoldOff = Failed, &off.Delay, true
	default:
		r.Outcome = Failed
	}
	if r.Outcome == Failed && cause == handler.ErrTaskTimeout {
		text := fmt.Sprintf("flowc: the attempt exceeded the step's timeout of %gs", timeout.Seconds())
		if err != cause && !errors.Is(err, context.DeadlineExceeded) {
			text += ": " + r.Err
		}
		r.Err = text
	}
	return r
}

// ErrorText returns the text of an error in a form that the database can store.
func ErrorText(err error) string {
	text := strings.ReplaceAll(err.Error(), "\x00", `\x00`)
	if len(text) > maxErrorBytes {
		text = text[:maxErrorBytes] + " …"
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
