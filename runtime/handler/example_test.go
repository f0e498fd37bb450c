package handler_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flowc-dev/flowc/dsl"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// An Order is what the flow of the examples takes.
type Order struct {
	ID    int `json:"id"`
	Cents int `json:"cents"`
}

// processOrder is the definition of a flow of two steps: the order is charged and then
// shipped.
var processOrder = spec.Flow{
	Slug: "process_order",
	Steps: []spec.Step{
		{Slug: "charge"},
		{Slug: "ship", Deps: []string{"charge"}},
	},
}

func charge(_ context.Context, order Order) (string, error) {
	return fmt.Sprint("receipt ", order.ID), nil
}

func ship(_ context.Context, receipt string) (string, error) {
	return "parcel for " + receipt, nil
}

// withoutTime returns a logger whose output is the same every time.
func withoutTime() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
}

// The Serve function of a generated package makes a service of handlers; for a flow
// that is known only at run time a program does it. A worker does all but shipping
// here, and charges at most two orders at once.
func ExampleServe() {
	service := handler.Serve(processOrder,
		[]handler.Handler{
			handler.Handle("charge", handler.Input[Order](), charge),
			handler.Handle("ship", handler.Output[string]("charge"), ship),
		},
		handler.Without("ship"),
		handler.Limit(2, "charge"),
	)
	for _, h := range service.Handlers() {
		fmt.Println(service.Definition().Slug, h.Step())
	}
	fmt.Println(service.As("process_order_acme").Definition().Slug)
	// Output:
	// process_order charge
	// process_order_acme
}

// A handler is a function over its own types; what it takes and gives is JSON only
// in the database.
func ExampleHandle() {
	type parcel struct {
		Input  Order    `json:"run"`
		Labels []string `json:"label"`
	}
	label := handler.Handle("label", handler.Item[string](), func(_ context.Context, line string) (string, error) {
		return "label for " + line, nil
	})
	pack := handler.Handle("pack", handler.Join(func(p parcel) parcel { return p }, "run", "label"),
		func(_ context.Context, p parcel) (string, error) {
			return fmt.Sprintf("order %d with %d labels", p.Input.ID, len(p.Labels)), nil
		})

	ctx := context.Background()
	output, err := label.Work(ctx, handler.Values{Item: json.RawMessage(`"tea"`)})
	fmt.Println(string(output), err)
	output, err = pack.Work(ctx, handler.Values{
		Input:   json.RawMessage(`{"id": 7}`),
		Outputs: json.RawMessage(`{"label": ["label for tea", "label for pot"]}`),
	})
	fmt.Println(string(output), err)
	// Output:
	// "label for tea" <nil>
	// "order 7 with 2 labels" <nil>
}

// A handler for a flow that is known only at run time takes values as they are.
func ExampleHandleValues() {
	echo := handler.HandleValues("echo", func(_ context.Context, v handler.Values) (any, error) {
		return map[string]json.RawMessage{"got": v.Input}, nil
	})
	output, err := echo.Work(context.Background(), handler.Values{Input: json.RawMessage(`[1, 2]`)})
	fmt.Println(string(output), err)
	// Output: {"got":[1,2]} <nil>
}

// Functions that take nothing, or give nothing, are adapted.
func ExampleNoOutput() {
	greet := handler.Handle("greet", handler.Input[string](), handler.NoOutput(func(_ context.Context, name string) error {
		fmt.Println("hello", name)
		return nil
	}))
	count := handler.Handle("count", handler.Nothing(), handler.NoInput(func(context.Context) (int, error) { return 7, nil }))
	sweep := handler.Handle("sweep", handler.Nothing(), handler.NoValues(func(context.Context) error { return nil }))

	for _, h := range []handler.Handler{greet, count, sweep} {
		output, err := h.Work(context.Background(), handler.Values{Input: json.RawMessage(`"Ada"`)})
		fmt.Println(string(output), err)
	}
	// Output:
	// hello Ada
	// null <nil>
	// 7 <nil>
	// null <nil>
}

