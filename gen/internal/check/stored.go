package check

import (
	"go/ast"
	"go/token"
	"go/types"
	"reflect"
	"strings"
)

// checkStored checks that a value can be written as JSON and read back, since
// that is how the database keeps it, and that the generated package can name
// its type.
func (c *checker) checkStored(who string, t types.Type, expr ast.Expr) {
	if !c.checkNameable(who, t, expr) {
		return
	}
	w := &jsonWalk{c: c, seen: map[string]bool{}}
	w.walk(t, c.name(t), false)
	for _, f := range w.faults {
		pos, end := where(expr)
		b := c.diags.Add(pos, end, "%s cannot be stored as JSON: %s", who, f.why)
		if f.path != c.name(t) {
			b.NoteAt(f.pos, "%s is %s", f.path, f.typ)
		} else if f.fix == dropField {
			f.fix = "use a type that has one"
		}
		b.Fix("%s", f.fix)
	}
}

// A jsonFault is a part of a type that JSON cannot hold.
type jsonFault struct {
	pos       token.Pos
	path, typ string
	why, fix  string
}

// A jsonWalk looks at a type the way encoding/json does.
type jsonWalk struct {
	c      *checker
	seen   map[string]bool
	pos    token.Pos // of the field being looked at
	faults []jsonFault
}

func (w *jsonWalk) fault(t types.Type, path, why, fix string) {
	w.faults = append(w.faults, jsonFault{pos: w.pos, path: path, typ: w.c.name(t), why: why, fix: fix})
}

const dropField = `drop the field, tag it json:"-", or give its type MarshalJSON and UnmarshalJSON`

// walk looks at a type that stands at path. addressable says whether the
// encoder can take its address, which decides about methods of the pointer.
func (w *jsonWalk) walk(t types.Type, path string, addressable bool) {
	if _, named := types.Unalias(t).(*types.Named); named {
		key := types.TypeString(t, nil)
		if addressable {
			key += " addressable"
		}
		if w.seen[key] {
			return
		}
		w.seen[key] = true
	}
	if w.methods(t, path, addressable) {
		return
	}
	switch u := t.Underlying().(type) {
	case *types.Basic:
		if u.Info()&(types.IsBoolean|types.IsInteger|types.IsFloat|types.IsString) == 0 && u.Kind() != types.Invalid {
			w.fault(t, path, "a "+u.Name()+" has no JSON form", dropField)
		}
	case *types.Pointer:
		w.walk(u.Elem(), path, true)
	case *types.Slice:
		w.walk(u.Elem(), path+"[]", true)
	case *types.Array:
		w.walk(u.Elem(), path+"[]", addressable)
	case *types.Map:
		w.key(t, u.Key(), path)
		w.walk(u.Elem(), path+"[…]", false)
	case *types.Struct:
		w.fields(t, u, path, addressable)
	case *types.Interface:
		if !u.Empty() {
			w.fault(t, path, "nothing says which type to read an interface with methods back into",
				"use a struct, any, or a type with MarshalJSON and UnmarshalJSON")
		}
	case *types.Chan:
		w.fault(t, path, "a channel has no JSON form", dropField)
	case *types.Signature:
		w.fault(t, path, "a function has no JSON form", dropField)
	}
}

// methods looks at a type that has a JSON form of its own.
func (w *jsonWalk) methods(t types.Type, path string, addressable bool) bool {
	if types.IsInterface(t) {
		return false
	}
	own := marshals(t, addressable)
	if own == "" {
		if hidden := marshals(t, true); hidden != "" && has(address(t), reads[hidden]) {
			w.fault(t, path, hidden+" is a method of *"+w.c.name(t)+", so it is not used where the value itself stands",
				"use *"+w.c.name(t))
			return true
		}
		return false
	}
	if !has(address(t), reads[own]) {
		w.fault(t, path, w.c.name(t)+" has "+own+" but no "+reads[own]+", so it cannot be read back", "give it "+reads[own])
	}
	return true
}

// reads is the method that reads what another has written.
var reads = map[string]string{"MarshalJSON": "UnmarshalJSON", "MarshalText": "UnmarshalText"}

// marshals is the method by which a type writes its own JSON, or "".
func marshals(t types.Type, addressable bool) string {
	if addressable {
		t = address(t)
	}
	for _, method := range []string{"MarshalJSON", "MarshalText"} {
		if has(t, method) {
			return method
		}
	}
	return ""
}

// address is the type of a pointer to a T, or T if that is a pointer.
func address(t types.Type) types.Type {
	if _, pointer := t.Underlying().(*types.Pointer); pointer {
		return t
	}
	return types.NewPointer(t)
}

// has reports whether a type has one of the four methods of encoding.
func has(t types.Type, method string) bool {
	obj, index, _ := types.LookupFieldOrMethod(t, false, nil, method)
	f, ok := obj.(*types.Func)
	if !ok || index == nil {
		return false
	}
	sig := f.Signature()
	if strings.HasPrefix(method, "Unmarshal") {
		return sig.Params().Len() == 1 && isBytes(sig.Params().At(0).Type()) && sig.Results().Len() == 1
	}
	return sig.Params().Len() == 0 && sig.Results().Len() == 2 && isBytes(sig.Results().At(0).Type())
}

func (w *jsonWalk) key(t, key types.Type, path string) {
	if basic, ok := key.Underlying().(*types.Basic); ok && basic.Info()&(types.IsString|types.IsInteger) != 0 {
		return
	}
	if has(key, "MarshalText") && has(types.NewPointer(key), "UnmarshalText") {
		return
	}
	w.fault(t, path, "a map with the key "+w.c.name(key)+" has no JSON form", "use a key of a string or integer type")
}

// fields looks at the fields that encoding/json writes.
func (w *jsonWalk) fields(t types.Type, u *types.Struct, path string, addressable bool) {
	visible := 0
	for i := range u.NumFields() {
		f := u.Field(i)
		if reflect.StructTag(u.Tag(i)).Get("json") == "-" {
			visible++ // left out on purpose
			continue
		}
		if !f.Exported() {
			elem, pointer := pointee(f.Type())
			if _, isStruct := elem.Underlying().(*types.Struct); !f.Embedded() || !isStruct {
				continue
			}
			if pointer {
				before := w.pos
				w.pos = f.Pos()
				w.fault(f.Type(), path+"."+f.Name(), "an embedded pointer to an unexported struct cannot be read back",
					"embed the struct itself, or export it")
				w.pos = before
				continue
			}
		}
		visible++
		before := w.pos
		w.pos = f.Pos()
		w.walk(f.Type(), path+"."+f.Name(), addressable)
		w.pos = before
	}
	if visible == 0 && u.NumFields() > 0 {
		w.fault(t, path, w.c.name(t)+" has only fields that are not exported, so it would be stored empty",
			"export its fields, or give it MarshalJSON and UnmarshalJSON")
	}
}

// pointee is what a pointer points to, or the type itself.
func pointee(t types.Type) (elem types.Type, pointer bool) {
	if p, ok := t.Underlying().(*types.Pointer); ok {
		return p.Elem(), true
	}
	return t, false
}
