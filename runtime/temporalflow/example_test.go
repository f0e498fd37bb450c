package temporalflow_test

import (
	"context"
	"fmt"
	"log"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.temporal.io/sdk/client"

	"github.com/flowc-dev/flowc/examples/orders/fulfil"
	"github.com/flowc-dev/flowc/examples/orders/shop"
	"github.com/flowc-dev/flowc/examples/orders/shop/processorder"
	"github.com/flowc-dev/flowc/runtime/temporalflow"
	"github.com/flowc-dev/flowc/runtime/worker"
)

func Example() {
	ctx := context.Background()
	c, err := client.Dial(client.Options{HostPort: "temporal:7233", Namespace: "shop"})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	db := temporalflow.New(c, "shop")

	// In the worker's program:
	if _, err := processorder.UpsertProcessOrder(ctx, db); err != nil {
		log.Fatal(err)
	}
	w, err := temporalflow.NewWorker(db, temporalflow.Config{}, processorder.Serve(&fulfil.Handlers{DB: db}))
	if err != nil {
		log.Fatal(err)
	}
	stop := w.Start(ctx)
	defer stop()

	// Anywhere else:
	run, err := processorder.StartProcessOrder(ctx, db, shop.Order{ID: "1001"})
	if err != nil {
		log.Fatal(err)
	}
	shipment, err := run.Wait(ctx)
	fmt.Println(shipment, err)
}

// Runs that are started in transactions of a PostgreSQL, which has flowc's engine.
func ExampleOutbox() {
	var (
		ctx  context.Context
		db   *temporalflow.DB
		pool *pgxpool.Pool
	)
	outbox := temporalflow.NewOutbox(db, pool)

	// Once, and in a program that has handlers or not:
	if err := outbox.Upsert(ctx); err != nil {
		log.Fatal(err)
	}
	relay, err := worker.New(pool, worker.Config{}, outbox.Service())
	if err != nil {
		log.Fatal(err)
	}
	stop := relay.Start(ctx)
	defer stop()

	tx, err := pool.Begin(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Rollback(ctx)
	// … what else belongs into the transaction
	run, err := processorder.StartProcessOrder(ctx, outbox.In(tx), shop.Order{ID: "1001"})
	if err != nil {
		log.Fatal(err)
	}
	if err := tx.Commit(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(run.Via(db).Wait(ctx))
}
