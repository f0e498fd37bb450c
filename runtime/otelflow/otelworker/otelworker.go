// Package otelworker has the OpenTelemetry metrics of a worker.
//
//	metrics, err := otelworker.New(nil)
//	w, err := worker.New(pool, worker.Config{Metrics: metrics}, ...)
//
// These are the instruments; times are in seconds:
//
//   - flowc.task.wait, a histogram by flow and step: how long tasks were
//     claimable before they were claimed
//   - flowc.attempt.duration, a histogram by flow, step and outcome: how long handlers
//     ran. It counts attempts: those with the outcome "retried" were followed by
//     another, those with "lost" lost their lease
//   - flowc.worker.wakeups, a counter by reason: notification, poll, timer or result
//   - flowc.database.duration, a histogram by call, and error if it failed
package otelworker

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// scope is the name of the instrumentation.
const scope = "github.com/flowc-dev/flowc/runtime/otelflow/otelworker"

// Metrics implements [worker.Metrics]. Several workers may share one.
type Metrics struct {
	worker.NoMetrics

	wait, duration, database metric.Float64Histogram
	wakeups                  metric.Int64Counter
}

var _ worker.Metrics = (*Metrics)(nil)

// New creates the instruments. A nil provider stands for [otel.GetMeterProvider].
func New(provider metric.MeterProvider) (*Metrics, error) {
	if provider == nil {
		provider = otel.GetMeterProvider()
	}
	meter := provider.Meter(scope)
	histogram := func(name, description string) (metric.Float64Histogram, error) {
		return meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description))
	}
	var m Metrics
	var errs [4]error
	m.wait, errs[0] = histogram("flowc.task.wait", "How long tasks were claimable before they were claimed.")
	m.duration, errs[1] = histogram("flowc.attempt.duration", "How long handlers ran.")
	m.database, errs[2] = histogram("flowc.database.duration", "How long calls to the database took.")
	m.wakeups, errs[3] = meter.Int64Counter("flowc.worker.wakeups", metric.WithDescription("How often an idle worker looked for work."))
	return &m, errors.Join(errs[:]...)
}

// AttemptBegan records how long a task waited.
func (m *Metrics) AttemptBegan(task handler.Task, waited time.Duration) {
	m.wait.Record(context.Background(), waited.Seconds(), metric.WithAttributes(of(task)...))
}

// AttemptEnded records how long a handler ran, with its outcome.
func (m *Metrics) AttemptEnded(task handler.Task, outcome worker.Outcome, took time.Duration) {
	m.duration.Record(context.Background(), took.Seconds(), metric.WithAttributes(append(of(task), attribute.String("outcome", string(outcome)))...))
}

// Woke counts a wake-up.
func (m *Metrics) Woke(reason worker.WakeReason) {
	m.wakeups.Add(context.Background(), 1, metric.WithAttributes(attribute.String("reason", string(reason))))
}

// Called records the duration of a call to the database.
func (m *Metrics) Called(name string, took time.Duration, err error) {
	m.database.Record(context.Background(), took.Seconds(), metric.WithAttributes(
		attribute.String("call", name), attribute.Bool("error", err != nil)))
}

func of(task handler.Task) []attribute.KeyValue {
	return []attribute.KeyValue{attribute.String("flow", task.Flow), attribute.String("step", task.Step)}
}
