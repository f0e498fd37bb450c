package flowtest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/flowc-dev/flowc/examples/orders/shop"
	"github.com/flowc-dev/flowc/examples/orders/shop/processorder"
	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/flowtest"
	"github.com/flowc-dev/flowc/runtime/handler"
)

// shelf does the steps of an order as a test wants them.
type shelf struct {
	declined int // how often the card is refused
}

func (s *shelf) Validate(_ context.Context, in shop.Order) (shop.Checked, error) {
	if len(in.Lines) == 0 {
		return shop.Checked{}, handler.Permanent(errors.New("nothing was ordered"))
	}
	return shop.Checked{OrderID: in.ID, NotifyByMail: in.NotifyByMail, Lines: in.Lines}, nil
}

func (s *shelf) Lines(_ context.Context, in shop.Checked) ([]shop.Line, error) {
	return in.Lines, nil
}

func (s *shelf) Charge(context.Context, shop.Checked) (shop.Receipt, error) {
	if s.declined--; s.declined >= 0 {
		return shop.Receipt{}, errors.New("the bank does not answer")
	}
	return shop.Receipt{Number: "R-1"}, nil
}

func (s *shelf) Pack(_ context.Context, item shop.Line) (shop.Parcel, error) {
	return shop.Parcel{SKU: strings.ToLower(item.SKU), Weight: 100 * item.Quantity}, nil
}

func (s *shelf) Ship(_ context.Context, in shop.ShipInput) (shop.Shipment, error) {
	shipment := shop.Shipment{Tracking: in.Input.ID + "/" + in.Charge.Number}
	for _, parcel := range in.Pack {
		shipment.Parcels++
		shipment.Weight += parcel.Weight
	}
	return shipment, nil
}

func (s *shelf) Notify(_ context.Context, in shop.NotifyInput) error {
	fmt.Println("mail to", in.Input.Email)
	return nil
}

// A generated flow is run with handlers of the test, and no database: what starts
// it is the same code as in production.
func ExampleInline() {
	ctx := context.Background()
	db := flowtest.Inline(processorder.Serve(&shelf{declined: 2}))

	order := shop.Order{ID: "7", Email: "ada@example.com", NotifyByMail: true, Lines: []shop.Line{{SKU: "TEA", Quantity: 2}, {SKU: "POT", Quantity: 1}}}
	shipment, err := processorder.StartProcessOrderSync(ctx, db, order)
	fmt.Println(shipment, err)

	_, err = processorder.StartProcessOrderSync(ctx, db, shop.Order{ID: "8"})
	var failed *runtime.RunFailedError
	if errors.As(err, &failed) {
		fmt.Printf("%s: %s\n", failed.Step, failed.Message)
	}

	for _, attempt := range db.Attempts("process_order", "charge") {
		fmt.Println(attempt.Attempt, attempt.Outcome, attempt.Err, attempt.RetryIn)
	}
	// Output:
	// mail to ada@example.com
	// {7/R-1 2 300} <nil>
	// validate: nothing was ordered
	// 1 retried the bank does not answer 2s
	// 2 retried the bank does not answer 4s
	// 3 completed  0s
}

// The steps of a run are read as everywhere.
func ExampleInline_states() {
	ctx := context.Background()
	db := flowtest.Inline(processorder.Serve(&shelf{}))
	run, err := processorder.StartProcessOrder(ctx, db, shop.Order{ID: "7", Lines: []shop.Line{{SKU: "TEA", Quantity: 1}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	info, err := runtime.GetRun(ctx, db, run.ID(), runtime.WithStates())
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, step := range info.States {
		fmt.Println(step.Step, "is", step.Status)
	}
	// Output:
	// validate is completed
	// lines is completed
	// charge is completed
	// pack is completed
	// ship is completed
	// notify is skipped
}
