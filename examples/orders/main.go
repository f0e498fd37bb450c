// Orders is the main example: a shop that takes 25 orders from checkout to the
// courier. It starts a PostgreSQL of its own, or uses DATABASE_URL, processes every order
// in this process, shows the progress, and checks that the right orders were shipped and
// rejected.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/flowc-dev/flowc/examples/orders/day"
	"github.com/flowc-dev/flowc/examples/orders/fulfil"
	"github.com/flowc-dev/flowc/examples/orders/shop/processorder"
	"github.com/flowc-dev/flowc/examples/orders/shop/sendreceipt"
	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/devdb"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/worker"
)

func main() {
	verbose := flag.Bool("v", false, "print the worker's log")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "orders:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, verbose bool) (err error) {
	today, err := day.Today()
	if err != nil {
		return err
	}

	// The database of DATABASE_URL, or a temporary one.
	pool, closeDB, err := devdb.Open(ctx, devdb.Config{})
	if err != nil {
		return err
	}
	defer closeDB()

	// Upsert the flow and the job, and run both in this process; more processes would simply
	// share the work. Upserting them again changes nothing.
	handlers := &fulfil.Handlers{DB: pool, Stock: today.Stock, Terminal: &fulfil.Terminal{}}
	logger := slog.New(slog.DiscardHandler) // it would break the progress bar
	if verbose {
		logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	services := []handler.Service{processorder.Serve(handlers), sendreceipt.Serve(handlers.SendReceipt)}
	if err := runtime.UpsertServed(ctx, pool, services...); err != nil {
		return err
	}
	w, err := worker.New(pool, worker.Config{Concurrency: 16, Logger: logger}, services...)
	if err != nil {
		return err
	}
	stopWorker := w.Start(ctx)
	defer func() { err = errors.Join(err, stopWorker()) }()

	// Start the orders, and follow them to their ends.
	return today.Trade(ctx, pool, handlers)
}
