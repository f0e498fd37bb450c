package handler

import (
	"context"
	"log/slog"
	"time"
)

// A Task identifies what a handler is doing: one attempt of one task of a step.
type Task struct {
	RunID string
	Flow  string
	Step  string
	// Index is the index of the element that a map step's task works on, 0 otherwise.
	Index int
	// Attempt is the number of the attempt, from 1 to MaxAttempts.
	Attempt     int
	MaxAttempts int
	// Headers are those of the run, see runtime.WithHeaders. They are shared and must not
	// be changed.
	Headers map[string]string
	// Tick is the time of its schedule that the run was started for, the zero time if
	// no schedule started it.
	Tick time.Time
}

type taskKey struct{}

type loggerKey struct{}

// TaskFromContext returns the task that a handler's context is for; ok is false for
// any other context.
func TaskFromContext(ctx context.Context) (task Task, ok bool) {
	task, ok = ctx.Value(taskKey{}).(Task)
	return task, ok
}

// Tick returns the time for which a schedule started the run of a handler's context: the
// time that [spec.Flow.Cron] names, not the time at which the run really started, which
// is later, and much later if no worker was running. It is the same in all steps and
// attempts of the run. In a run that no schedule started, it is the zero time.
func Tick(ctx context.Context) time.Time {
	task, _ := TaskFromContext(ctx)
	return task.Tick
}

// WithTask returns a context for a task. Workers do this; tests of handlers may.
func WithTask(ctx context.Context, task Task) context.Context {
	return context.WithValue(ctx, taskKey{}, task)
}

// Logger returns the worker's logger in a handler's context, with flow, run_id, step,
// index and attempt; in any other context it is the default logger.
func Logger(ctx context.Context) *slog.Logger {
	l, ok := ctx.Value(loggerKey{}).(*slog.Logger)
	if !ok {
		l = slog.Default()
	}
	if t, ok := TaskFromContext(ctx); ok {
		l = l.With("flow", t.Flow, "run_id", t.RunID, "step", t.Step, "index", t.Index, "attempt", t.Attempt)
	}
	return l
}

// WithLogger returns a context with the logger that [Logger] starts from. Workers
// do this.
func WithLogger(ctx context.Context, l *slog.Logger) context.Context {
	return context.WithValue(ctx, loggerKey{}, l)
}
