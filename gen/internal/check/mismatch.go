package check

import (
	"fmt"
	"go/token"
	"go/types"

	"github.com/flowc-dev/flowc/gen/internal/diag"
)

// gives says what a producer gives.
func (c *checker) gives(p *producer, result bool) string {
	if p.step == nil {
		return "Input is " + c.name(p.typ)
	}
	return p.name + " gives " + c.name(p.given(result))
}

// ambiguous reports a value that comes from several producers, each of which the tag key
// could name.
func (c *checker) ambiguous(pos, end token.Pos, what string, from []*producer, fix, key string) {
	var tagged []string
	for _, p := range from {
		tagged = append(tagged, key+`:"`+p.name+`"`)
	}
	c.diags.Add(diag.AmbiguousInput, pos, end, "%s %s; say which", what, diag.Enumerate(names(from), "and")).
		Fix("%s %s", fix, diag.Enumerate(tagged, "or"))
}

// fits says how to change what is at a place to a type: a type argument, or the
// type of a field.
type fits func(name string) string

func fitsExpr(name string) string  { return "take " + name }
func fitsField(name string) string { return "make it " + name }

// mismatch reports a value of type t that is to come from p, which gives
// another type.
func (c *checker) mismatch(pos, end token.Pos, what string, t types.Type, p *producer, result bool, fit fits) {
	given := p.given(result)
	name := c.name(given)
	switch {
	case types.Identical(p.typ, t): // given is optional
		b := c.diags.Add(diag.MayBeSkipped, pos, end, "%s, but %s may be skipped", what, p.name)
		causes := p.step.skippedBy(result)
		for _, cause := range causes {
			b.NoteAt(cause.KeyPos, "%s has %s", cause.step.name.Name, cause)
		}
		words := fit(name) + ", nil when " + p.name + " did not run"
		if !result && len(causes) == 1 {
			key := "when_unmet"
			if causes[0].Key == "when_exhausted" {
				key = causes[0].Key
			}
			words += fmt.Sprintf(`; or tag %s %s:"skip-cascade" to skip this too`, p.name, key)
		}
		b.Fix("%s", words).Edit(pos, end, name)
	case types.Identical(optional(p.typ), t):
		c.diags.Add(diag.NeverSkipped, pos, end, "%s, but %s always gives its %s", what, p.name, name).
			Fix("%s", fit(name)).Edit(pos, end, name)
	default:
		c.diags.Add(diag.TypeMismatch, pos, end, "%s, but %s", what, c.gives(p, result)).
			Fix("%s", fit(name)).Edit(pos, end, name)
	}
}
