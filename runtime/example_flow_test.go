package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flowc-dev/flowc/runtime"
)

// A generated package has these methods as functions: StartProcessOrder,
// StartProcessOrderSync, GetProcessOrder and so on.
func ExampleFlow() {
	ctx, pool := context.Background(), connect()

	run, err := processOrder.Start(ctx, pool, Order{ID: 51})
	if err != nil {
		panic(err)
	}
	parcel, err := run.Wait(ctx)
	fmt.Println(run.Flow(), parcel, err)

	again, err := processOrder.Get(ctx, pool, run.ID())
	if err != nil {
		panic(err)
	}
	info, err := again.Info(ctx)
	fmt.Println(again.Existed(), info.Status, err)
	// Output:
	// process_order parcel for receipt 51 <nil>
	// true completed <nil>
}

func ExampleFlow_StartMany() {
	ctx, pool := context.Background(), connect()

	orders := []Order{{ID: 52}, {ID: 53}}
	runs, err := processOrder.StartMany(ctx, pool, orders, runtime.WithKeys("order 52", "order 53"))
	if err != nil {
		panic(err)
	}
	for _, run := range runs {
		parcel, err := run.Wait(ctx)
		fmt.Println(parcel, err)
	}
	// Output:
	// parcel for receipt 52 <nil>
	// parcel for receipt 53 <nil>
}

func ExampleFlow_StartIn() {
	ctx, pool := context.Background(), connect()

	began := time.Now()
	run, err := processOrder.StartIn(ctx, pool, Order{ID: 54}, 200*time.Millisecond)
	if err != nil {
		panic(err)
	}
	parcel, err := run.Wait(ctx)
	fmt.Println(parcel, err, time.Since(began) >= 200*time.Millisecond)
	// Output: parcel for receipt 54 <nil> true
}

func ExampleFlow_StartAt() {
	ctx, pool := context.Background(), connect()

	run, err := processOrder.StartAt(ctx, pool, Order{ID: 55}, time.Date(2999, time.May, 1, 0, 0, 0, 0, time.UTC))
	if err != nil {
		panic(err)
	}
	fmt.Println(run.ScheduledAt().UTC())
	// Output: 2999-05-01 00:00:00 +0000 UTC
}

// A flow of the same shape under a slug of its own, as for a tenant or a version.
func ExampleFlow_As() {
	ctx, pool := context.Background(), connect()

	acme := processOrder.As("process_order_acme")
	result, err := acme.Upsert(ctx, pool)
	fmt.Println(result.Status, err)
	exists, err := acme.Exists(ctx, pool)
	fmt.Println(exists, err)
	deleted, err := acme.Delete(ctx, pool)
	fmt.Println(deleted.Steps, err)
	// Output:
	// compiled <nil>
	// true <nil>
	// 2 <nil>
}

// What ends a wait early has the run's id, so that nothing is lost: the run goes on.
func ExampleWithTimeout() {
	ctx, pool := context.Background(), connect()

	_, err := runtime.StartFlowSync(ctx, pool, "stocktaking", nil, runtime.WithTimeout(20*time.Millisecond))
	var wait *runtime.WaitError
	if errors.As(err, &wait) {
		fmt.Println(errors.Is(err, runtime.ErrTimeout), len(wait.RunID), wait.Last.Status)
	}
	// Output: true 36 running
}

// Through a connection or behind a pooler nothing wakes a waiter, and it looks.
func ExampleWithPollInterval() {
	ctx, pool := context.Background(), connect()
	conn, err := pool.Acquire(ctx)
	if err != nil {
		panic(err)
	}
	defer conn.Release()

	parcel, err := processOrder.StartSync(ctx, conn.Conn(), Order{ID: 56}, runtime.WithPollInterval(10*time.Millisecond))
	fmt.Println(parcel, err)
	// Output: parcel for receipt 56 <nil>
}

func ExampleWithKeys() {
	ctx, pool := context.Background(), connect()

	runs, err := runtime.StartMany(ctx, pool, "stocktaking", []any{"A", "B", "A"}, runtime.WithKeys("shelf A", "shelf B", "shelf A"))
	if err != nil {
		panic(err)
	}
	fmt.Println(runs[0].ID() == runs[2].ID(), runs[2].Existed())
	// Output: true true
}

// Headers go with a run to its handlers, beside its input.
func ExampleWithHeaders() {
	ctx, pool := context.Background(), connect()

	run, err := processOrder.Start(ctx, pool, Order{ID: 57}, runtime.WithHeaders(map[string]string{"user": "ada"}))
	if err != nil {
		panic(err)
	}
	parcel, err := run.Wait(ctx)
	fmt.Println(parcel, err)
	// Output: parcel for receipt 57, asked for by ada <nil>
}
