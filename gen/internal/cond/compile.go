package cond

import (
	"encoding/json"
	"go/types"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/jsonform"
	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/gen/internal/tags"
	"github.com/flowc-dev/flowc/gen/nearest"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A Scope is what the conditions of a step are about, and where mistakes are reported.
type Scope struct {
	Diags *diag.List
	Home  *types.Package // whose types need no qualifier in messages
	Who   string         // the step in messages: ProcessOrder.Charge
	// Subject returns what a condition sees under the name at the start of a path. If
	// it is not ok, the mistake is reported, here or before.
	Subject func(name tags.Word) (subject Subject, ok bool)
}

// A Subject is a value that a condition looks into.
type Subject struct {
	Name string     // Input, or the name of a step
	Key  string     // the slug of the step, or spec.RunKey
	Type types.Type // what the step gives
	// Absent is set if the step may be skipped and then gives nothing.
	Absent bool
}

// A compiler compiles one condition or path.
type compiler struct {
	Scope
	pair *tags.Pair
}

// Compile compiles a condition to the JSON object that the database looks for in the
// subject of a step: the run's input for a root, otherwise the outputs of the steps it
// waits for. It returns nil if a mistake is reported.
func Compile(scope Scope, p *tags.Pair) *model.Condition {
	c := &compiler{scope, p}
	terms, fault := parse(p.Value)
	if fault != nil {
		b := c.Diags.Add(diag.BadCondition, p.Pos(fault.start), p.Pos(fault.end), "%s: %s", c.Who, fault.message).Fix("%s", fault.fix)
		if fault.replacement != "" {
			b.Edit(p.Pos(fault.start), p.Pos(fault.end), fault.replacement)
		}
		return nil
	}
	root := object{}
	compiled := &model.Condition{Text: printable(p.Value)}
	for _, t := range terms {
		keys, value, term, ok := c.term(t)
		if !ok {
			return nil
		}
		compiled.Terms = append(compiled.Terms, term)
		if !root.set(keys, value) {
			first, last := t.path[0], t.path[len(t.path)-1]
			c.Diags.Add(diag.ConditionTwice, p.Pos(first.start), p.Pos(last.end), "%s: the condition compares %s twice", c.Who, path(t.path)).
				Fix("compare it once; a step with two conditions is two steps")
			return nil
		}
	}
	compiled.Pattern = string(root.json())
	return compiled
}

// printable returns a text as it can stand in a comment.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

// term finds the JSON names along the path of a term, the JSON of its literal,
// and the same in Go.
func (c *compiler) term(t term) (keys []string, value json.RawMessage, compiled model.Term, ok bool) {
	first := t.path[0]
	from, ok := c.Subject(tags.Word{Text: first.name, Pos: c.pair.Pos(first.start), End: c.pair.Pos(first.end)})
	if !ok {
		return nil, nil, compiled, false
	}
	compiled = model.Term{Key: from.Key, Start: from.Name}
	compiled.Type, _ = jsonform.Pointee(from.Type)
	if from.Key != spec.RunKey {
		keys = append(keys, from.Key)
	} else if len(t.path) == 1 {
		c.Diags.Add(diag.ConditionSubject, c.pair.Pos(first.start), c.pair.Pos(first.end), "%s: a condition looks at a field of Input", c.Who).
			Fix("name one, as in Input.Field")
		return nil, nil, compiled, false
	}
	leaf, names, hops, ok := c.walk(from, t.path[1:])
	if !ok {
		return nil, nil, compiled, false
	}
	keys, compiled.Path = append(keys, names...), hops
	value, compiled.Value, ok = c.literal(t, leaf)
	return keys, value, compiled, ok
}

// walk follows a path from a subject to what it leads to.
func (c *compiler) walk(from Subject, path []segment) (leaf member, keys []string, hops []model.Hop, ok bool) {
	leaf = member{typ: from.Type}
	at := from.Name
	for _, name := range path {
		found, ok := c.member(leaf.typ, at, name)
		if !ok {
			return leaf, nil, nil, false
		}
		keys, hops = append(keys, found.keys...), append(hops, found.hops...)
		found.omitted = found.omitted || leaf.omitted && !found.pointer
		leaf = found
		at = name.name
	}
	return leaf, keys, hops, true
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
func (c *compiler) member(t types.Type, at string, name segment) (m member, ok bool) {
	pos, end := c.pair.Pos(name.start), c.pair.Pos(name.end)
	if method := jsonform.Marshaler(t, true); method != "" && !types.IsInterface(t) {
		c.Diags.Add(diag.ConditionNotJSON, pos, end, "%s: %s has %s, so nothing is known of its fields in JSON", c.Who, c.name(t), method).
			Fix("look at a field of a plain struct")
		return m, false
	}
	elem, _ := jsonform.Pointee(t)
	fields, isStruct := elem.Underlying().(*types.Struct)
	if !isStruct {
		b := c.Diags.Add(diag.UnknownField, pos, end, "%s: %s is %s, which has no fields", c.Who, at, c.name(t))
		if isCondition(c.pair) {
			b.Fix("compare %s itself, or look at something else", at)
		} else if c.pair.Key == "unique" {
			b.Fix("let the flow take what is meant as a field of its input, and look at that")
		} else {
			b.Fix("let a step before give what is meant as a field of its own, and look at that")
		}
		return m, false
	}
	obj, index, _ := types.LookupFieldOrMethod(elem, true, c.Home, name.name)
	field, isField := obj.(*types.Var)
	if obj == nil && index != nil {
		c.Diags.Add(diag.AmbiguousField, pos, end, "%s: %s has %s more than once, in structs that it embeds", c.Who, c.name(elem), name.name).
			Fix("say which: %s", diag.Enumerate(holders(elem, at, name.name), "or"))
		return m, false
	}
	if !isField {
		b := c.Diags.Add(diag.UnknownField, pos, end, "%s: %s has no field %s", c.Who, c.name(elem), name.name)
		var names []string
		for f := range fields.Fields() {
			if f.Exported() {
				names = append(names, f.Name())
			}
		}
		if near := nearest.Name(name.name, names); near != "" {
			b.Fix("did you mean %s?", near).Edit(pos, end, near)
		} else {
			b.Fix("look at %s", diag.Enumerate(names, "or"))
		}
		return m, false
	}
	m.typ = elem
	for depth, i := range index {
		holder, _ := jsonform.Pointee(m.typ)
		fields := holder.Underlying().(*types.Struct)
		f := fields.Field(i)
		tag := reflect.StructTag(fields.Tag(i)).Get("json")
		_, options, _ := strings.Cut(tag, ",")
		key, tagged := jsonform.Name(f, tag)
		inner, pointer := jsonform.Pointee(f.Type())
		_, nested := inner.Underlying().(*types.Struct)
		if tag == "-" || !f.Exported() && !(f.Embedded() && nested) {
			c.Diags.Add(diag.ConditionNotJSON, pos, end, "%s: %s is not in the JSON of %s", c.Who, name.name, c.name(holder)).
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

// holders returns the paths, from what stands at a path, to the fields of a name in
// the structs that a struct embeds.
func holders(t types.Type, at, name string) (paths []string) {
	for f := range t.Underlying().(*types.Struct).Fields() {
		if obj, _, _ := types.LookupFieldOrMethod(f.Type(), true, f.Pkg(), name); f.Embedded() && obj != nil {
			paths = append(paths, at+"."+f.Name()+"."+name)
		}
	}
	return paths
}

// isCondition reports whether a tag is a condition, and not a path.
func isCondition(p *tags.Pair) bool { return p.Key == "if" || p.Key == "if_not" }

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

func (c *compiler) name(t types.Type) string { return model.TypeName(c.Home, t) }
