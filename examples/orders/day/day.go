// Package day is a day of the shop: 25 orders, each with its expected outcome. It starts
// them on any database, shows their progress and reports how they ended.
package day

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/flowc-dev/flowc/examples/orders/fulfil"
	"github.com/flowc-dev/flowc/examples/orders/shop"
	"github.com/flowc-dev/flowc/examples/orders/shop/processorder"
	"github.com/flowc-dev/flowc/examples/orders/shop/sendreceipt"
	"github.com/flowc-dev/flowc/runtime"
)

//go:embed orders.json
var ordersJSON []byte

// A Day is the content of orders.json.
type Day struct {
	// Stock is what can be delivered: the weight of one piece in grams, by SKU.
	Stock map[string]int `json:"stock"`
	// Orders are the orders of the day.
	Orders []struct {
		Expect string     `json:"expect"` // shipped or rejected
		Order  shop.Order `json:"order"`
	} `json:"orders"`
}

// Today returns the day of orders.json.
func Today() (Day, error) {
	var d Day
	if err := json.Unmarshal(ordersJSON, &d); err != nil {
		return Day{}, fmt.Errorf("orders.json: %w", err)
	}
	return d, nil
}

// Trade starts all orders on a database, whose workers use these handlers, follows them to
// their ends and prints a report. It returns an error if an order did not end as expected.
func (d Day) Trade(ctx context.Context, db runtime.DB, handlers *fulfil.Handlers) error {
	// Start all orders in one call.
	began := time.Now()
	orders := make([]shop.Order, len(d.Orders))
	for i, o := range d.Orders {
		orders[i] = o.Order
	}
	runs, err := processorder.StartManyProcessOrder(ctx, db, orders)
	if err != nil {
		return err
	}
	fmt.Printf("started %d orders\n", len(runs))

	results, err := follow(ctx, db, runs)
	if err != nil {
		return err
	}
	mailed, err := awaitReceipts(ctx, db, handlers.Receipts())
	if err != nil {
		return err
	}
	report(os.Stdout, d, results, mailed, time.Since(began))
	return check(d, results)
}

// awaitReceipts waits for the mails, which are runs of their own, and returns how many were
// sent.
func awaitReceipts(ctx context.Context, db runtime.DB, ids []string) (int, error) {
	for _, id := range ids {
		run, err := sendreceipt.GetSendReceipt(ctx, db, id)
		if err != nil {
			return 0, err
		}
		if _, err := run.Wait(ctx, runtime.WithTimeout(10*time.Second)); err != nil {
			return 0, err
		}
	}
	return len(ids), nil
}

// check compares the outcome of the orders with the expected one.
func check(today Day, results []result) error {
	var wrong []error
	for i, o := range today.Orders {
		var failed *runtime.RunFailedError
		switch r := results[i]; {
		case o.Expect == "shipped" && r.err != nil:
			wrong = append(wrong, fmt.Errorf("order %s had to be shipped: %w", o.Order.ID, r.err))
		case o.Expect == "rejected" && !errors.As(r.err, &failed):
			wrong = append(wrong, fmt.Errorf("order %s had to be rejected, but: %v", o.Order.ID, r.err))
		case o.Expect == "rejected" && failed.Step != "validate":
			wrong = append(wrong, fmt.Errorf("order %s had to be rejected by validate: %w", o.Order.ID, failed))
		}
	}
	return errors.Join(wrong...)
}
