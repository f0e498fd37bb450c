package check

import (
	"fmt"
	"go/types"
	"strings"

	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/jsonform"
)

// bindMap finds the list that a map step runs over. It is nil if a mistake is
// reported, here or before.
func (c *checker) bindMap(d *declaration, s *step) *producer {
	pos, end := where(s.marker.arg(0, s.expr))
	if s.in == nil {
		if !s.broken {
			c.diags.Add(diag.NoMapItem, pos, end, "%s: a map takes an item, and dsl.None is none", s.who).
				Fix("name the type of the elements")
		}
		return nil
	}
	list := "[]" + c.name(s.in)
	if over := s.settings.Over; over != nil {
		w := over.Word()
		if head, _, dotted := strings.Cut(w.Text, "."); dotted {
			c.diags.Add(diag.PartOfOutput, w.Pos, w.End, "%s: a map runs over the whole of what %s gives, not a part of it", s.who, head).
				Fix("add a step that takes what %s gives and gives %s", head, list)
			return nil
		}
		p := c.producer(d, s.who, s, w)
		if p == nil || p.unclear(false) {
			return nil
		}
		return c.fitMap(s, p)
	}

	var exact, others []*producer
	for _, p := range d.producers(s) {
		elem := element(p.typ)
		switch {
		case elem == nil:
		case types.Identical(elem, s.in):
			exact = append(exact, p)
		default:
			others = append(others, p)
		}
	}
	switch {
	case len(exact) == 1:
		return c.fitMap(s, exact[0])
	case s.settings.Unclear: // it may be meant to say which
		return nil
	case len(exact) > 1:
		c.ambiguous(pos, end, fmt.Sprintf("%s: %s comes from", s.who, list), exact, "tag it", "over")
		return nil
	case d.unclear(d.producers(s), false):
		return nil
	case len(others) == 1:
		return c.fitMap(s, others[0])
	}
	b := c.diags.Add(diag.NoProducer, pos, end, "%s: nothing gives %s to map over", s.who, list)
	for _, p := range d.producers(s) {
		for _, path := range listsIn(p, s.in) {
			b.Note("%s is one, but a map runs over a whole output", path)
		}
	}
	b.Fix("add a step that gives %s", list)
	return nil
}

// fitMap checks that a map can run over what a producer gives.
func (c *checker) fitMap(s *step, p *producer) *producer {
	arg := s.marker.arg(0, s.expr)
	pos, end := where(arg)
	elem := element(p.typ)
	switch {
	case elem == nil:
		if over := s.settings.Over; over != nil {
			pos, end = over.Pos(0), over.End()
		}
		c.diags.Add(diag.NotAList, pos, end, "%s: a map runs over a list, and %s", s.who, c.gives(p, false)).
			Fix("add a step that gives []%s", c.name(s.in))
		return nil
	case !types.Identical(elem, s.in):
		c.diags.Add(diag.TypeMismatch, pos, end, "%s takes %s, but %s", s.who, c.name(s.in), c.gives(p, false)).
			Fix("declare it dsl.Map[%s, %s]", c.name(elem), c.typeName(s.out)).
			Edit(pos, end, c.name(elem))
		return nil
	case jsonform.Marshaler(p.typ, true) != "" || jsonform.IsBytes(p.typ):
		c.diags.Add(diag.NotAList, pos, end, "%s: %s is not a list in JSON, so no map can run over it", s.who, c.name(p.typ)).
			Fix("let %s give a list without a form of its own", p.name)
		return nil
	}
	return p
}

// element returns the type of the elements of a list, or nil.
func element(t types.Type) types.Type {
	if t == nil {
		return nil
	}
	if list, ok := t.Underlying().(*types.Slice); ok {
		return list.Elem()
	}
	return nil
}

// listsIn returns the fields of what a producer gives that are lists of elem.
func listsIn(p *producer, elem types.Type) (paths []string) {
	if p.typ == nil {
		return nil
	}
	fields, ok := p.typ.Underlying().(*types.Struct)
	if !ok {
		return nil
	}
	for f := range fields.Fields() {
		if e := element(f.Type()); e != nil && types.Identical(e, elem) {
			paths = append(paths, p.name+"."+f.Name())
		}
	}
	return paths
}
