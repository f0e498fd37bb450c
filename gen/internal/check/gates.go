package check

import (
	"fmt"
	"go/types"
	"slices"
	"strings"

	"github.com/flowc-dev/flowc/gen/internal/cond"
	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/jsonform"
	"github.com/flowc-dev/flowc/gen/internal/tags"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// looksIntoElement reports whether the key of a map leads into the element that it works
// on, and says so: a key is read once, when the step starts.
func (c *checker) looksIntoElement(d *declaration, s *step) bool {
	if !s.model.Map || s.in == nil {
		return false
	}
	p := s.settings.Key
	first, rest, _ := strings.Cut(p.Value, ".")
	element := first == "Item"
	for _, producer := range d.producers(nil) {
		switch {
		case producer.name != first:
		case producer.key != s.model.Over || rest == "" || producer.typ == nil:
			return false
		default:
			_, list := producer.typ.Underlying().(*types.Slice)
			element = list
		}
	}
	if elem, _ := jsonform.Pointee(s.in); !element {
		named, isNamed := types.Unalias(elem).(*types.Named)
		element = isNamed && named.Obj().Name() == first
		if fields, isStruct := elem.Underlying().(*types.Struct); isStruct {
			for f := range fields.Fields() {
				element = element || f.Name() == first
			}
		}
	}
	if element {
		c.diags.Add(diag.ElementKey, p.Pos(0), p.End(), "%s: key %s looks into an element, and a key is read once, when the step starts", s.who, p.Value).
			Fix("look at what all elements have in common, such as a field of Input, or put it on the step that gives the list")
	}
	return element
}

// checkRunKey compiles the path to the key of the runs of a flow, which have a limit for each.
func (c *checker) checkRunKey(d *declaration) {
	p := d.settings.Key
	if d.flow.In == nil {
		c.diags.Add(diag.GivesNothing, p.KeyPos, p.End(), "%s: key looks into its input, and it takes nothing", d.name).
			Fix("remove key: then all its runs have one limit")
		return
	}
	key := cond.CompileRunKey(c.inputScope(d), p)
	if key != nil && c.checkNameableAt(d.name+"'s key", key.Type, p.Pos(0), p.End()) {
		d.flow.Key = key
	}
}

// limits are those of the tags of a step.
func (s *step) limits() spec.Limits {
	set := s.settings
	return spec.Step{Concurrency: set.Concurrency, Rate: set.Rate, StrictOrder: set.StrictOrder}.Limits()
}

// pairs returns limits as tags.
func pairs(l spec.Limits) string {
	var list []string
	if l.Concurrency != 0 {
		list = append(list, fmt.Sprintf(`concurrency:"%d"`, l.Concurrency))
	}
	if l.Rate != (spec.Rate{}) {
		list = append(list, fmt.Sprintf(`rate:"%s"`, l.Rate))
	}
	if l.StrictOrder {
		list = append(list, `strict_order:"true"`)
	}
	return strings.Join(list, " ")
}

// checkGates finds steps that name one gate and give it different limits, or none.
func checkGates(diags *diag.List, all []*declaration) {
	gates := map[string][]*step{}
	var names []string
	for _, d := range inOrder(all) {
		for _, s := range d.steps {
			if s.settings.Gate == nil || s.model.Wait {
				continue
			}
			name := s.settings.Gate.Value
			if gates[name] == nil {
				names = append(names, name)
			}
			gates[name] = append(gates[name], s)
		}
	}
	for _, name := range names {
		checkGate(diags, name, gates[name])
	}
}

// checkGate compares the limits of the steps that name one gate with those of the first.
func checkGate(diags *diag.List, name string, steps []*step) {
	unread := func(s *step) bool { return s.settings.BadLimits || s.settings.Unclear } // another mistake stands in the way
	limited := slices.IndexFunc(steps, func(s *step) bool { return !unread(s) && s.limits() != spec.Limits{} })
	for i, s := range steps {
		p := s.settings.Gate
		switch {
		case i == limited || unread(s):
			continue
		case limited < 0 && slices.ContainsFunc(steps, unread):
			continue
		case limited < 0:
			diags.Add(diag.MissingLimit, p.KeyPos, p.End(), "%s: gate is a name for limits that steps share, and there is no concurrency or rate", s.who).
				Fix(`add one, such as rate:"500/m", to each step that names the gate`)
			continue
		}
		first := steps[limited]
		theirs, ours := first.limits(), s.limits()
		place := first.settings.Gate.KeyPos
		switch {
		case ours == spec.Limits{}:
			b := diags.Add(diag.DifferentLimits, p.KeyPos, p.End(), "%s: gate %s has limits elsewhere, and none here", s.who, name).
				NoteAt(place, "%s says %s", first.who, theirs).
				Fix("say the same here: %s", pairs(theirs))
			tags.Insert(b, p, pairs(theirs))
		case ours != theirs:
			diags.Add(diag.DifferentLimits, p.KeyPos, p.End(), "%s: gate %s has limits of %s here, and of %s at %s", s.who, name, ours, theirs, first.who).
				NoteAt(place, "the gate of %s", first.who).
				Fix("say the same at both, or let one name another gate")
		case (s.settings.Key == nil) != (first.settings.Key == nil):
			keyed, keyless := s, first
			if s.settings.Key == nil {
				keyed, keyless = first, s
			}
			diags.Add(diag.DifferentLimits, p.KeyPos, p.End(), "%s: %s shares gate %s by key and %s without, so they would have limits of their own", s.who, keyed.who, name, keyless.who).
				NoteAt(place, "the gate of %s", first.who).
				Fix("give both a key, or none, or let one name another gate")
		}
	}
}
