package handler

import (
	"errors"
	"time"
)

// Causes of the end of a handler's context, see [context.Cause].
var (
	// ErrTaskTimeout says that the step's timeout has passed.
	ErrTaskTimeout = errors.New("flowc: the step's timeout has passed")
	// ErrTaskLost says that the worker lost the task's lease: another one
	// reclaimed it, or its run ended. The handler's result is dropped.
	ErrTaskLost = errors.New("flowc: the task is no longer this worker's")
	// ErrWorkerStopping says that the worker is stopping and its grace period has
	// passed. The task is released, and the attempt does not count.
	ErrWorkerStopping = errors.New("flowc: the worker is stopping")
)

// Permanent marks an error that retrying cannot fix: the task fails without
// further attempts. It returns nil for nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &PermanentError{Err: err}
}

// PermanentError is the error that [Permanent] returns.
type PermanentError struct{ Err error }

func (e *PermanentError) Error() string { return e.Err.Error() }
func (e *PermanentError) Unwrap() error { return e.Err }

// RetryAfter sets the delay before the next attempt, instead of the step's
// backoff. A negative delay counts as none. The attempt counts like any other:
// after the last one the task fails. It returns nil for a nil error.
func RetryAfter(delay time.Duration, err error) error {
	if err == nil {
		return nil
	}
	return &RetryAfterError{Delay: max(delay, 0), Err: err}
}

// RetryAfterError is the error that [RetryAfter] returns.
type RetryAfterError struct {
	Delay time.Duration
	Err   error
}

func (e *RetryAfterError) Error() string { return e.Err.Error() }
func (e *RetryAfterError) Unwrap() error { return e.Err }

// HoldOff sets the delay before the next attempt, as [RetryAfter] does, and has nothing else
// begin at the step's gate before that, with the key of the task: it is for a service that
// asks for a break, by HTTP status 429 or the like. For a step without a gate it is
// RetryAfter. It returns nil for a nil error.
func HoldOff(delay time.Duration, err error) error {
	if err == nil {
		return nil
	}
	return &HoldOffError{Delay: max(delay, 0), Err: err}
}

// HoldOffError is the error that [HoldOff] returns.
type HoldOffError struct {
	Delay time.Duration
	Err   error
}

func (e *HoldOffError) Error() string { return e.Err.Error() }
func (e *HoldOffError) Unwrap() error { return e.Err }

// Skip ends a step without an output, as when_exhausted:"skip" or "skip-cascade"
// do after the last attempt. On a step without one of these it is a permanent
// failure, since later steps depend on its output.
func Skip(reason string) error { return &SkipError{Reason: reason} }

// SkipError is the error that [Skip] returns.
type SkipError struct{ Reason string }

func (e *SkipError) Error() string { return "skipped: " + e.Reason }

// Snooze puts a task off: it is queued again, to be run after a delay, and the attempt does
// not count. It is for what is not done yet, and has not failed: a report that another
// system is still writing. A task may be snoozed as often as it likes, for as long as
// max_wait ([spec.Step.MaxWait]) says; beyond that, a snooze is a failed attempt. A negative
// delay counts as none. It needs the engine: with pgflow alone, the task fails.
func Snooze(delay time.Duration) error { return SnoozeNote(delay, "") }

// SnoozeNote does what [Snooze] does, with a note that says what the task waits for, which
// is shown with the run: "export 17 is at 40 %".
func SnoozeNote(delay time.Duration, note string) error {
	return &SnoozeError{Delay: max(delay, 0), Note: note}
}

// SnoozeError is the error that [Snooze] and [SnoozeNote] return.
type SnoozeError struct {
	Delay time.Duration
	Note  string
}

func (e *SnoozeError) Error() string {
	text := "snoozed for " + e.Delay.String()
	if e.Note != "" {
		text += ": " + e.Note
	}
	return text
}
