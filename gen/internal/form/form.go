// Package form says how Go types are written in JSON.
package form

import (
	"cmp"
	"fmt"
	"go/types"
	"reflect"
	"slices"
	"strings"

	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/runtime"
)

// Of is the forms of what travels in a flow.
func Of(flow *model.Flow) *runtime.Forms {
	w := &writer{home: flow.Declaring, names: map[string]types.Type{}, types: map[string]map[string]string{}, open: map[types.Type]bool{}}
	forms := &runtime.Forms{Steps: map[string]string{}, Types: w.types}
	if flow.In != nil {
		forms.Input = w.form(flow.In, "the input")
	}
	for _, s := range flow.Steps {
		if s.Out != nil {
			forms.Steps[s.Slug] = w.form(s.Out, "the output of "+s.Slug)
		}
	}
	return forms
}

// A writer writes forms of types, and keeps those of structs.
type writer struct {
	home  *types.Package
	names map[string]types.Type
	types map[string]map[string]string
	open  map[types.Type]bool // types that are being written and are no structs
}

// form is the form of a type; name is what it is called if it has no name.
func (w *writer) form(t types.Type, name string) string {
	t = types.Unalias(t)
	if pointer, ok := t.(*types.Pointer); ok {
		return w.form(pointer.Elem(), name)
	}
	if isRaw(t) {
		return "any"
	}
	if ownJSON(t) {
		return types.TypeString(t, w.short)
	}
	named, isNamed := t.(*types.Named)
	if s, ok := t.Underlying().(*types.Struct); ok {
		if isNamed {
			name = w.name(named)
		}
		if _, known := w.types[name]; !known {
			w.types[name] = nil // which ends recursion
			w.types[name] = w.fields(s, name)
		}
		return name
	}
	if isNamed {
		if w.open[t] {
			return "any" // a type of lists of itself
		}
		w.open[t] = true
		defer delete(w.open, t)
	}
	switch u := t.Underlying().(type) {
	case *types.Basic:
		return types.Typ[u.Kind()].Name()
	case *types.Pointer:
		return w.form(u.Elem(), name)
	case *types.Slice:
		if basic, ok := u.Elem().Underlying().(*types.Basic); ok && basic.Kind() == types.Uint8 && !ownJSON(u.Elem()) {
			return "bytes"
		}
		return "[]" + w.form(u.Elem(), name)
	case *types.Array:
		return fmt.Sprintf("[%d]%s", u.Len(), w.form(u.Elem(), name))
	case *types.Map:
		return "map[" + w.key(u.Key()) + "]" + w.form(u.Elem(), name)
	}
	return "any"
}

// key is the form of the names of an object: texts, or what they are read as.
func (w *writer) key(t types.Type) string {
	t = types.Unalias(t)
	basic, ok := t.Underlying().(*types.Basic)
	switch {
	case ok && basic.Info()&types.IsString != 0:
		return "string"
	case ok && !ownJSON(t):
		return types.Typ[basic.Kind()].Name()
	}
	return types.TypeString(t, w.short)
}

// name is what a struct is called: without its package where it is the declaring one,
// and with its whole path where another type has the same name.
func (w *writer) name(t *types.Named) string {
	name := types.TypeString(t, w.short)
	if other, taken := w.names[name]; taken && !types.Identical(other, t) {
		name = types.TypeString(t, func(p *types.Package) string { return p.Path() })
	}
	w.names[name] = t
	return name
}

func (w *writer) short(p *types.Package) string {
	if p == w.home {
		return ""
	}
	return p.Name()
}

func (w *writer) fields(s *types.Struct, name string) map[string]string {
	forms := map[string]string{}
	for _, f := range Fields(s) {
		form := w.form(f.Var.Type(), name+"."+f.Name)
		if f.Quoted {
			form = "quoted " + form
		}
		forms[f.Name] = form
	}
	return forms
}

// A Field is a field of a struct as encoding/json sees it.
type Field struct {
	Name   string // in JSON
	Var    *types.Var
	Quoted bool // as text, by the option string
	tagged bool
	depth  int
}

