// Package fulfil has the handlers of the flows that package shop declares. They use the
// shop's own types and no database, except Notify, which starts a job.
package fulfil

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"github.com/flowc-dev/flowc/examples/orders/shop"
	"github.com/flowc-dev/flowc/examples/orders/shop/processorder"
	"github.com/flowc-dev/flowc/examples/orders/shop/sendreceipt"
	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
)

// Handlers runs the steps of an order, and mails receipts.
type Handlers struct {
	// DB is where Notify enqueues the receipt.
	DB runtime.DB
	// Stock is what can be delivered: the weight of one piece in grams, by SKU.
	Stock map[string]int
	// Terminal takes the payments.
	Terminal *Terminal

	mu       sync.Mutex
	receipts []string
}

var _ processorder.Handlers = (*Handlers)(nil)

// Validate checks the stock and the total. An order that cannot be delivered
// fails permanently: another attempt would not fix it.
func (h *Handlers) Validate(ctx context.Context, in shop.Order) (shop.Checked, error) {
	if len(in.Lines) == 0 {
		return shop.Checked{}, handler.Permanent(errors.New("the order has no lines"))
	}
	var total int64
	for _, line := range in.Lines {
		if line.Quantity < 1 {
			return shop.Checked{}, handler.Permanent(fmt.Errorf("%s: %d pieces ordered", line.SKU, line.Quantity))
		}
		if _, ok := h.Stock[line.SKU]; !ok {
			return shop.Checked{}, handler.Permanent(fmt.Errorf("%s is not in stock", line.SKU))
		}
		total += int64(line.Quantity) * line.Price
	}
	return shop.Checked{OrderID: in.ID, Card: in.Card, Total: total, NotifyByMail: in.NotifyByMail, Lines: in.Lines}, nil
}

// Lines lists what has to be packed.
func (h *Handlers) Lines(ctx context.Context, in shop.Checked) ([]shop.Line, error) {
	return in.Lines, nil
}

// Charge takes the payment. A busy terminal is retried later.
func (h *Handlers) Charge(ctx context.Context, in shop.Checked) (shop.Receipt, error) {
	return h.Terminal.Charge(ctx, in.OrderID, in.Card, in.Total)
}

// Pack packs one line of the order.
func (h *Handlers) Pack(ctx context.Context, item shop.Line) (shop.Parcel, error) {
	if err := work(ctx, time.Duration(20+10*item.Quantity)*time.Millisecond); err != nil {
		return shop.Parcel{}, err
	}
	return shop.Parcel{SKU: item.SKU, Weight: item.Quantity * h.Stock[item.SKU]}, nil
}

// Ship books the courier.
func (h *Handlers) Ship(ctx context.Context, in shop.ShipInput) (shop.Shipment, error) {
	shipment := shop.Shipment{Parcels: len(in.Pack)}
	for _, parcel := range in.Pack {
		shipment.Weight += parcel.Weight
	}
	number := fnv.New32a()
	number.Write([]byte(in.Input.ID + in.Charge.Number))
	shipment.Tracking = fmt.Sprintf("TRK-%08X", number.Sum32())
	return shipment, nil
}

// Notify leaves the receipt to a job of its own, which has all day to reach the mail server.
func (h *Handlers) Notify(ctx context.Context, in shop.NotifyInput) error {
	mail, err := sendreceipt.EnqueueSendReceipt(ctx, h.DB, shop.ReceiptMail{
		To:       in.Input.Email,
		Number:   in.Charge.Number,
		Amount:   in.Charge.Amount,
		Tracking: in.Ship.Tracking,
	}, runtime.WithIdempotencyKey(in.Charge.Number)) // one mail, however many attempts there are
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.receipts = append(h.receipts, mail.ID())
	return nil
}

// Receipts returns the ids of the runs that mail receipts.
func (h *Handlers) Receipts() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.receipts)
}

// SendReceipt mails a receipt.
func (h *Handlers) SendReceipt(ctx context.Context, in shop.ReceiptMail) error {
	return work(ctx, 30*time.Millisecond)
}

// Terminal takes payments. A card that begins with "busy" finds it busy twice.
type Terminal struct {
	mu    sync.Mutex
	calls map[string]int
}

// ErrBusy says that the terminal is busy: the payment has to be retried.
var ErrBusy = errors.New("the payment terminal is busy")

// Charge takes one payment.
func (t *Terminal) Charge(ctx context.Context, order, card string, amount int64) (shop.Receipt, error) {
	if err := work(ctx, 40*time.Millisecond); err != nil {
		return shop.Receipt{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.calls == nil {
		t.calls = make(map[string]int)
	}
	t.calls[order]++
	if card == "busy" && t.calls[order] <= 2 {
		return shop.Receipt{}, ErrBusy
	}
	return shop.Receipt{Number: "R-" + order, Amount: amount}, nil
}

// work takes its time, unless ctx ends.
func work(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
