// Etl imports a file of sales: a map step loads its lines, thousands of them, each
// a task of its own that is retried if it fails, and a last step sums up. The
// program writes a file with sales that it makes up, or reads one with -file.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sort"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/examples/etl/sales"
	"github.com/flowc-dev/flowc/examples/etl/sales/importsales"
	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/devdb"
	"github.com/flowc-dev/flowc/runtime/worker"
)

func main() {
	file := flag.String("file", "", "the file to import: id, day, country, amount, currency")
	lines := flag.Int("lines", 5000, "how many lines to make up, if there is no file")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if _, err := run(ctx, os.Stdout, *file, *lines); err != nil {
		fmt.Fprintln(os.Stderr, "etl:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, file string, lines int) (summary sales.Summary, err error) {
	if file == "" {
		dir, err := os.MkdirTemp("", "flowc-etl-")
		if err != nil {
			return summary, err
		}
		defer os.RemoveAll(dir)
		file = filepath.Join(dir, "sales.csv")
		if err := makeUp(file, lines); err != nil {
			return summary, err
		}
	}
	// The database of DATABASE_URL, or a temporary one.
	pool, closeDB, err := devdb.Open(ctx, devdb.Config{}, func(c *pgxpool.Config) { c.MaxConns = 16 })
	if err != nil {
		return summary, err
	}
	defer closeDB()
	if _, err := pool.Exec(ctx, schema); err != nil {
		return summary, err
	}
	if _, err := importsales.UpsertImportSales(ctx, pool); err != nil {
		return summary, err
	}

	// Handlers wait for the database most of the time, so there are more of them
	// than processors. They share the pool, which makes them wait for each other
	// if it is smaller.
	w, err := worker.New(pool, worker.Config{Concurrency: 64, Logger: slog.New(slog.DiscardHandler)}, importsales.Serve(&loader{db: pool}))
	if err != nil {
		return summary, err
	}
	stopWorker := w.Start(ctx)
	defer func() { err = errors.Join(err, stopWorker()) }()

	began := time.Now()
	run, err := importsales.StartImportSales(ctx, pool, sales.File{Path: file})
	if err != nil {
		return summary, err
	}
	following, stopFollowing := context.WithCancel(ctx)
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		follow(following, out, pool, run.ID())
	}()
	summary, err = run.Wait(ctx)
	stopFollowing()
	<-followed
	if err != nil {
		return summary, err
	}
	report(out, summary, time.Since(began))
	return summary, nil
}

// follow prints now and then how many lines are loaded.
func follow(ctx context.Context, out io.Writer, db runtime.DB, id string) {
	ticks := time.NewTicker(time.Second)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		info, err := runtime.GetRun(ctx, db, id, runtime.WithStates(), runtime.WithoutPayloads())
		if err != nil {
			continue // the wait for the run reports it
		}
		for _, s := range info.States {
			if s.Step == "load" && s.InitialTasks != nil && s.RemainingTasks != nil {
				fmt.Fprintf(out, "%d of %d lines\n", *s.InitialTasks-*s.RemainingTasks, *s.InitialTasks)
			}
		}
	}
}

func report(out io.Writer, s sales.Summary, took time.Duration) {
	fmt.Fprintf(out, "\n%d of %d lines loaded in %.1f s, %.0f per second: %.2f €\n",
		s.Loaded, s.Lines, took.Seconds(), float64(s.Lines)/took.Seconds(), float64(s.Cents)/100)
	var countries []string
	for country := range s.ByCountry {
		countries = append(countries, country)
	}
	sort.Strings(countries)
	for _, country := range countries {
		fmt.Fprintf(out, "  %s %14.2f €\n", country, float64(s.ByCountry[country])/100)
	}
	for _, wrong := range s.Wrong {
		fmt.Fprintf(out, "line %d: %s\n", wrong.Line, wrong.Wrong)
	}
}

const schema = `
CREATE TABLE IF NOT EXISTS sales (
	id      text PRIMARY KEY,
	day     date NOT NULL,
	country text NOT NULL,
	cents   bigint NOT NULL
)`