// Fields are the fields of a struct that encoding/json writes, those of embedded structs
// among them: of those of one name the least deep, of these the only one with a tag, and
// else none.
func Fields(s *types.Struct) []Field {
	var all []Field
	collect(s, 0, map[*types.Struct]bool{}, &all)
	byName := map[string][]Field{}
	var names []string
	for _, f := range all {
		if byName[f.Name] == nil {
			names = append(names, f.Name)
		}
		byName[f.Name] = append(byName[f.Name], f)
	}
	var fields []Field
	for _, name := range names {
		same := byName[name]
		slices.SortStableFunc(same, func(a, b Field) int {
			return cmp.Or(cmp.Compare(a.depth, b.depth), cmp.Compare(rank(a), rank(b)))
		})
		if len(same) == 1 || same[0].depth != same[1].depth || same[0].tagged != same[1].tagged {
			fields = append(fields, same[0])
		}
	}
	return fields
}

func rank(f Field) int {
	if f.tagged {
		return 0
	}
	return 1
}

func collect(s *types.Struct, depth int, seen map[*types.Struct]bool, all *[]Field) {
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
			inner, isStruct := Embedded(v.Type())
			if name == "" && isStruct {
				collect(inner, depth+1, seen, all)
				continue
			}
			if !v.Exported() && !isStruct {
				continue
			}
		} else if !v.Exported() {
			continue
		}
		f := Field{Name: name, Var: v, tagged: name != "", depth: depth}
		if name == "" {
			f.Name = v.Name()
		}
		if basic, ok := deref(v.Type()).Underlying().(*types.Basic); ok && slices.Contains(options, "string") {
			f.Quoted = basic.Info()&(types.IsNumeric|types.IsBoolean|types.IsString) != 0
		}
		*all = append(*all, f)
	}
}

// Tag reads the tag json of a field.
func Tag(tag string) (name string, options []string, skip bool) {
	json := reflect.StructTag(tag).Get("json")
	if json == "-" {
		return "", nil, true
	}
	parts := strings.Split(json, ",")
	if strings.ContainsAny(parts[0], "\\'\"`") {
		parts[0] = "" // which encoding/json takes for no name
	}
	return parts[0], parts[1:], false
}

// Embedded is the struct whose fields an embedded type brings in.
func Embedded(t types.Type) (*types.Struct, bool) {
	s, ok := deref(t).Underlying().(*types.Struct)
	return s, ok
}

func deref(t types.Type) types.Type {
	if p, ok := types.Unalias(t).(*types.Pointer); ok {
		return p.Elem()
	}
	return t
}

// isRaw reports whether a type is that of JSON as it is.
func isRaw(t types.Type) bool {
	named, ok := t.(*types.Named)
	return ok && named.Obj().Pkg() != nil && named.Obj().Pkg().Path() == "encoding/json" && named.Obj().Name() == "RawMessage"
}

// ownJSON reports whether a type writes or reads its JSON itself.
func ownJSON(t types.Type) bool {
	if types.IsInterface(t) {
		return false
	}
	for _, method := range []string{"MarshalJSON", "UnmarshalJSON", "MarshalText", "UnmarshalText"} {
		obj, _, _ := types.LookupFieldOrMethod(types.NewPointer(t), false, nil, method)
		if f, ok := obj.(*types.Func); ok && f.Exported() {
			return true
		}
	}
	return false
}

// Result is what the declared output of a flow is made of.
func Result(flow *model.Flow) *runtime.Result {
	from := func(key string) string {
		if flow.Job && key != model.RunKey {
			return flow.Slug
		}
		return key
	}
	switch source := flow.Result; source.Kind {
	case model.Input:
		return &runtime.Result{From: runtime.RunKey}
	case model.Output:
		return &runtime.Result{From: from(source.Key)}
	case model.Join:
		s, ok := deref(source.Type).Underlying().(*types.Struct)
		if !ok {
			return nil
		}
		result := &runtime.Result{}
		for _, field := range source.Fields {
			for i := range s.NumFields() {
				v := s.Field(i)
				name, _, skip := Tag(s.Tag(i))
				if v.Name() != field.Name || skip {
					continue
				}
				if _, isStruct := Embedded(v.Type()); name == "" && !(v.Embedded() && isStruct && !ownJSON(deref(v.Type()))) {
					name = v.Name()
				}
				result.Fields = append(result.Fields, runtime.ResultField{Name: name, From: from(field.Key)})
			}
		}
		return result
	}
	return &runtime.Result{}
}
