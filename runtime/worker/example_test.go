package worker_test

import (
	"context"
	"log"
	"os/signal"
	"syscall"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// A program that works until it is told to stop, and then drains. Flows that are
// declared in Go have a generated Serve function instead of what is spelled out here.
func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
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
	if err := w.Run(ctx); err != nil {
		log.Fatal(err)
	}
}
