// Shards is the shop of example orders on three databases, each with a server of its own.
// While it takes orders, one of the servers is killed and started again. At the end it
// checks that each order was processed once, as it had to be, and that no receipt is
// missing.
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
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/examples/orders/day"
	"github.com/flowc-dev/flowc/examples/orders/fulfil"
	"github.com/flowc-dev/flowc/examples/orders/shop"
	"github.com/flowc-dev/flowc/examples/orders/shop/processorder"
	"github.com/flowc-dev/flowc/examples/orders/shop/sendreceipt"
	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/devdb"
	"github.com/flowc-dev/flowc/runtime/engine"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/shards"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// days is how many times the orders of a day come, an hour apart as it were.
const days = 4

// outage is how long the server is down.
const outage = 3 * time.Second

func main() {
	verbose := flag.Bool("v", false, "print the workers' log")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "shards:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, verbose bool) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()

	// Three servers, and a pool for the database of each.
	servers, pools := map[string]*devdb.DB{}, map[string]*pgxpool.Pool{}
	for _, name := range []string{"north", "south", "west"} {
		server, pool, err := start(ctx)
		if server != nil {
			defer server.Close()
		}
		if err != nil {
			return err
		}
		defer pool.Close()
		servers[name], pools[name] = server, pool
		fmt.Fprintf(out, "shard %s: %s\n", name, server)
	}

	// Make them shards, once, and open them like one database.
	if err := shards.Init(ctx, pools); err != nil {
		return err
	}
	db, err := shards.Open(ctx, pools)
	if err != nil {
		return err
	}

	// From here on it is the program of example orders.
	today, err := day.Today()
	if err != nil {
		return err
	}
	handlers := &fulfil.Handlers{DB: db, Stock: today.Stock, Terminal: &fulfil.Terminal{}}
	logger := slog.New(slog.DiscardHandler)
	if verbose {
		logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	services := []handler.Service{processorder.Serve(handlers), sendreceipt.Serve(handlers.SendReceipt)}
	if err := runtime.UpsertServed(ctx, db, services...); err != nil {
		return err
	}
	w, err := shards.NewWorker(db, worker.Config{Logger: logger}, services...)
	if err != nil {
		return err
	}
	stopWorker := w.Start(ctx)
	defer func() { err = errors.Join(err, stopWorker()) }()

	var orders []order
	for n := range days {
		for _, o := range today.Orders {
			o.Order.ID = fmt.Sprintf("%s-%d", o.Order.ID, n+1)
			orders = append(orders, order{Order: o.Order, expect: o.Expect})
		}
	}
	var taken atomic.Int32
	var south sync.WaitGroup
	south.Go(func() {
		for int(taken.Load()) < len(orders)/4 && ctx.Err() == nil {
			time.Sleep(10 * time.Millisecond)
		}
		fmt.Fprintln(out, "kill -9 of the server of shard south")
		err := servers["south"].Stop(devdb.Killed)
		time.Sleep(outage)
		fmt.Fprintln(out, "the server of shard south is started again")
		if err = errors.Join(err, servers["south"].Resume(ctx)); err != nil {
			fmt.Fprintln(out, err)
			cancel()
		}
	})
	var customers sync.WaitGroup
	for i := range orders {
		customers.Go(func() {
			time.Sleep(time.Duration(i) * 40 * time.Millisecond)
			orders[i].process(ctx, db, &taken)
		})
	}
	customers.Wait()
	south.Wait()
	return report(ctx, out, db, orders, handlers.Receipts())
}

// start starts a server, with the engine in its database.
func start(ctx context.Context) (*devdb.DB, *pgxpool.Pool, error) {
	server, err := devdb.Start(ctx, devdb.Config{})
	if err != nil {
		return nil, nil, err
	}
	pool, err := pgxpool.New(ctx, server.URL())
	if err != nil {
		return server, nil, err
	}
	return server, pool, engine.Migrate(ctx, pool)
}

// An order is one that a customer places, and how it ended.
type order struct {
	shop.Order
	expect string // shipped or rejected
	tries  int    // how often it was placed until a shard took it
	run    *runtime.Run[shop.Shipment]
	err    error
}

// process places an order and waits for its shipment. While its shard is down, it is placed
// again and again, under its id as the key.
func (o *order) process(ctx context.Context, db runtime.DB, taken *atomic.Int32) {
	for {
		o.tries++
		o.run, o.err = processorder.StartProcessOrder(ctx, db, o.Order, runtime.WithIdempotencyKey(o.ID))
		if !errors.As(o.err, new(*shards.Error)) || ctx.Err() != nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if o.err != nil {
		return
	}
	taken.Add(1)
	_, o.err = o.run.Wait(ctx)
}

// report says which shard did what, and returns what is wrong.
func report(ctx context.Context, out io.Writer, db *shards.DB, orders []order, receipts []string) error {
	var wrong []error
	again, mails := 0, 0
	for _, o := range orders {
		var failed *runtime.RunFailedError
		rejected := errors.As(o.err, &failed) && failed.Step == "validate"
		if o.expect == "shipped" && o.err != nil || o.expect == "rejected" && !rejected {
			wrong = append(wrong, fmt.Errorf("order %s had to be %s, but: %v", o.ID, o.expect, o.err))
		}
		if o.tries > 1 {
			again++
		}
		if o.expect == "shipped" && o.NotifyByMail {
			mails++
		}
	}
	for _, id := range receipts {
		run, err := sendreceipt.GetSendReceipt(ctx, db, id)
		if err == nil {
			_, err = run.Wait(ctx)
		}
		if err != nil {
			wrong = append(wrong, err)
		}
	}
	processed, mailed := 0, 0
	for _, s := range db.Shards() {
		var here, mailedHere int
		err := s.Pool.QueryRow(ctx, `select count(*) filter (where flow_slug = $1), count(*) filter (where flow_slug = $2) from pgflow.runs where status <> 'started'`,
			processorder.Slug, sendreceipt.Slug).Scan(&here, &mailedHere)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "shard %s: %d orders, %d receipts\n", s.Name, here, mailedHere)
		processed += here
		mailed += mailedHere
	}
	fmt.Fprintf(out, "%d orders placed, %d of them more than once; %d processed, %d of %d receipts mailed\n", len(orders), again, processed, mailed, mails)
	if processed != len(orders) || mailed != mails {
		wrong = append(wrong, fmt.Errorf("%d of %d orders were processed, and %d of %d receipts mailed", processed, len(orders), mailed, mails))
	}
	return errors.Join(wrong...)
}
