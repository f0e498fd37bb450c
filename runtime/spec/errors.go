package spec

import (
	"fmt"
	"strings"
)

// An InvalidFlowError lists everything that is wrong with a definition. Nothing was written.
type InvalidFlowError struct {
	// Flow is the slug as it was given.
	Flow string
	// Faults are in the order of the definition; those of the flow come first.
	Faults []Fault
}

// A Fault is one thing that is wrong with a definition.
type Fault struct {
	// Step is the slug of the step that the fault is in, as it was given, or empty if it
	// is the flow's. A step without a slug is named by its number.
	Step string
	// Problem says what is wrong and what is allowed.
	Problem string
}

func (f Fault) String() string {
	if f.Step == "" {
		return f.Problem
	}
	return "step " + f.Step + ": " + f.Problem
}

func (e *InvalidFlowError) Error() string {
	faults := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		faults[i] = f.String()
	}
	if len(faults) == 1 {
		return fmt.Sprintf("flowc: flow %q is not valid: %s", e.Flow, faults[0])
	}
	return fmt.Sprintf("flowc: flow %q is not valid, %d faults:\n\t%s", e.Flow, len(faults), strings.Join(faults, "\n\t"))
}
