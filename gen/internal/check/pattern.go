package check

import (
	"encoding/json"
	"go/types"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/gen/nearest"
)

// checkConditions compiles the conditions of a step to patterns.
func (c *checker) checkConditions(d *declaration, s *step) {
	s.model.If = c.pattern(d, s, s.settings.cond)
	s.model.IfNot = c.pattern(d, s, s.settings.condNot)
}

// pattern compiles a condition to the JSON object that the database looks for
// in the subject of a step: the run's input for a root, otherwise the outputs
// of the steps it waits for.
func (c *checker) pattern(d *declaration, s *step, p *pair) *model.Condition {
	if p == nil {
		return nil
	}
	cond, fault := parseCondition(p.value)
	if fault != nil {
		b := c.diags.Add(p.pos(fault.start), p.pos(fault.end), "%s: %s", s.who, fault.message).Fix("%s", fault.fix)
		if fault.replacement != "" {
			b.Edit(p.pos(fault.start), p.pos(fault.end), fault.replacement)
		}
		return nil
	}
	root := object{}
	compiled := &model.Condition{Text: printable(p.value)}
	for _, t := range cond {
		keys, value, term, ok := c.compile(d, s, p, t)
		if !ok {
			return nil
		}
		compiled.Terms = append(compiled.Terms, term)
		if !root.set(keys, value) {
			first, last := t.path[0], t.path[len(t.path)-1]
			c.diags.Add(p.pos(first.start), p.pos(last.end), "%s: the condition compares %s twice", s.who, path(t.path)).
				Fix("compare it once; a step with two conditions is two steps")
			return nil
		}
	}
	compiled.Pattern = string(root.json())
	return compiled
}

// printable is a text as it can stand in a comment.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

// compile finds the JSON names along the path of a term, the JSON of its literal,
// and the same in Go.
func (c *checker) compile(d *declaration, s *step, p *pair, t term) (keys []string, value json.RawMessage, compiled model.Term, ok bool) {
	first := t.path[0]
	from := c.subject(d, s, p, t)
	if from == nil || from.typ == nil {
		return nil, nil, compiled, false
	}
	compiled = model.Term{Key: from.key, Start: from.name}
	compiled.Type, _ = pointee(from.typ)
	if from.step != nil {
		keys = append(keys, from.key)
	} else if len(t.path) == 1 {
		c.diags.Add(p.pos(first.start), p.pos(first.end), "%s: a condition looks at a field of Input", s.who).
			Fix("name one, as in Input.Field")
		return nil, nil, compiled, false
	}
	leaf := member{typ: from.typ}
	at := from.name
	for _, name := range t.path[1:] {
		found, ok := c.member(s, p, leaf.typ, at, name)
		if !ok {
			return nil, nil, compiled, false
		}
		keys = append(keys, found.keys...)
		compiled.Path = append(compiled.Path, found.hops...)
		found.omitted = found.omitted || leaf.omitted && !found.pointer
		leaf = found
		at = name.name
	}
	value, compiled.Value, ok = c.literal(s, p, t, leaf)
	return keys, value, compiled, ok
}

// subject is the producer at the start of a path, if the step can see it.
func (c *checker) subject(d *declaration, s *step, p *pair, t term) *producer {
	first := t.path[0]
	pos, end := p.pos(first.start), p.pos(first.end)
	var seen []string
	if len(s.deps) == 0 && d.in != nil {
		seen = append(seen, "Input")
	}
	for _, dep := range s.deps {
		seen = append(seen, dep.name.Name)
	}
	var all []string
	for _, other := range d.producers(nil) {
		all = append(all, other.name)
		if other.name != first.name {
			continue
		}
		if slices.Contains(seen, first.name) || !s.bound && other.step != s {
			return other // a step that is not bound may yet turn out to take it
		}
		switch {
		case other.step == s:
			c.diags.Add(pos, end, "%s: a condition cannot look at what the step itself gives", s.who).
				Fix("look at %s", orNothing(seen))
		case other.step == nil:
			c.diags.Add(pos, end, "%s waits for %s, so its condition sees what %s, and not the flow's input",
				s.who, enumerate(seen, "and"), plural(len(seen), "that gives", "those give")).
				Fix("let %s give it, and look at that", enumerate(seen, "or"))
		default:
			b := c.diags.Add(pos, end, "%s does not wait for %s, so its condition cannot look at it", s.who, first.name)
			if after := s.settings.after; after != nil {
				b.Fix(`add it to after: after:"%s, %s"`, after.value, first.name).Edit(after.end(), after.end(), ", "+first.name)
			} else {
				c.fixByTag(b, s.field, "after", first.name)
			}
		}
		return nil
	}
	if slices.ContainsFunc(d.steps, func(o *step) bool { return o.name.Name == first.name }) {
		c.diags.Add(pos, end, "%s: %s gives nothing to look at", s.who, first.name).
			Fix("let it give what the condition asks for")
		return nil
	}
	if d.partial {
		return nil
	}
	b := c.diags.Add(pos, end, "%s: there is no step %s", s.who, first.name)
	if near := nearest.Name(first.name, all); near != "" {
		b.Fix("did you mean %s?", near).Edit(pos, end, near)
	} else if len(seen) > 0 {
		b.Fix("a condition here begins with %s", enumerate(seen, "or"))
	} else {
		b.Fix("let the step take what the condition asks for")
	}
	return nil
}

