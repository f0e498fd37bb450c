package jsonform

import (
	"fmt"
	"go/types"

	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// Forms returns how what travels in a flow is written in JSON.
func Forms(flow *model.Flow) *spec.Forms {
	w := &writer{home: flow.Declaring, names: map[string]types.Type{}, types: map[string]map[string]string{}, open: map[types.Type]bool{}}
	forms := &spec.Forms{Steps: map[string]string{}, Types: w.types}
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

// form returns the form of a type; name is what it is called if it has no name.
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
		if IsBytes(u) && !ownJSON(u.Elem()) {
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

// key returns the form of the names of an object: texts, or what they are read as.
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

// name returns what a struct is called: without its package where it is the declaring one,
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
	for _, f := range fieldsOf(s) {
		form := w.form(f.Var.Type(), name+"."+f.Name)
		if f.Quoted {
			form = "quoted " + form
		}
		forms[f.Name] = form
	}
	return forms
}

// isRaw reports whether a type is that of JSON as it is.
func isRaw(t types.Type) bool {
	named, ok := t.(*types.Named)
	return ok && named.Obj().Pkg() != nil && named.Obj().Pkg().Path() == "encoding/json" && named.Obj().Name() == "RawMessage"
}

// ownJSON reports whether a type writes or reads its JSON itself.
func ownJSON(t types.Type) bool {
	return !types.IsInterface(t) && (Marshaler(t, true) != "" || unmarshaler(t) != "")
}
