// Orders is the main example on Temporal: the same flow, the same generated package and the
// same handlers as in examples/orders, whose 25 orders go from checkout to the courier.
//
// It uses the server of TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE, by default the one at
// localhost:7233 with the namespace default. `make demo-temporal` starts one.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"go.temporal.io/sdk/client"

	"github.com/flowc-dev/flowc/examples/orders/day"
	"github.com/flowc-dev/flowc/examples/orders/fulfil"
	"github.com/flowc-dev/flowc/examples/orders/shop/processorder"
	"github.com/flowc-dev/flowc/examples/orders/shop/sendreceipt"
	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/temporalflow"
)

func main() {
	verbose := flag.Bool("v", false, "print the worker's log")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	address := cmp.Or(os.Getenv("TEMPORAL_ADDRESS"), client.DefaultHostPort)
	namespace := cmp.Or(os.Getenv("TEMPORAL_NAMESPACE"), client.DefaultNamespace)
	if err := run(ctx, address, namespace, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "orders:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, address, namespace string, verbose bool) (err error) {
	today, err := day.Today()
	if err != nil {
		return err
	}
	logger := slog.New(slog.DiscardHandler) // it would break the progress bar
	if verbose {
		logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}

	// This is what differs from PostgreSQL: the DB and the worker.
	c, err := client.Dial(client.Options{HostPort: address, Namespace: namespace, Logger: temporalflow.Logger(logger)})
	if err != nil {
		return err
	}
	defer c.Close()
	db := temporalflow.New(c, namespace)
	handlers := &fulfil.Handlers{DB: db, Stock: today.Stock, Terminal: &fulfil.Terminal{}}
	services := []handler.Service{processorder.Serve(handlers), sendreceipt.Serve(handlers.SendReceipt)}
	if err := runtime.UpsertServed(ctx, db, services...); err != nil {
		return err
	}
	w, err := temporalflow.NewWorker(db, temporalflow.Config{Logger: logger}, services...)
	if err != nil {
		return err
	}
	stopWorker := w.Start(ctx)
	defer func() { err = errors.Join(err, stopWorker()) }()

	fmt.Printf("runs on Temporal at %s, namespace %s\n", address, namespace)
	if err := today.Trade(ctx, db, handlers); err != nil {
		return err
	}
	fmt.Printf("\nTemporal's UI is a program of its own; beside this server it shows each order with its history:\n"+
		"  docker run --net host -e TEMPORAL_ADDRESS=%s temporalio/ui   # then http://localhost:8080/namespaces/%s/workflows\n", address, namespace)
	return nil
}
