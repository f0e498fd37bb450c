package worker_test

import (
	"context"
	"log"
	"log/slog"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime"
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

	definition := runtime.Definition{Slug: "send_receipt", FlowOptions: runtime.FlowOptions{
		Steps: []runtime.StepOptions{{Slug: "send_receipt"}},
	}}
	send := func(ctx context.Context, address string) error {
		runtime.Logger(ctx).Info("sending", "to", address)
		return nil
	}
	service := runtime.Serve(definition, []runtime.Handler{
		runtime.Handle("send_receipt", runtime.Input[string](), runtime.NoOutput(send)),
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
	definition runtime.Definition
	handlers   []runtime.Handler
)

// At most four handlers of the flow run at once in this process, one of them being
// at charge, and each try is logged with the time it took. A generated Serve
// function takes the same options.
func ExampleNew_options() {
	timed := func(ctx context.Context, task runtime.Task, next func(context.Context) error) error {
		began := time.Now()
		err := next(ctx)
		slog.Info("tried", "flow", task.Flow, "step", task.Step, "attempt", task.Attempt, "took", time.Since(began), "error", err)
		return err
	}
	service := runtime.Serve(definition, handlers, runtime.Limit(4), runtime.Limit(1, "charge"), runtime.Use(timed))
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
	w, err := worker.New(pool, worker.Config{}, runtime.Serve(definition, handlers))
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
