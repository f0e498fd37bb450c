// Package expenses declares how expense claims are approved and paid.
package expenses

import "github.com/flowc-dev/flowc/dsl"

//go:generate go tool flowc generate

// PayClaim pays an expense claim once somebody has approved it.
type PayClaim struct {
	dsl.Flow[Claim, Settled] `deadline:"720h"`

	// Check finds out who decides.
	Check dsl.Step[Claim, Approvers]
	// Approve waits until the manager has decided.
	Approve dsl.Wait[Question, Decision] `timeout:"72h" when_exhausted:"skip"`
	// Overdue finds out whether the manager has let the time pass.
	Overdue dsl.Step[*Decision, bool] `from:"Approve"`
	// Escalate waits until the manager's manager has decided, if the manager did not.
	Escalate dsl.Wait[Question, Decision] `after:"Overdue" if:"Overdue" timeout:"48h"`
	// Settle pays the claim, or says why it is not paid.
	Settle dsl.Step[SettleInput, Settled]
}

// Claim is what an employee has paid and wants back.
type Claim struct {
	Employee string `json:"employee"`
	Purpose  string `json:"purpose"`
	Cents    int    `json:"cents"`
}

// Approvers are those who decide about a claim.
type Approvers struct {
	Manager string `json:"manager"`
	// Boss is the manager's manager.
	Boss string `json:"boss"`
}

// Question is what those who decide are shown.
type Question struct {
	Input Claim
	Check Approvers
}

// Decision is what they say.
type Decision struct {
	// Whether the claim is paid.
	Approved bool `json:"approved"`
	// The budget that pays it.
	Budget Budget `json:"budget"`
	// What the employee is told.
	Comment string `json:"comment,omitempty"`
}

// A Budget pays claims.
type Budget string

// The budgets.
const (
	Travel Budget = "travel"
	Office Budget = "office"
	Guests Budget = "guests"
)

// SettleInput is what Settle waits for. Of the two decisions, one is there.
type SettleInput struct {
	Input    Claim
	Check    Approvers
	Approve  *Decision
	Escalate *Decision
}

// Settled is what became of a claim.
type Settled struct {
	Paid    bool   `json:"paid"`
	Cents   int    `json:"cents"`
	Budget  Budget `json:"budget"`
	Decided string `json:"decided"`
	Comment string `json:"comment"`
}
