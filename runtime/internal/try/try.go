// Package try says what becomes of a try at a task, from what its handler gave
// and how its context ended. Workers and the test kit share it, so that a flow
// behaves in tests as it does in production.
package try

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

// What becomes of a try, in the words of flowc.report and two of our own.
const (
	Completed = "completed"
	Failed    = "failed"
	Permanent = "permanent"
	Skipped   = "skipped"
	Released  = "released" // given back, the worker stops
	Lost      = "lost"     // not ours any more, nothing is reported
)

// A Result is what a try gave.
type Result struct {
	Outcome string
	Output  string         // of a completed try, JSON
	Err     string         // of any other; of a skipped one, its reason
	Delay   *time.Duration // until the next try, if the handler chose it
}

// Call calls a handler. A panic is an error like any other, with its stack.
func Call(ctx context.Context, h handler.Handler, v handler.Values) (output json.RawMessage, err error) {
	defer func() {
		if p := recover(); p != nil {
			output, err = nil, fmt.Errorf("panic: %v\n\n%s", p, debug.Stack())
		}
	}()
	return h.Work(ctx, v)
}

// Judge says what becomes of a try. cause is why the handler's context ended, nil if
// it did not: it may say more than err. timeout is the step's.
func Judge(cause error, timeout time.Duration, output json.RawMessage, err error) Result {
	switch {
	case cause == handler.ErrTaskLost:
		return Result{Outcome: Lost}
	case err == nil:
		return Result{Outcome: Completed, Output: string(output)}
	}
	return failure(cause, timeout, err)
}

// failure is the result of a try that failed. An error whose own methods panic, as
// those of a nil pointer do, is one that says so.
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
	switch {
	case errors.As(err, &permanent):
		r.Outcome = Permanent
	case errors.As(err, &skip):
		r.Outcome, r.Err = Skipped, ErrorText(errors.New(skip.Reason))
	case cause == handler.ErrWorkerStopping:
		r.Outcome = Released
	case errors.As(err, &later):
		r.Outcome, r.Delay = Failed, &later.Delay
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

// ErrorText is the text of an error as the database can store it.
func ErrorText(err error) string {
	text := strings.ReplaceAll(err.Error(), "\x00", `\x00`)
	if len(text) > maxErrorBytes {
		text = text[:maxErrorBytes] + " …"
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
