// Package effects declares steps that commit with what their handlers write.
package effects

import "github.com/flowc-dev/flowc/dsl"

// Book books an order in several tables.
type Book struct {
	dsl.Flow[Order, Receipt]

	// Charge takes the money.
	Charge dsl.Step[Order, Receipt]     `tx:"pgx" max_attempts:"5"`
	Lines  dsl.Step[Order, []Line]      `tx:"sql"`
	Count  dsl.Map[Line, dsl.None]      `tx:"sql"`
	Mark   dsl.Step[dsl.None, dsl.None] `tx:"pgx" after:"Charge" if:"Charge.Number == 'x'"`
	Stamp  dsl.Step[dsl.None, string]   `after:"Mark" tx:"sql" start_delay:"1s"`
	Tell   dsl.Step[Receipt, dsl.None]
}

// Close closes an account.
type Close struct {
	dsl.Job[Order, dsl.None] `tx:"pgx"`
}

type Order struct{ Lines []Line }

type Line struct{ SKU string }

type Receipt struct{ Number string }
