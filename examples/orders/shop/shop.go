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

// SendReceipt mails a receipt.
type SendReceipt struct {
	dsl.Job[ReceiptMail, dsl.None] `max_attempts:"10" base_delay:"1m"`
}

// Order is what a customer sends from the checkout.
type Order struct {
	ID           string `json:"id"`
	Customer     string `json:"customer"`
	Email        string `json:"email"`
	NotifyByMail bool   `json:"notify_by_mail"`
	Card         string `json:"card"`
	Lines        []Line `json:"lines"`
}

// Line is one article of an order. Prices are in cents.
type Line struct {
	SKU      string `json:"sku"`
	Quantity int    `json:"quantity"`
	Price    int64  `json:"price"`
}

// Checked is an order that can be delivered.
type Checked struct {
	OrderID      string `json:"order_id"`
	Card         string `json:"card"`
	Total        int64  `json:"total"`
	NotifyByMail bool   `json:"notify_by_mail"`
	Lines        []Line `json:"lines"`
}

// Receipt says that an order is paid.
type Receipt struct {
	Number string `json:"number"`
	Amount int64  `json:"amount"`
}

// Parcel is a packed line. Weights are in grams.
type Parcel struct {
	SKU    string `json:"sku"`
	Weight int    `json:"weight"`
}

// ShipInput is what Ship waits for: a field per value, named after its step.
type ShipInput struct {
	Input  Order
	Charge Receipt
	Pack   []Parcel
}

// Shipment is an order on its way.
type Shipment struct {
	Tracking string `json:"tracking"`
	Parcels  int    `json:"parcels"`
	Weight   int    `json:"weight"`
}

// NotifyInput is what Notify waits for.
type NotifyInput struct {
	Input    Order
	Validate Checked
	Charge   Receipt
	Ship     Shipment
}

// ReceiptMail is a receipt on its way to the customer.
type ReceiptMail struct {
	To       string `json:"to"`
	Number   string `json:"number"`
	Amount   int64  `json:"amount"`
	Tracking string `json:"tracking"`
}
