package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// An Order is what the flow of the examples takes.
type Order struct {
	ID    int `json:"id"`
	Cents int `json:"cents"`
}

// processOrder is what a generated package has for a flow of two steps: the order
// is charged and then shipped, which gives the number of the parcel.
var processOrder = runtime.NewFlow[Order](spec.Flow{
	Slug: "process_order",
	Steps: []spec.Step{
		{Slug: "charge"},
		{Slug: "ship", Deps: []string{"charge"}},
	},
}, handler.Output[string]("ship"))

func charge(ctx context.Context, order Order) (string, error) {
	if err := till.use(ctx); err != nil {
		return "", err
	}
	if order.Cents < 0 {
		return "", handler.Permanent(fmt.Errorf("cannot charge %d", order.Cents))
	}
	return fmt.Sprint("receipt ", order.ID), nil
}

func ship(ctx context.Context, receipt string) (string, error) {
	parcel := "parcel for " + receipt
	if task, _ := handler.TaskFromContext(ctx); task.Headers["user"] != "" {
		parcel += ", asked for by " + task.Headers["user"]
	}
	return parcel, nil
}

// till is what the orders of the examples are charged with.
var till = &register{}

// A register can be locked, so that nothing can be charged, and jam, so that a
// charge takes until it is open again.
type register struct {
	mu      sync.Mutex
	locked  bool
	jammed  chan struct{} // closed when it is open again
	waiting chan struct{} // closed when a charge waits for that
}

func (r *register) lock() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.locked = true
}

func (r *register) jam() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.jammed, r.waiting = make(chan struct{}), make(chan struct{})
}

func (r *register) awaitJam() { <-r.waiting }

func (r *register) open() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.locked = false
	if r.jammed != nil {
		close(r.jammed)
		r.jammed = nil
	}
}

func (r *register) use(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.locked {
		return handler.Permanent(errors.New("the till is locked"))
	}
	if jammed := r.jammed; jammed != nil {
		close(r.waiting)
		r.mu.Unlock()
		defer r.mu.Lock()
		select {
		case <-jammed:
		case <-ctx.Done():
		}
	}
	return nil
}

// connect is a database that has the flow process_order, which a worker does, and
// the flow stocktaking, which nobody does.
var connect = sync.OnceValue(func() *pgxpool.Pool {
	ctx := context.Background()
	pool := dbtest.ForExamples()
	_, err := processOrder.Upsert(ctx, pool)
	must(err)
	_, err = runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "stocktaking",
		Steps: []spec.Step{{Slug: "count", StartDelay: time.Hour}},
	})
	must(err)
	_, err = pool.Exec(ctx, `CREATE TABLE orders (id int)`)
	must(err)
	w, err := worker.New(pool, worker.Config{Name: "shop", Logger: slog.New(slog.DiscardHandler)}, handler.Serve(processOrder.Definition(), []handler.Handler{
		handler.Handle("charge", handler.Input[Order](), charge),
		handler.Handle("ship", handler.Output[string]("charge"), ship),
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
