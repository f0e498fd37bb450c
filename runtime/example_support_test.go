package runtime_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// An Order is what the flow of the examples takes.
type Order struct {
	ID    int `json:"id"`
	Cents int `json:"cents"`
}

// processOrder is what a generated package has for a flow of two steps: the order
// is charged and then shipped, which gives the number of the parcel.
var processOrder = runtime.NewFlow[Order](runtime.Definition{
	Slug: "process_order",
	FlowOptions: runtime.FlowOptions{Steps: []runtime.StepOptions{
		{Slug: "charge"},
		{Slug: "ship", Deps: []string{"charge"}},
	}},
}, runtime.Output[string]("ship"))

func charge(_ context.Context, order Order) (string, error) {
	if order.Cents < 0 {
		return "", runtime.Permanent(fmt.Errorf("cannot charge %d", order.Cents))
	}
	return fmt.Sprint("receipt ", order.ID), nil
}

func ship(_ context.Context, receipt string) (string, error) { return "parcel for " + receipt, nil }

// connect is a database that has the flow process_order, which a worker does, and
// the flow stocktaking, which nobody does.
var connect = sync.OnceValue(func() *pgxpool.Pool {
	ctx := context.Background()
	pool := dbtest.ForExamples()
	_, err := processOrder.Upsert(ctx, pool)
	must(err)
	_, err = runtime.UpsertFlow(ctx, pool, "stocktaking", runtime.FlowOptions{
		Steps: []runtime.StepOptions{{Slug: "count", StartDelay: runtime.Set(time.Hour)}},
	})
	must(err)
	_, err = pool.Exec(ctx, `CREATE TABLE orders (id int)`)
	must(err)
	w, err := worker.New(pool, worker.Config{Name: "shop", Logger: slog.New(slog.DiscardHandler)}, runtime.Serve(processOrder.Definition(), []runtime.Handler{
		runtime.Handle("charge", runtime.Input[Order](), charge),
		runtime.Handle("ship", runtime.Output[string]("charge"), ship),
	}))
	must(err)
	working, stop := context.WithCancel(ctx)
	stopped := make(chan error)
	go func() { stopped <- w.Run(working) }()
	dbtest.AtEnd(func() {
		stop()
		must(<-stopped)
	})
	return pool
})

func must(err error) {
	if err != nil {
		panic(err)
	}
}
