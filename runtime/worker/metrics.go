package worker

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/flowc-dev/flowc/runtime/handler"
)

// Metrics receives callbacks about worker activity. Methods are called concurrently
// and must not block. The first panic of one is logged; panics have no other effect.
// Embed [NoMetrics] to stay compatible with methods that are added later. Package
// otelworker has an implementation for OpenTelemetry.
type Metrics interface {
	// AttemptBegan is called when a task has been claimed. waited is how long it was
	// claimable before, since it became ready or its delay ended; it is zero for a
	// task that was reclaimed from a dead worker.
	AttemptBegan(task handler.Task, waited time.Duration)
	// AttemptEnded is called when an attempt has ended and been reported to the
	// database. took is how long its handler ran.
	AttemptEnded(task handler.Task, outcome Outcome, took time.Duration)
	// Woke is called when an idle worker looks for work again.
	Woke(reason WakeReason)
	// Called is called after each call to the database.
	Called(name string, took time.Duration, err error)
}

// An Outcome is how an attempt ended.
type Outcome string

// The outcomes of an attempt.
const (
	// OutcomeCompleted is an attempt that completed its task.
	OutcomeCompleted Outcome = "completed"
	// OutcomeRetried is one that failed and is followed by another.
	OutcomeRetried Outcome = "retried"
	// OutcomeFailed is one after which its task failed for good.
	OutcomeFailed Outcome = "failed"
	// OutcomeSkipped is one whose handler asked to skip its step.
	OutcomeSkipped Outcome = "skipped"
	// OutcomeSnoozed is one whose handler put its task off. It does not count.
	OutcomeSnoozed Outcome = "snoozed"
	// OutcomeReleased is one whose task was released because the worker is stopping. It
	// does not count.
	OutcomeReleased Outcome = "released"
	// OutcomeLost is one whose task was no longer this worker's: its lease had expired,
	// or its run had ended.
	OutcomeLost Outcome = "lost"
)

// A WakeReason is the reason why an idle worker looked for work.
type WakeReason string

// The reasons to look for work.
const (
	// WakeReasonNotification is a notification from the database.
	WakeReasonNotification WakeReason = "notification"
	// WakeReasonTimer is a scheduled run or a retry that has become due.
	WakeReasonTimer WakeReason = "timer"
	// WakeReasonResult is a result of this worker, which may have made tasks ready.
	WakeReasonResult WakeReason = "result"
	// WakeReasonPoll is the poll interval.
	WakeReasonPoll WakeReason = "poll"
)

// NoMetrics does nothing.
type NoMetrics struct{}

var _ Metrics = NoMetrics{}

// AttemptBegan does nothing.
func (NoMetrics) AttemptBegan(handler.Task, time.Duration) {}

// AttemptEnded does nothing.
func (NoMetrics) AttemptEnded(handler.Task, Outcome, time.Duration) {}

// Woke does nothing.
func (NoMetrics) Woke(WakeReason) {}

// Called does nothing.
func (NoMetrics) Called(string, time.Duration, error) {}

// panicSafe recovers panics of a program's metrics, which must not cost it the worker.
type panicSafe struct {
	metrics Metrics
	log     *slog.Logger
	once    sync.Once
}

func (p *panicSafe) AttemptBegan(task handler.Task, waited time.Duration) {
	defer p.recover()
	p.metrics.AttemptBegan(task, waited)
}

func (p *panicSafe) AttemptEnded(task handler.Task, outcome Outcome, took time.Duration) {
	defer p.recover()
	p.metrics.AttemptEnded(task, outcome, took)
}

func (p *panicSafe) Woke(reason WakeReason) {
	defer p.recover()
	p.metrics.Woke(reason)
}

func (p *panicSafe) Called(name string, took time.Duration, err error) {
	defer p.recover()
	p.metrics.Called(name, took, err)
}

func (p *panicSafe) recover() {
	if v := recover(); v != nil {
		p.once.Do(func() {
			p.log.Error("metrics panicked, continuing without what they missed", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		})
	}
}
