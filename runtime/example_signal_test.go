package runtime_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/exampleshop"
)

// A flow waits in its step approve for whoever sends an answer, which is the output of the
// step. The first answer counts.
func ExampleSignal() {
	ctx, pool := context.Background(), connect()
	run, err := exampleshop.Expense.Start(ctx, pool, Order{ID: 41, Cents: 500})
	must(err)

	signalled, err := runtime.Signal(ctx, pool, run.ID(), "approve", exampleshop.Approval{Cents: 400}, runtime.WithSender("ann"))
	fmt.Println(signalled, err)
	paid, err := run.Wait(ctx)
	fmt.Println(paid, err)
	signalled, err = exampleshop.Expense.Signal(ctx, pool, run.ID(), "approve", exampleshop.Approval{Cents: 500})
	fmt.Println(signalled, err)
	// Output:
	// accepted <nil>
	// 400 cents are paid <nil>
	// already <nil>
}

// An answer that is sent in a transaction counts when that commits, together with what else
// it does.
func ExampleSignal_transaction() {
	ctx, pool := context.Background(), connect()
	run, err := exampleshop.Expense.Start(ctx, pool, Order{ID: 42, Cents: 500})
	must(err)

	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO orders VALUES (42)`); err != nil {
			return err
		}
		_, err := runtime.Signal(ctx, tx, run.ID(), "approve", exampleshop.Approval{Cents: 500})
		return err
	})
	fmt.Println(err)
	paid, err := run.Wait(ctx)
	fmt.Println(paid, err)
	// Output:
	// <nil>
	// 500 cents are paid <nil>
}

// A wait ends as if nobody had answered in time, with a reason.
func ExampleFailWait() {
	ctx, pool := context.Background(), connect()
	run, err := exampleshop.Expense.Start(ctx, pool, Order{ID: 43, Cents: 500})
	must(err)

	_, err = runtime.FailWait(ctx, pool, run.ID(), "approve", "there is no receipt")
	must(err)
	var failed *runtime.RunFailedError
	_, err = run.Wait(ctx)
	fmt.Println(errors.As(err, &failed), failed.Step, failed.Message)
	_, err = runtime.Signal(ctx, pool, run.ID(), "approve", exampleshop.Approval{Cents: 500})
	fmt.Println(errors.Is(err, runtime.ErrNotWaiting))
	// Output:
	// true approve there is no receipt
	// true
}

// Whoever answers need not know the run, only what it waits for: here, the number of the
// claim. If no run waits with it yet, the answer is kept for a while.
func ExampleSignalBy() {
	ctx, pool := context.Background(), connect()
	err := runtime.SignalBy(ctx, pool, "expense", "approve", 44, exampleshop.Approval{Cents: 100})
	fmt.Println(err)
	paid, err := exampleshop.Expense.StartSync(ctx, pool, Order{ID: 44, Cents: 500})
	fmt.Println(paid, err)
	// Output:
	// <nil>
	// 100 cents are paid <nil>
}

// What waits for an answer is listed with what the one who answers is shown, those first
// that give up first.
func ExampleListWaiting() {
	ctx, pool := context.Background(), connect()
	_, err := exampleshop.Expense.Start(ctx, pool, Order{ID: 45, Cents: 500})
	must(err)

	waiting, err := runtime.ListWaiting(ctx, pool, runtime.WaitingFilter{Flows: []string{"expense"}, Key: "45"})
	must(err)
	for _, w := range waiting {
		fmt.Println(w.Step, w.Key, w.Until.Sub(w.Since).Round(0) > 71*60*60*1e9, string(w.Input.Input))
	}

	claims, err := runtime.ListWaitingFor(ctx, pool, "expense", "approve", handler.Input[Order](), runtime.WaitingFilter{Key: "45"})
	must(err)
	fmt.Println(claims[0].Input.Cents)
	fmt.Println(exampleshop.Expense.SignalBy(ctx, pool, "approve", 45, exampleshop.Approval{}))
	// Output:
	// approve 45 true {"id": 45, "cents": 500}
	// 500
	// <nil>
}
