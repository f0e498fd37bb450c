// Package shop declares what the shop runs in the background.
package shop

import "github.com/flowc-dev/flowc/dsl"

//go:generate go tool flowc generate

// ProcessOrder takes an order from checkout to the courier.
type ProcessOrder struct {
	dsl.Flow[Order, Shipment] `max_attempts:"3" base_delay:"1s" timeout:"60s"`

	// Validate checks the stock and the total.
	Validate dsl.Step[Order, Checked]
	// Lines lists what has to be packed.
	Lines dsl.Step[Checked, []Line]
	// Charge takes the payment.
	Charge dsl.Step[Checked, Receipt] `max_attempts:"5" base_delay:"1s"`
	// Pack packs one line of the order.
	Pack dsl.Map[Line, Parcel]
	// Ship books the courier, once the payment and every parcel are in.
	Ship dsl.Step[ShipInput, Shipment]
	// Notify mails the customer, if they asked for it.
	Notify dsl.Step[NotifyInput, dsl.None] `if:"Validate.NotifyByMail" when_exhausted:"skip"`
}

// ShipInput is what Ship waits for: a field per value, named after its step.
type ShipInput struct {
	Input  Order
	Charge Receipt
	Pack   []Parcel
}

type NotifyInput struct {
	Validate Checked
	Ship     Shipment
}

// SendReceipt mails a receipt.
type SendReceipt struct {
	dsl.Job[ReceiptMail, dsl.None] `max_attempts:"10" base_delay:"1m"`
}

type Order struct {
	ID string `json:"id"`
}
type Checked struct {
	NotifyByMail bool `json:"notify_by_mail"`
}
type Line struct{ SKU string }
type Receipt struct{ ID string }
type Parcel struct{ ID string }
type Shipment struct{ ID string }
type ReceiptMail struct{ To string }
