// Orders is the main example: a shop that takes 25 orders from checkout to the
// courier. It starts a PostgreSQL of its own, or uses DATABASE_URL, processes every order
// in this process, shows the progress, and checks that the right orders were shipped and
// rejected.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/examples/orders/fulfil"
	"github.com/flowc-dev/flowc/examples/orders/shop"
	"github.com/flowc-dev/flowc/examples/orders/shop/processorder"
	"github.com/flowc-dev/flowc/examples/orders/shop/sendreceipt"
	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/devdb"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/worker"
)

//go:embed orders.json
var ordersJSON []byte

// A day is the content of orders.json: a day's orders, each with its expected outcome.
type day struct {
	Stock  map[string]int `json:"stock"`
	Orders []struct {
		Expect string     `json:"expect"` // shipped or rejected
		Order  shop.Order `json:"order"`
	} `json:"orders"`
}

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
	var today day
	if err := json.Unmarshal(ordersJSON, &today); err != nil {
		return fmt.Errorf("orders.json: %w", err)
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

	// Start all orders in one round trip: all of them, or none.
	began := time.Now()
	orders := make([]shop.Order, len(today.Orders))
	for i, o := range today.Orders {
		orders[i] = o.Order
	}
	runs, err := processorder.StartManyProcessOrder(ctx, pool, orders)
	if err != nil {
		return err
	}
	fmt.Printf("started %d orders\n", len(runs))

	results, err := follow(ctx, pool, runs)
	if err != nil {
		return err
	}
	mailed, err := awaitReceipts(ctx, pool, handlers.Receipts())
	if err != nil {
		return err
	}
	report(os.Stdout, today, results, mailed, time.Since(began))
	return check(today, results)
}

// awaitReceipts waits for the mails, which are runs of their own, and returns how many were
// sent.
func awaitReceipts(ctx context.Context, pool *pgxpool.Pool, ids []string) (int, error) {
	for _, id := range ids {
		run, err := sendreceipt.GetSendReceipt(ctx, pool, id)
		if err != nil {
			return 0, err
		}
		if _, err := run.Wait(ctx, runtime.WithTimeout(10*time.Second)); err != nil {
			return 0, err
		}
	}
	return len(ids), nil
}

// check compares the outcome of the orders with the expected one.
func check(today day, results []result) error {
	var wrong []error
	for i, o := range today.Orders {
		var failed *runtime.RunFailedError
		switch r := results[i]; {
		case o.Expect == "shipped" && r.err != nil:
			wrong = append(wrong, fmt.Errorf("order %s had to be shipped: %w", o.Order.ID, r.err))
		case o.Expect == "rejected" && !errors.As(r.err, &failed):
			wrong = append(wrong, fmt.Errorf("order %s had to be rejected, but: %v", o.Order.ID, r.err))
		case o.Expect == "rejected" && failed.Step != "validate":
			wrong = append(wrong, fmt.Errorf("order %s had to be rejected by validate: %w", o.Order.ID, failed))
		}
	}
	return errors.Join(wrong...)
}
