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
	// TryBegan is called when a task has been claimed. waited is how long it was
	// claimable before, since it became ready or its delay ended; it is zero for a
	// task that was reclaimed from a dead worker.
	TryBegan(task handler.Task, waited time.Duration)
	// TryEnded is called when an attempt has ended and been reported to the
	// database. took is how long its handler ran.
	TryEnded(task handler.Task, outcome Outcome, took time.Duration)
	// Woke is called when an idle worker looks for work again.
	Woke(by Waking)
	// Called is called after each call to the database.
	Called(name string, took time.Duration, err error)
}

// An Outcome is how an attempt ended.
type Outcome string

// The outcomes of an attempt.
const (
	// Completed is an attempt that completed its task.
	Completed Outcome = "completed"
	// Retried is one that failed and is followed by another.
	Retried Outcome = "retried"
	// Failed is one after which its task failed for good.
	Failed Outcome = "failed"
	// Skipped is one whose handler asked to skip its step.
	Skipped Outcome = "skipped"
	// Released is one whose task was released because the worker is stopping. It
	// does not count.
	Released Outcome = "released"
	// Lost is one whose task was no longer this worker's: its lease had expired,
	// or its run had ended.
	Lost Outcome = "lost"
)

// A Waking is the reason why an idle worker looked for work.
type Waking string

// The reasons to look for work.
const (
	// ByNotification is a notification from the database.
	ByNotification Waking = "notification"
	// ByTimer is a scheduled run or a retry that has become due.
	ByTimer Waking = "timer"
	// ByResult is a result of this worker, which may have made tasks ready.
	ByResult Waking = "result"
	// ByPoll is the poll interval.
	ByPoll Waking = "poll"
)

// NoMetrics does nothing.
type NoMetrics struct{}

var _ Metrics = NoMetrics{}

// TryBegan does nothing.
func (NoMetrics) TryBegan(handler.Task, time.Duration) {}

// TryEnded does nothing.
func (NoMetrics) TryEnded(handler.Task, Outcome, time.Duration) {}

// Woke does nothing.
func (NoMetrics) Woke(Waking) {}

// Called does nothing.
func (NoMetrics) Called(string, time.Duration, error) {}

// guarded is the metrics of a program, whose faults must not cost it the worker.
type guarded struct {
	metrics Metrics
	log     *slog.Logger
	once    sync.Once
}

func (g *guarded) TryBegan(task handler.Task, waited time.Duration) {
	defer g.survive()
	g.metrics.TryBegan(task, waited)
}

func (g *guarded) TryEnded(task handler.Task, outcome Outcome, took time.Duration) {
	defer g.survive()
	g.metrics.TryEnded(task, outcome, took)
}

func (g *guarded) Woke(by Waking) {
	defer g.survive()
	g.metrics.Woke(by)
}

func (g *guarded) Called(name string, took time.Duration, err error) {
	defer g.survive()
	g.metrics.Called(name, took, err)
}

func (g *guarded) survive() {
	if p := recover(); p != nil {
		g.once.Do(func() {
			g.log.Error("metrics panicked, continuing without what they missed", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		})
	}
}

// ended counts a try whose end is known.
func (w *Worker) ended(r result, outcome Outcome) {
	c := &w.stats
	switch outcome {
	case Completed:
		c.completed.Add(1)
	case Retried:
		c.retried.Add(1)
	case Failed, Skipped:
		c.failed.Add(1)
	case Released:
		c.released.Add(1)
	case Lost:
		c.lost.Add(1)
	}
	w.config.Metrics.TryEnded(r.task.info(), outcome, r.took)
}
