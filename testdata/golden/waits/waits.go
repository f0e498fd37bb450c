// Package waits declares flows that wait for people, events and their time.
package waits

import (
	"encoding/json"
	"time"

	"github.com/flowc-dev/flowc/dsl"
)

// Expense pays an expense once it is approved.
type Expense struct {
	dsl.Flow[Claim, Outcome] `deadline:"240h" priority:"low"`

	// Check finds out who has to approve.
	Check dsl.Step[Claim, Checked] `max_wait:"1h"`
	// Approve waits until the manager has decided.
	//
	// What they are shown is a Question.
	Approve dsl.Wait[Question, Approval] `timeout:"72h" when_exhausted:"skip"`
	// Escalate waits for the manager's manager, if the manager does not answer.
	Escalate dsl.Wait[Escalation, Approval] `if_not:"Approve.Approved == true" timeout:"48h"`
	// Paid waits for what the bank says of the payment.
	Paid dsl.Wait[dsl.None, Payment] `key:"Input.PaymentID" keep:"2h" after:"Escalate"`
	// Receipt waits for the paper.
	Receipt dsl.Wait[dsl.None, dsl.None] `slug:"paper" after:"Paid,Check" key:"Check.Count"`
	// Remind mails the claimant.
	Remind dsl.Step[Checked, dsl.None] `start_at:"Input.Trip.RemindAt" priority:"high" after:"Receipt"`
	// Close closes the claim.
	Close dsl.Step[CloseInput, Closed] `start_delay:"Check.Pause"`
	Each  dsl.Map[Line, dsl.None]      `start_delay:"Input.Trip.Pause" max_wait:"24h" priority:"normal"`
	Lines dsl.Step[Claim, []Line]
}

// Gate runs when it is told to.
type Gate struct {
	dsl.Flow[string, dsl.None]

	Open dsl.Wait[string, dsl.None] `key:"Input"`
	Work dsl.Step[string, dsl.None] `from:"Input" after:"Open"`
}

// Ask is nothing but questions, which no program answers.
type Ask struct {
	dsl.Flow[string, bool]

	Answer dsl.Wait[string, int]
	Sure   dsl.Wait[int, bool]
}

// Poll asks until there is something.
type Poll struct {
	dsl.Job[PaymentID, dsl.None] `max_wait:"12h" deadline:"24h" priority:"high"`
}

type Claim struct {
	PaymentID PaymentID `json:"payment_id"`
	Trip
}

// A PaymentID is what the bank calls a payment.
type PaymentID string

type Trip struct {
	RemindAt *time.Time    `json:"remind_at"`
	Pause    time.Duration `json:"pause"`
}

type Checked struct {
	Manager string `json:"manager"`
	Count   uint32 `json:"count,string"`
	Pause   *time.Duration
}

// Question is what the manager is shown.
type Question struct {
	Input Claim
	Check Checked
}

type Escalation struct {
	Check   Checked
	Approve *Approval
}

// Approval is what the manager says.
type Approval struct {
	// Approved says whether the claim is paid.
	Approved bool `json:"approved"`
	// Reason is shown to the claimant.
	Reason string `json:"reason,omitempty"`
	Level  Level  `json:"level"` // how much may be paid
	// Urgency says how
	// soon.
	Urgency Urgency    `json:"urgency"`
	Rights  Rights     `json:"rights"`
	At      time.Time  `json:"at"`
	Until   *time.Time `json:"until"`
	Lines   []Line     `json:"lines"`
	Grades  [3]int8    `json:"grades"`
	Notes   Notes      `json:"notes"`
	*Signature
}

// Payment is what the bank says, in many forms.
type Payment struct {
	Amount float64           `json:"amount"`
	Cents  int64             `json:"cents,string"`
	Wait   time.Duration     `json:"wait"`
	Proof  []byte            `json:"proof"`
	Raw    json.RawMessage   `json:"raw"`
	Any    any               `json:"any"`
	Labels map[string]string `json:"labels"`
	Parent *Payment          `json:"parent"`
	Code   Code              `json:"code"`
	Hidden string            `json:"-"`
	Count  uint              `json:"count,omitzero"`
}

// Level is how much.
type Level string

// The levels.
const (
	Small Level = "small"
	Large Level = "large <all>"
)

// Urgency is how soon.
type Urgency int

// The urgencies.
const (
	Whenever Urgency = iota
	Soon
	Now
)

// Rights are flags.
type Rights uint8

// The rights.
const (
	Read Rights = 1 << iota
	Write
	Own
)

// Notes are lists of themselves.
type Notes []Notes

// Signature is embedded.
type Signature struct {
	Signed string `json:"signed"`
}

// Code writes itself as a text.
type Code struct{ text string }

func (c Code) MarshalText() ([]byte, error) { return []byte(c.text), nil }

func (c *Code) UnmarshalText(text []byte) error {
	c.text = string(text)
	return nil
}

// Line is a line of a claim.
type Line struct{ Text string }

type CloseInput struct {
	Input    Claim
	Approve  *Approval
	Escalate *Approval
	Paid     Payment
	Check    Checked
}

// Outcome is what became of a claim.
type Outcome struct {
	Closed  Closed `from:"Close"`
	Payment Payment
}

type Closed struct{ At time.Time }