// What a handler returns says what becomes of its task.
func ExamplePermanent() {
	charge := func(ctx context.Context, order Order) (string, error) {
		switch {
		case order.Cents < 0:
			return "", handler.Permanent(errors.New("no attempt will fix this"))
		case order.Cents == 0:
			return "", handler.Skip("there is nothing to pay")
		case order.Cents > 1000:
			return "", handler.RetryAfter(time.Minute, errors.New("the bank is busy"))
		}
		return "paid", nil
	}
	var permanent *handler.PermanentError
	var skip *handler.SkipError
	var later *handler.RetryAfterError
	for _, cents := range []int{-1, 0, 2000, 5} {
		_, err := charge(context.Background(), Order{Cents: cents})
		switch {
		case errors.As(err, &permanent):
			fmt.Println("failed for good:", err)
		case errors.As(err, &skip):
			fmt.Println(err)
		case errors.As(err, &later):
			fmt.Printf("again after %s: %v\n", later.Delay, err)
		default:
			fmt.Println("done")
		}
	}
	// Output:
	// failed for good: no attempt will fix this
	// skipped: there is nothing to pay
	// again after 1m0s: the bank is busy
	// done
}

// Handlers learn from their context what they do, and log with it. A test of a
// handler makes such a context itself.
func ExampleLogger() {
	charge := func(ctx context.Context) {
		task, ok := handler.TaskFromContext(ctx)
		fmt.Println(task.Step, task.Attempt, "of", task.MaxAttempts, ok)
		handler.Logger(ctx).Info("charging", "cents", 500)
	}

	ctx := handler.WithLogger(context.Background(), withoutTime())
	ctx = handler.WithTask(ctx, handler.Task{
		RunID: "01890a5d-ac96-774b-bcce-b302099a8057", Flow: "process_order", Step: "charge", Attempt: 2, MaxAttempts: 3,
	})
	charge(ctx)
	// Output:
	// charge 2 of 3 true
	// level=INFO msg=charging flow=process_order run_id=01890a5d-ac96-774b-bcce-b302099a8057 step=charge index=0 attempt=2 cents=500
}

// Middleware wraps the handlers of a service.
func ExampleUse() {
	timed := func(ctx context.Context, task handler.Task, next func(context.Context) error) error {
		fmt.Println("before", task.Step)
		defer fmt.Println("after", task.Step)
		return next(ctx)
	}
	service := handler.Serve(processOrder, []handler.Handler{
		handler.Handle("ship", handler.Output[string]("charge"), ship),
	}, handler.Use(timed))

	ctx := handler.WithTask(context.Background(), handler.Task{Step: "ship"})
	output, err := service.Handlers()[0].Work(ctx, handler.Values{Outputs: json.RawMessage(`{"charge": "receipt 7"}`)})
	fmt.Println(string(output), err)
	// Output:
	// before ship
	// after ship
	// "parcel for receipt 7" <nil>
}

func ExampleTick() {
	collect := func(ctx context.Context, _ dsl.None) (string, error) {
		day := handler.Tick(ctx).UTC().AddDate(0, 0, -1)
		return "the report of " + day.Format("2006-01-02"), nil
	}
	_ = handler.Handle("collect", handler.Nothing(), collect)
}

// With spec.Step.Tx, a handler gets the transaction in which its step is completed: a
// pgx.Tx, or with spec.TxSQL a *sql.Tx.
func ExampleHandleTx() {
	flow := spec.Flow{Slug: "settle", Steps: []spec.Step{
		{Slug: "book", Tx: spec.TxPgx},
		{Slug: "count", Tx: spec.TxSQL, Deps: []string{"book"}},
	}}
	service := handler.Serve(flow, []handler.Handler{
		handler.HandleTx("book", handler.Input[Order](), func(ctx context.Context, tx pgx.Tx, order Order) (string, error) {
			_, err := tx.Exec(ctx, `INSERT INTO bookings (order_id, cents) VALUES ($1, $2)`, order.ID, order.Cents)
			return fmt.Sprint("booking ", order.ID), err
		}),
		handler.HandleTx("count", handler.Nothing(), handler.NoValuesTx(func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `UPDATE totals SET orders = orders + 1`)
			return err
		})),
	})
	fmt.Println(len(service.Handlers()))
	// Output: 2
}
