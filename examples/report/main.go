// Report is a shop whose sales are summed up by a flow on a schedule: the tag cron says when,
// and whatever the number of workers, each tick is one run. The program sells for a while,
// with two workers, prints the reports, and ends after a few.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/examples/report/sales"
	"github.com/flowc-dev/flowc/examples/report/sales/report"
	"github.com/flowc-dev/flowc/runtime/devdb"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/worker"
)

func main() {
	reports := flag.Int("reports", 4, "after how many reports to end")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The database of DATABASE_URL, or a temporary one.
	pool, closeDB, err := devdb.Open(ctx, devdb.Config{})
	if err == nil {
		err = run(ctx, os.Stdout, pool, *reports)
		closeDB()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

// run sells until there are so many reports.
func run(ctx context.Context, out io.Writer, pool *pgxpool.Pool, reports int) (err error) {
	if _, err := pool.Exec(ctx, schema); err != nil {
		return err
	}
	// From now on, workers start it when it is due.
	if _, err := report.UpsertReport(ctx, pool); err != nil {
		return err
	}
	// In a database that is kept, an earlier run of the program has paused it.
	if _, err := ops.ResumeSchedule(ctx, pool, report.Slug); err != nil {
		return err
	}
	defer func() {
		_, pauseErr := ops.PauseSchedule(context.WithoutCancel(ctx), pool, report.Slug, "the example has ended")
		err = errors.Join(err, pauseErr)
	}()

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	filed := make(chan sales.Summary, 100)
	var beside sync.WaitGroup
	fail := make(chan error, 3)
	for range 2 {
		// A report is kept for an hour; the rows in its own table stay.
		w, err := worker.New(pool, worker.Config{Concurrency: 4, Retention: time.Hour, Logger: slog.New(slog.DiscardHandler)},
			report.Serve(handlers{pool, filed}))
		if err != nil {
			return err
		}
		beside.Go(func() { fail <- w.Run(ctx) })
	}
	beside.Go(func() { fail <- sell(ctx, pool) })
	defer func() {
		stop()
		beside.Wait()
		close(fail)
		for f := range fail {
			err = errors.Join(err, f)
		}
	}()

	fmt.Fprintln(out, "UNTIL     ORDERS  SALES      BEST PRODUCT   BEST CUSTOMER")
	for range reports {
		select {
		case s := <-filed:
			fmt.Fprintf(out, "%s  %6d  %7.2f €  %-13s  %s\n", s.Until.Local().Format("15:04:05"), s.Orders, float64(s.Cents)/100, s.BestProduct, s.BestCustomer)
		case err := <-fail:
			return err
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// sell stores an order now and then, until ctx ends.
func sell(ctx context.Context, db *pgxpool.Pool) error {
	customers := []string{"Ada", "Blaise", "Carl", "Dorothy", "Emmy", "Fibonacci"}
	products := []string{"tea", "teapot", "samovar", "sugar", "lemon"}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Duration(rand.IntN(60)) * time.Millisecond):
		}
		_, err := db.Exec(ctx, `INSERT INTO report_example.orders (customer, product, cents) VALUES ($1, $2, $3)`,
			customers[rand.IntN(len(customers))], products[rand.IntN(len(products))], 100+rand.IntN(5000))
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
}
