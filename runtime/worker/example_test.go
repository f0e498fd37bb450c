package worker_test

import (
	"context"
	"log"
	"log/slog"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// A program that works until it is told to stop, and then drains. Flows that are
// declared in Go have a generated Serve function instead of what is spelled out here.
func Example() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, "")
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()

	definition := spec.Flow{Slug: "send_receipt",
		Steps: []spec.Step{{Slug: "send_receipt"}},
	}
	send := func(ctx context.Context, address string) error {
		handler.Logger(ctx).Info("sending", "to", address)
		return nil
	}
	service := handler.Serve(definition, []handler.Handler{
		handler.Handle("send_receipt", handler.Input[string](), handler.NoOutput(send)),
	})

	w, err := worker.New(pool, worker.Config{Concurrency: 16}, service)
	if err != nil {
		log.Fatal(err)
	}
	if err := w.RunUntilSignal(ctx); err != nil {
		log.Fatal(err)
	}
}

// pool, definition and handlers are those of the program.
var (
	pool       *pgxpool.Pool
	definition spec.Flow
	handlers   []handler.Handler
)

// At most four handlers of the flow run at once in this process, one of them being
// at charge, and each attempt is logged with the time it took. A generated Serve
// function takes the same options.
func ExampleNew_options() {
	timed := func(ctx context.Context, task handler.Task, next func(context.Context) error) error {
		began := time.Now()
		err := next(ctx)
		slog.Info("attempt", "flow", task.Flow, "step", task.Step, "attempt", task.Attempt, "took", time.Since(began), "error", err)
		return err
	}
	service := handler.Serve(definition, handlers, handler.Limit(4), handler.Limit(1, "charge"), handler.Use(timed))
	w, err := worker.New(pool, worker.Config{}, service)
	if err != nil {
		log.Fatal(err)
	}
	if err := w.RunUntilSignal(context.Background()); err != nil {
		log.Fatal(err)
	}
}

// An orchestrator asks /health/live whether to start the process again, and
// /health/ready whether it does tasks.
func ExampleWorker_HealthHandler() {
	w, err := worker.New(pool, worker.Config{}, handler.Serve(definition, handlers))
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/health/", w.HealthHandler())
	go func() { log.Fatal(http.ListenAndServe("localhost:8080", mux)) }()
	if err := w.RunUntilSignal(context.Background()); err != nil {
		log.Fatal(err)
	}
}
