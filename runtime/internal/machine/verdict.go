package machine

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/flowc-dev/flowc/runtime/internal/attempt"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// An Outcome is what an attempt means for its task.
type Outcome string

// The outcomes of an attempt.
const (
	// Completed ends the task with an output.
	Completed Outcome = "completed"
	// Retried is followed by another attempt.
	Retried Outcome = "retried"
	// Failed ends the task for good.
	Failed Outcome = "failed"
	// Skipped ends the task for good, because its handler asked for it.
	Skipped Outcome = "skipped"
	// Snoozed puts the task off, see [Run.Snooze].
	Snoozed Outcome = "snoozed"
)

// A Verdict is what becomes of a task after an attempt.
type Verdict struct {
	Outcome Outcome
	// Output is that of a completed task.
	Output json.RawMessage
	// Err is why the attempt did not complete.
	Err string
	// RetryIn is how long the next attempt waits, also after a snooze.
	RetryIn time.Duration
}

// Judge returns what becomes of a task of the step after its n-th attempt.
func (s *Step) Judge(n int, r attempt.Result) Verdict {
	switch {
	case r.Outcome == attempt.Completed:
		return Verdict{Outcome: Completed, Output: json.RawMessage(r.Output)}
	case r.Outcome == attempt.Failed && n < s.MaxAttempts:
		v := Verdict{Outcome: Retried, Err: r.Err, RetryIn: s.retryDelay(n)}
		if r.Delay != nil {
			v.RetryIn = *r.Delay
		}
		return v
	case r.Outcome == attempt.Snoozed:
		return Verdict{Outcome: Snoozed, Err: r.Err, RetryIn: *r.Delay}
	case r.Outcome == attempt.Skipped && s.WhenExhausted == spec.ModeFail:
		return Verdict{Outcome: Failed, Err: fmt.Sprintf(
			`flowc: the handler asked to skip step %s (%s), which does not allow it: add when_exhausted:"skip" to the step`, s.Slug, r.Err)}
	case r.Outcome == attempt.Skipped:
		return Verdict{Outcome: Skipped, Err: r.Err}
	}
	return Verdict{Outcome: Failed, Err: r.Err}
}
