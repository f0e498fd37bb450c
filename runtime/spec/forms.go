package spec

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Forms describes the JSON of the input of a flow and of the outputs of its steps. Generated
// code has the forms of the Go types.
//
// A form is a basic Go type (string, bool, int64, float64), "any" for any value, "[]F" for a
// list and "[3]F" for one of that length, "map[string]F" for an object with any names
// ("map[int]F" if they have to be numbers), the name of one of Types for an object with
// those fields, or anything else for a type with its own JSON encoding. A pointer has the
// form of what it points to.
type Forms struct {
	// Input is the form of the run's input, empty if there is none.
	Input string `json:"input,omitempty"`
	// Steps holds the form of the output of each step, by slug; for a map step, that of one
	// element.
	Steps map[string]string `json:"steps,omitempty"`
	// Types holds the fields of objects: the form of each, by its name in JSON.
	Types map[string]map[string]string `json:"types,omitempty"`
}

// CompareForms lists what a program with the forms to cannot read of what one with the
// forms from has written, and which runs in flight may hold: fields that are gone, and
// those of another form. New fields are not listed, nor are renamed types with the same
// fields. Nil forms are unknown.
func CompareForms(from, to *Forms) []string {
	if from == nil || to == nil {
		return nil
	}
	c := formComparison{from: from.Types, to: to.Types, seen: map[[2]string]bool{}}
	if from.Input != "" && to.Input != "" {
		c.compare("the input", from.Input, to.Input)
	}
	for _, step := range slices.Sorted(maps.Keys(from.Steps)) {
		if after, there := to.Steps[step]; there {
			c.compare("the output of "+step, from.Steps[step], after)
		}
	}
	return c.differences
}

type formComparison struct {
	from, to    map[string]map[string]string
	seen        map[[2]string]bool
	differences []string
}

func (c *formComparison) say(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !slices.Contains(c.differences, text) {
		c.differences = append(c.differences, text)
	}
}

// compare compares the forms of the value called name.
func (c *formComparison) compare(name, from, to string) {
	if from == to && c.from[from] == nil && !strings.ContainsAny(from, "[]") || to == "any" {
		return
	}
	before, after := c.from[from], c.to[to]
	key, fromElement, fromMany := elementForm(from)
	otherKey, toElement, toMany := elementForm(to)
	switch {
	case before != nil && after != nil:
		if pair := [2]string{from, to}; !c.seen[pair] {
			c.seen[pair] = true
			c.fields(from, before, after)
		}
	case before != nil && otherKey == "map[string]":
		for _, field := range slices.Sorted(maps.Keys(before)) {
			c.compare(from+"."+field, before[field], toElement)
		}
	case fromMany && toMany && reads(key, otherKey):
		c.compare("an element of "+name, fromElement, toElement)
	case widens(from, to):
	default:
		c.say("%s was %s, and is %s", name, from, to)
	}
}

// fields compares the fields of two objects. encoding/json matches their names in any
// case if none matches exactly.
func (c *formComparison) fields(name string, before, after map[string]string) {
	short, _, _ := strings.Cut(name, "[") // the arguments of a generic type
	short = short[strings.LastIndex(short, ".")+1:]
	for _, field := range slices.Sorted(maps.Keys(before)) {
		to, there := after[field]
		for _, other := range slices.Sorted(maps.Keys(after)) {
			if !there && strings.EqualFold(other, field) {
				to, there = after[other], true
			}
		}
		if !there {
			c.say("%s loses %s, which runs in flight have", short, field)
			continue
		}
		c.compare(short+"."+field, before[field], to)
	}
}

// elementForm splits the form of a list or of an object with any names.
func elementForm(form string) (kind, element string, ok bool) {
	if form == "" || form[0] != '[' && !strings.HasPrefix(form, "map[") {
		return "", "", false
	}
	depth := 0 // a key may be a generic type
	for i, r := range form {
		switch r {
		case '[':
			depth++
		case ']':
			if depth--; depth == 0 {
				return form[:i+1], form[i+1:], true
			}
		}
	}
	return "", "", false
}

// reads reports whether a list or an object with any names can be read as another, if
// its elements can.
func reads(from, to string) bool {
	if !strings.HasPrefix(from, "map[") || !strings.HasPrefix(to, "map[") {
		return from == to || to == "[]" && from[0] == '['
	}
	key, other := from[len("map["):len(from)-1], to[len("map["):len(to)-1]
	return other == "string" || widens(key, other) && other != "float64" && other != "float32"
}

// numbers are the basic types that hold numbers, with the bits of their whole numbers.
var numbers = map[string]struct {
	signed bool
	bits   int
}{
	"int8": {true, 8}, "int16": {true, 16}, "int32": {true, 32}, "int": {true, 64}, "int64": {true, 64},
	"uint8": {false, 8}, "uint16": {false, 16}, "uint32": {false, 32}, "uint": {false, 64}, "uint64": {false, 64}, "uintptr": {false, 64},
}

// widens reports whether every value of a basic type is one of another, too.
func widens(from, to string) bool {
	a, whole := numbers[from]
	b, into := numbers[to]
	switch {
	case from == to:
		return true
	case to == "float64":
		return whole || from == "float32"
	case to == "float32":
		return whole && a.bits <= 16
	case !whole || !into:
		return false
	case a.signed == b.signed:
		return a.bits <= b.bits
	}
	return b.signed && a.bits < b.bits
}
