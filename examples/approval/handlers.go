package main

import (
	"context"

	"github.com/flowc-dev/flowc/examples/approval/expenses"
)

// handlers does what no person has to do.
type handlers struct{}

func (handlers) Check(_ context.Context, claim expenses.Claim) (expenses.Approvers, error) {
	return expenses.Approvers{Manager: "Grace", Boss: "Emmy"}, nil // whoever is above claim.Employee
}

func (handlers) Overdue(_ context.Context, decision *expenses.Decision) (bool, error) {
	return decision == nil, nil
}

func (handlers) Settle(_ context.Context, in expenses.SettleInput) (expenses.Settled, error) {
	decision, by := in.Approve, in.Check.Manager
	if decision == nil {
		decision, by = in.Escalate, in.Check.Boss
	}
	settled := expenses.Settled{Paid: decision.Approved, Decided: by, Comment: decision.Comment}
	if settled.Paid { // here it would be paid
		settled.Cents, settled.Budget = in.Input.Cents, decision.Budget
	}
	return settled, nil
}
