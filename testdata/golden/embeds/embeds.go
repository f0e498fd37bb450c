// Package embeds declares a flow whose values are embedded where they are taken,
// and have a JSON form of their own, which the struct around them gets too.
package embeds

import (
	"encoding/json"
	"time"

	"github.com/flowc-dev/flowc/dsl"
)

// Weigh charges for a parcel, by its weight.
type Weigh struct {
	dsl.Flow[int, Result] `max_attempts:"1"`

	Scale  dsl.Step[int, Weight] `when_exhausted:"skip"`
	Charge dsl.Step[int, Receipt]
	Now    dsl.Step[int, time.Time]
	Print  dsl.Step[Parcel, Label]
	Stamp  dsl.Step[Dated, string]
}

// Receipt is in euros if nothing else was written.
type Receipt struct {
	Cents    int    `json:"cents"`
	Currency string `json:"currency"`
}

func (r *Receipt) UnmarshalJSON(b []byte) error {
	type plain Receipt
	r.Currency = "EUR"
	return json.Unmarshal(b, (*plain)(r))
}

// Weight is written as a number of grams.
type Weight struct{ grams int }

// Grams returns a weight.
func Grams(n int) Weight { return Weight{n} }

// Grams returns how many grams it is.
func (w Weight) Grams() int { return w.grams }

func (w Weight) MarshalJSON() ([]byte, error)  { return json.Marshal(w.grams) }
func (w *Weight) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &w.grams) }

// Label is what is printed.
type Label struct{ Text string }

// Parcel is what Print takes: methods of both are those of the parcel, or would
// be if there were not two.
type Parcel struct {
	Receipt
	*Weight
}

// Dated is what Stamp takes.
type Dated struct {
	time.Time
	Label
}

// Result is what came of it.
type Result struct {
	Receipt
	Label
	Stamp string
}
