// Package jsonform knows how encoding/json writes Go types: what a field is called, what
// cannot be read back ([Checker]), and the form of a type in short ([Forms]), by which a
// later generator sees what has changed.
package jsonform

import (
	"cmp"
	"go/types"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// A field is a field of a struct as encoding/json sees it.
type field struct {
	Name   string // in JSON
	Var    *types.Var
	Quoted bool // as text, by the option string
	tagged bool
	depth  int
	// required is set for one that is always there and never null: no pointer, list, map
	// or interface, and not left out if it is empty.
	required bool
}

// fieldsOf returns the fields of a struct that encoding/json writes, those of embedded structs
// among them: of those of one name the least deep, of these the only one with a tag, and
// else none.
func fieldsOf(s *types.Struct) []field {
	var all []field
	collect(s, 0, map[*types.Struct]bool{}, &all)
	byName := map[string][]field{}
	var names []string
	for _, f := range all {
		if byName[f.Name] == nil {
			names = append(names, f.Name)
		}
		byName[f.Name] = append(byName[f.Name], f)
	}
	var fields []field
	for _, name := range names {
		same := byName[name]
		slices.SortStableFunc(same, func(a, b field) int {
			return cmp.Or(cmp.Compare(a.depth, b.depth), cmp.Compare(rank(a), rank(b)))
		})
		if len(same) == 1 || same[0].depth != same[1].depth || same[0].tagged != same[1].tagged {
			fields = append(fields, same[0])
		}
	}
	return fields
}

func rank(f field) int {
	if f.tagged {
		return 0
	}
	return 1
}

func collect(s *types.Struct, depth int, seen map[*types.Struct]bool, all *[]field) {
	if seen[s] {
		return
	}
	seen[s] = true
	defer delete(seen, s)
	for i := range s.NumFields() {
		v := s.Field(i)
		name, options, skip := Tag(s.Tag(i))
		if skip {
			continue
		}
		if v.Embedded() {
			inner, isStruct := embedded(v.Type())
			if name == "" && isStruct {
				first := len(*all)
				collect(inner, depth+1, seen, all)
				if _, pointer := Pointee(v.Type()); pointer {
					for i := range (*all)[first:] {
						(*all)[first+i].required = false
					}
				}
				continue
			}
			if !v.Exported() && !isStruct {
				continue
			}
		} else if !v.Exported() {
			continue
		}
		f := field{Name: name, Var: v, tagged: name != "", depth: depth, required: alwaysSet(v.Type(), options)}
		if name == "" {
			f.Name = v.Name()
		}
		if basic, ok := deref(v.Type()).Underlying().(*types.Basic); ok && slices.Contains(options, "string") {
			f.Quoted = basic.Info()&(types.IsNumeric|types.IsBoolean|types.IsString) != 0
		}
		*all = append(*all, f)
	}
}

// alwaysSet reports whether a field of a type has a value in JSON, whatever it holds.
func alwaysSet(t types.Type, options []string) bool {
	switch t.Underlying().(type) {
	case *types.Pointer, *types.Slice, *types.Map, *types.Interface:
		return false
	}
	return !slices.Contains(options, "omitempty") && !slices.Contains(options, "omitzero")
}

// Tag reads the tag json of a field.
func Tag(tag string) (name string, options []string, skip bool) {
	json := reflect.StructTag(tag).Get("json")
	if json == "-" {
		return "", nil, true
	}
	parts := strings.Split(json, ",")
	if strings.ContainsFunc(parts[0], notInName) {
		parts[0] = "" // which encoding/json takes for no name
	}
	return parts[0], parts[1:], false
}

// notInName reports whether encoding/json takes a name with a character for none.
func notInName(r rune) bool {
	return !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r)
}

// Name returns what a field is called in JSON, and whether its tag json says so.
func Name(f *types.Var, tag string) (name string, tagged bool) {
	name, _, _ = strings.Cut(tag, ",")
	if name == "" || strings.ContainsFunc(name, notInName) {
		return f.Name(), false
	}
	return name, true
}

// embedded returns the struct whose fields an embedded type brings in.
func embedded(t types.Type) (*types.Struct, bool) {
	s, ok := deref(t).Underlying().(*types.Struct)
	return s, ok
}

func deref(t types.Type) types.Type {
	if p, ok := types.Unalias(t).(*types.Pointer); ok {
		return p.Elem()
	}
	return t
}

// Merged reports whether JSON has the fields of an embedded struct as if they were those
// of the struct around it, unless its tag gives it a name.
func Merged(f *types.Var) bool {
	_, isStruct := embedded(f.Type())
	return f.Embedded() && isStruct && !ownJSON(deref(f.Type()))
}
