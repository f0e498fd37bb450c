// Package exampleshop is what the examples of packages runtime and ops have in common:
// a flow, a database that has it, and a worker.
package exampleshop

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

// ProcessOrder is what a generated package has for a flow of two steps: the order
// is charged and then shipped, which gives the number of the parcel.
var ProcessOrder = runtime.NewFlow[Order](spec.Flow{
	Slug: "process_order",
	Steps: []spec.Step{
		{Slug: "charge"},
		{Slug: "ship", Deps: []string{"charge"}},
	},
}, handler.Output[string]("ship"))

// Charge handles the first step.
func Charge(ctx context.Context, order Order) (string, error) {
	if err := Till.use(ctx); err != nil {
		return "", err
	}
	if order.Cents < 0 {
		return "", handler.Permanent(fmt.Errorf("cannot charge %d", order.Cents))
	}
	return fmt.Sprint("receipt ", order.ID), nil
}

// Ship handles the second step.
func Ship(ctx context.Context, receipt string) (string, error) {
	parcel := "parcel for " + receipt
	if task, _ := handler.TaskFromContext(ctx); task.Headers["user"] != "" {
		parcel += ", asked for by " + task.Headers["user"]
	}
	return parcel, nil
}

// Till is what the orders of the examples are charged with.
var Till = &Register{}

// A Register can be locked, so that nothing can be charged, and jam, so that a
// charge takes until it is open again.
type Register struct {
	mu      sync.Mutex
	locked  bool
	jammed  chan struct{} // closed when it is open again
	waiting chan struct{} // closed when a charge waits for that
}

// Lock locks it.
func (r *Register) Lock() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.locked = true
}

// Jam jams it: a charge waits until it is open again.
func (r *Register) Jam() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.jammed, r.waiting = make(chan struct{}), make(chan struct{})
}

// AwaitJam waits until a charge waits.
func (r *Register) AwaitJam() { <-r.waiting }

// Open opens it again.
func (r *Register) Open() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.locked = false
	if r.jammed != nil {
		close(r.jammed)
		r.jammed = nil
	}
}

func (r *Register) use(ctx context.Context) error {
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

// An Approval is the answer to an expense claim.
type Approval struct {
	Cents int `json:"cents"`
}

// Expense is what a generated package has for a flow that waits until somebody has approved
// an expense claim, and then pays it. The claim is its key.
var Expense = runtime.NewFlow[Order](spec.Flow{Slug: "expense", Steps: []spec.Step{
	{Slug: "approve", Type: spec.TypeWait, Timeout: 72 * time.Hour, Key: spec.Path{spec.RunKey, "id"}},
	{Slug: "pay", Deps: []string{"approve"}},
}}, handler.Output[string]("pay"))

// Connect returns a database that has the flows process_order and expense, which a worker
// does, and the flow stocktaking, which nobody does.
var Connect = sync.OnceValue(func() *pgxpool.Pool {
	ctx := context.Background()
	pool := dbtest.ForExamples()
	_, err := ProcessOrder.Upsert(ctx, pool)
	Must(err)
	_, err = Expense.Upsert(ctx, pool)
	Must(err)
	_, err = runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "stocktaking",
		Steps: []spec.Step{{Slug: "count", StartDelay: time.Hour}},
	})
	Must(err)
	_, err = pool.Exec(ctx, `CREATE TABLE orders (id int)`)
	Must(err)
	w, err := worker.New(pool, worker.Config{Name: "shop", Logger: slog.New(slog.DiscardHandler)}, handler.Serve(ProcessOrder.Definition(), []handler.Handler{
		handler.Handle("charge", handler.Input[Order](), Charge),
		handler.Handle("ship", handler.Output[string]("charge"), Ship),
	}), Expense.Serve([]handler.Handler{
		handler.Handle("pay", handler.Output[Approval]("approve"), func(_ context.Context, a Approval) (string, error) {
			return fmt.Sprintf("%d cents are paid", a.Cents), nil
		}),
	}))
	Must(err)
	working, stop := context.WithCancel(ctx)
	stopped := make(chan error)
	go func() { stopped <- w.Run(working) }()
	dbtest.AtEnd(func() {
		stop()
		Must(<-stopped)
	})
	return pool
})

// Must panics if there is an error.
func Must(err error) {
	if err != nil {
		panic(err)
	}
}
