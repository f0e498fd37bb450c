// Package otelflow traces flows with OpenTelemetry. The spans of the start of a run, of each
// attempt at its tasks and of waits for it are connected across processes: the trace context
// travels with the run, in its headers.
//
//	telemetry := otelflow.New(otelflow.Config{})
//	runtime.SetTracer(telemetry)
//	w, err := worker.New(pool, worker.Config{Middleware: []handler.Middleware{telemetry.Attempt}}, ...)
//
// The span of a start is a child of the caller's span, and so is that of a wait. The span of
// an attempt is a child of the start; its handler finds it in its context, so that runs that
// it starts are children again. Without a traced start, each attempt has a trace of its own.
// All spans have the attribute flowc.run_id.
//
// Package otelworker has the metrics of a worker. It is separate so that programs that only
// start flows do not link the worker.
package otelflow

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
)

// scope is the name of the instrumentation.
const scope = "github.com/flowc-dev/flowc/runtime/otelflow"

// The attributes of spans.
const (
	flowKey        = attribute.Key("flowc.flow")
	runKey         = attribute.Key("flowc.run_id")
	runsKey        = attribute.Key("flowc.runs")
	stepKey        = attribute.Key("flowc.step")
	indexKey       = attribute.Key("flowc.index")
	attemptKey     = attribute.Key("flowc.attempt")
	maxAttemptsKey = attribute.Key("flowc.max_attempts")
)

// Config configures where spans go. The zero value uses OpenTelemetry's global providers.
type Config struct {
	// TracerProvider defaults to [otel.GetTracerProvider].
	TracerProvider trace.TracerProvider
	// Propagator writes the trace context into headers, and reads it. Defaults to
	// [otel.GetTextMapPropagator] or, if none is set there, to W3C's trace context and
	// baggage.
	Propagator propagation.TextMapPropagator
}

// A Telemetry records spans. It is a [runtime.Tracer], and its method Attempt is a
// [handler.Middleware].
type Telemetry struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
}

var (
	_ runtime.Tracer     = (*Telemetry)(nil)
	_ handler.Middleware = (*Telemetry)(nil).Attempt
)

// New returns a Telemetry.
func New(c Config) *Telemetry {
	if c.TracerProvider == nil {
		c.TracerProvider = otel.GetTracerProvider()
	}
	if c.Propagator == nil {
		c.Propagator = otel.GetTextMapPropagator()
	}
	if len(c.Propagator.Fields()) == 0 {
		c.Propagator = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	}
	return &Telemetry{tracer: c.TracerProvider.Tracer(scope), propagator: c.Propagator}
}

// Start starts a span for a start of runs, see [runtime.Tracer].
func (t *Telemetry) Start(ctx context.Context, flow string, ids []string) (_ context.Context, headers map[string]string, end func(error)) {
	attributes := []attribute.KeyValue{flowKey.String(flow)}
	if len(ids) == 1 {
		attributes = append(attributes, runKey.String(ids[0]))
	} else {
		attributes = append(attributes, runsKey.Int(len(ids)))
	}
	ctx, span := t.tracer.Start(ctx, "start "+flow, trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(attributes...))
	headers = map[string]string{}
	t.propagator.Inject(ctx, propagation.MapCarrier(headers))
	return ctx, headers, func(err error) { finish(span, err) }
}

// Wait starts a span for a wait for a run, see [runtime.Tracer].
func (t *Telemetry) Wait(ctx context.Context, flow, id string) (_ context.Context, end func(error)) {
	ctx, span := t.tracer.Start(ctx, "wait "+flow, trace.WithAttributes(flowKey.String(flow), runKey.String(id)))
	return ctx, func(err error) { finish(span, err) }
}

// Attempt records a span for each attempt. It is a [handler.Middleware].
func (t *Telemetry) Attempt(ctx context.Context, task handler.Task, next func(context.Context) error) error {
	ctx = t.propagator.Extract(ctx, propagation.MapCarrier(task.Headers))
	ctx, span := t.tracer.Start(ctx, task.Flow+"."+task.Step, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		flowKey.String(task.Flow), runKey.String(task.RunID), stepKey.String(task.Step), indexKey.Int(task.Index),
		attemptKey.Int(task.Attempt), maxAttemptsKey.Int(task.MaxAttempts)))
	returned := false
	defer func() {
		if !returned {
			span.SetStatus(codes.Error, "the handler panicked")
			span.End()
		}
	}()
	err := next(ctx)
	returned = true
	finish(span, err)
	return err
}

// finish ends a span with its status.
func finish(span trace.Span, err error) {
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}
