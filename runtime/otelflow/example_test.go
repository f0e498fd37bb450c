package otelflow_test

import (
	"context"
	"log"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/otelflow"
	"github.com/flowc-dev/flowc/runtime/otelflow/otelworker"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// A program that starts flows and works them, with its spans and its metrics. The
// providers would have exporters, of course.
func Example() {
	ctx := context.Background()
	spans, meters := trace.NewTracerProvider(), metric.NewMeterProvider()
	defer spans.Shutdown(ctx)
	defer meters.Shutdown(ctx)

	telemetry := otelflow.New(otelflow.Config{TracerProvider: spans})
	runtime.SetTracer(telemetry) // starts and waits
	metrics, err := otelworker.New(meters)
	if err != nil {
		log.Fatal(err)
	}
	pool, err := pgxpool.New(ctx, "")
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	w, err := worker.New(pool, worker.Config{
		Middleware: []handler.Middleware{telemetry.Attempt}, // attempts
		Metrics:    metrics,
	}, service)
	if err != nil {
		log.Fatal(err)
	}
	if err := w.RunUntilSignal(ctx); err != nil {
		log.Fatal(err)
	}
}

// service is what the Serve function of a generated package makes.
var service handler.Service
