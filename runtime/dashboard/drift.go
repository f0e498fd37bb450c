package dashboard

import (
	"slices"

	"github.com/flowc-dev/flowc/runtime/spec"
)

// drift returns how a flow in the database differs from the program's declaration. known
// is false if the program does not declare it.
func (h *Handler) drift(stored spec.Flow) (differences []string, known bool) {
	for _, declared := range h.config.Definitions {
		if declared.Slug == stored.Slug {
			return driftWords(declared, stored), true
		}
	}
	return nil, false
}

// driftWords lists the differences of two definitions.
func driftWords(declared, stored spec.Flow) []string {
	var all []string
	for _, d := range spec.Compare(declared, stored) {
		what := d.What
		if d.Step != "" {
			what = "step " + d.Step + ": " + d.What
		}
		switch {
		case d.What != "":
			all = append(all, what+" is "+d.From+" in the program and "+d.To+" in the database")
		case slices.ContainsFunc(declared.Steps, func(s spec.Step) bool { return s.Slug == d.Step }):
			all = append(all, "step "+d.Step+" is only in the program")
		default:
			all = append(all, "step "+d.Step+" is only in the database")
		}
	}
	return all
}