// orNothing are the words for what can be looked at.
func orNothing(names []string) string {
	if len(names) == 0 {
		return "what it takes, once it takes something"
	}
	return "a field of " + enumerate(names, "or")
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// A member is what a name of a path leads to.
type member struct {
	typ     types.Type
	keys    []string // the JSON names on the way: none for an embedded struct
	hops    []model.Hop
	pointer bool // it is a pointer, whose zero value is not that of what it points to
	omitted bool // its zero value is left out
	quoted  bool // it is written as a string
}

// member finds a field by its Go name and reads how encoding/json writes it.
func (c *checker) member(s *step, p *pair, t types.Type, at string, name segment) (m member, ok bool) {
	pos, end := p.pos(name.start), p.pos(name.end)
	if method := marshals(t, true); method != "" && !types.IsInterface(t) {
		c.diags.Add(pos, end, "%s: %s has %s, so nothing is known of its fields in JSON", s.who, c.name(t), method).
			Fix("look at a field of a plain struct")
		return m, false
	}
	elem, _ := pointee(t)
	fields, isStruct := elem.Underlying().(*types.Struct)
	if !isStruct {
		c.diags.Add(pos, end, "%s: %s is %s, which has no fields", s.who, at, c.name(t)).
			Fix("compare %s itself, or look at something else", at)
		return m, false
	}
	obj, index, _ := types.LookupFieldOrMethod(elem, true, c.pkg.Types, name.name)
	field, isField := obj.(*types.Var)
	if obj == nil && index != nil {
		c.diags.Add(pos, end, "%s: %s has %s more than once, in structs that it embeds", s.who, c.name(elem), name.name).
			Fix("say which: %s", enumerate(holders(elem, at, name.name), "or"))
		return m, false
	}
	if !isField {
		b := c.diags.Add(pos, end, "%s: %s has no field %s", s.who, c.name(elem), name.name)
		var names []string
		for f := range fields.Fields() {
			if f.Exported() {
				names = append(names, f.Name())
			}
		}
		if near := nearest.Name(name.name, names); near != "" {
			b.Fix("did you mean %s?", near).Edit(pos, end, near)
		} else {
			b.Fix("look at %s", enumerate(names, "or"))
		}
		return m, false
	}
	m.typ = elem
	for depth, i := range index {
		holder, _ := pointee(m.typ)
		fields := holder.Underlying().(*types.Struct)
		f := fields.Field(i)
		tag := reflect.StructTag(fields.Tag(i)).Get("json")
		_, options, _ := strings.Cut(tag, ",")
		key, tagged := jsonName(f, tag)
		inner, pointer := pointee(f.Type())
		_, nested := inner.Underlying().(*types.Struct)
		if tag == "-" || !f.Exported() && !(f.Embedded() && nested) {
			c.diags.Add(pos, end, "%s: %s is not in the JSON of %s", s.who, name.name, c.name(holder)).
				NoteAt(field.Pos(), "%s is declared here", name.name).
				Fix("look at another field, or let it be written")
			return m, false
		}
		m.typ, m.pointer = f.Type(), pointer
		m.quoted = hasOption(options, "string")
		m.omitted = m.omitted && !pointer
		if hasOption(options, "omitzero") || hasOption(options, "omitempty") && !nested {
			m.omitted = !pointer
		}
		if pointer || depth == len(index)-1 {
			m.hops = append(m.hops, model.Hop{Name: f.Name(), Pointer: pointer})
		}
		if f.Embedded() && !tagged && nested {
			continue // its fields are written as if they were those of the outer struct
		}
		m.keys = append(m.keys, key)
	}
	return m, true
}

// holders are the paths, from what stands at a path, to the fields of a name in
// the structs that a struct embeds.
func holders(t types.Type, at, name string) (paths []string) {
	for f := range t.Underlying().(*types.Struct).Fields() {
		if obj, _, _ := types.LookupFieldOrMethod(f.Type(), true, f.Pkg(), name); f.Embedded() && obj != nil {
			paths = append(paths, at+"."+f.Name()+"."+name)
		}
	}
	return paths
}

func hasOption(options, name string) bool {
	return slices.Contains(strings.Split(options, ","), name)
}

func path(segments []segment) string {
	var names []string
	for _, s := range segments {
		names = append(names, s.name)
	}
	return strings.Join(names, ".")
}
