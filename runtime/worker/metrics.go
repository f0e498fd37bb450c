package worker

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/flowc-dev/flowc/runtime"
)

// Metrics is told what a worker does, while it does it, to be counted and
// measured. Its methods are called by several goroutines at once, and the worker
// waits for them: they should return at once. The first panic of one is logged;
// panics have no other effect. Embed [NoMetrics], so that methods which are added
// later do not break the program. Package otelworker has one for OpenTelemetry.
type Metrics interface {
	// TryBegan is called when a try has been claimed. Its task could have been
	// claimed for the time it waited, since it became ready or its delay was over;
	// that is zero for what was taken over from a worker that died.
	TryBegan(task runtime.Task, waited time.Duration)
	// TryEnded is called when it is known what became of a try: the handler has
	// run for the time it took, and the database has been told.
	TryEnded(task runtime.Task, outcome Outcome, took time.Duration)
	// Woke is called when a worker that found nothing to do looks again.
	Woke(by Waking)
	// Called is called after each call to the database.
	Called(name string, took time.Duration, err error)
}

// An Outcome is what became of a try.
type Outcome string

// The outcomes of a try.
const (
	// Completed is a try that did its task.
	Completed Outcome = "completed"
	// Retried is one that failed and is followed by another.
	Retried Outcome = "retried"
	// Failed is one after which its task failed for good.
	Failed Outcome = "failed"
	// Skipped is one whose handler asked to skip its step.
	Skipped Outcome = "skipped"
	// Released is one that was given back because the worker stops. It does not count.
	Released Outcome = "released"
	// Lost is one whose task was not this worker's any more: its lease was over,
	// or its run was.
	Lost Outcome = "lost"
)

// A Waking is what made a worker look for work.
type Waking string

// What wakes a worker.
const (
	// ByNotification is the database, which says that there is work.
	ByNotification Waking = "notification"
	// ByTimer is something whose time has come, a run or a retry.
	ByTimer Waking = "timer"
	// ByResult is what the worker did itself, which may have made work.
	ByResult Waking = "result"
	// ByPoll is the end of the time after which a worker looks in any case.
	ByPoll Waking = "poll"
)

// NoMetrics does nothing.
type NoMetrics struct{}

var _ Metrics = NoMetrics{}

// TryBegan does nothing.
func (NoMetrics) TryBegan(runtime.Task, time.Duration) {}

// TryEnded does nothing.
func (NoMetrics) TryEnded(runtime.Task, Outcome, time.Duration) {}

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

func (g *guarded) TryBegan(task runtime.Task, waited time.Duration) {
	defer g.survive()
	g.metrics.TryBegan(task, waited)
}

func (g *guarded) TryEnded(task runtime.Task, outcome Outcome, took time.Duration) {
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
