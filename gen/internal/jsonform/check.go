package jsonform

import (
	"fmt"
	"go/token"
	"go/types"
	"reflect"
	"strings"

	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/model"
)

// A Checker finds what keeps types from being written as JSON and read back, since
// that is how the database keeps values.
type Checker struct {
	// Home is the package whose types need no qualifier in messages. Types of Module,
	// the path of its module, can be changed, others cannot.
	Home   *types.Package
	Module string
}

// A Fault is a part of a type that JSON cannot hold.
type Fault struct {
	Why, Fix string
	// Path is where the part is, Type what it is, and Pos the field that it stands in,
	// if that can be changed. Path is empty if it is the type itself.
	Pos        token.Pos
	Path, Type string
	// Key is the same for the same fault where its type is used once more, and empty
	// if it is to be reported each time.
	Key string
}

// Check returns the parts of a type that JSON cannot hold.
func (c Checker) Check(t types.Type) []Fault {
	w := &walk{Checker: c, seen: map[string]bool{}}
	root := c.name(t)
	w.walk(t, root, false)
	for i := range w.faults {
		switch f := &w.faults[i]; {
		case f.Path != root:
			if strings.Contains(root, "struct{") {
				f.Path = strings.TrimPrefix(f.Path, root+".")
			}
		default:
			f.Path = ""
			if strings.HasPrefix(f.Fix, dropField) {
				f.Fix = "use a type that has one"
			}
		}
	}
	return w.faults
}

// name returns a type as messages write it.
func (c Checker) name(t types.Type) string { return model.TypeName(c.Home, t) }

// A walk looks at a type the way encoding/json does.
type walk struct {
	Checker
	seen   map[string]bool
	pos    token.Pos // of the field being looked at
	faults []Fault
}

func (w *walk) fault(t types.Type, path, why, fix string) {
	f := Fault{Pos: w.pos, Path: path, Type: w.name(t), Why: why, Fix: fix}
	if named, ok := types.Unalias(t).(*types.Named); w.pos.IsValid() || ok && w.own(named.Obj().Pkg()) {
		f.Key = fmt.Sprint(w.pos, " ", why)
	}
	w.faults = append(w.faults, f)
}

const dropField = `drop the field, or tag it json:"-"`

// drop says what to do about a field whose type has no JSON form.
func (w *walk) drop(t types.Type) string {
	if named, ok := types.Unalias(t).(*types.Named); ok && w.own(named.Obj().Pkg()) {
		return dropField + ", or give " + w.name(t) + " MarshalJSON and UnmarshalJSON"
	}
	return dropField
}

// walk looks at a type that stands at path. addressable says whether the
// encoder can take its address, which decides about methods of the pointer.
func (w *walk) walk(t types.Type, path string, addressable bool) {
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
			w.fault(t, path, "a "+u.Name()+" has no JSON form", w.drop(t))
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
			fix := "use a struct, any, or a type with MarshalJSON and UnmarshalJSON"
			switch t.String() {
			case "error":
				fix = "use a string, with what its Error says; a handler that fails returns its error instead"
			case "context.Context":
				fix = "drop it: a handler is given a context of its own"
			}
			w.fault(t, path, "nothing says which type to read an interface with methods back into", fix)
		}
	case *types.Chan:
		w.fault(t, path, "a channel has no JSON form", w.drop(t))
	case *types.Signature:
		w.fault(t, path, "a function has no JSON form", w.drop(t))
	}
}

// methods looks at a type that has a JSON form of its own.
func (w *walk) methods(t types.Type, path string, addressable bool) bool {
	if types.IsInterface(t) {
		return false
	}
	name := w.name(t)
	own, reader := Marshaler(t, addressable), unmarshaler(t)
	if w.borrows(t, path, own) || w.borrows(t, path, reader) {
		return true
	}
	if why, fix := w.unread(t, reader); why != "" {
		w.fault(t, path, why, fix)
		return true
	}
	switch hidden := Marshaler(t, true); {
	case own != "" && reader == "", own == "MarshalJSON" && reader == "UnmarshalText":
		w.fault(t, path, name+" has "+own+" but no "+reads[own]+", so it cannot be read back", w.give(t, reads[own]))
	case own != "":
	case hidden != "" && has(address(t), reads[hidden]):
		w.fault(t, path, hidden+" is a method of *"+name+", so it is not used where the value itself stands", "use *"+name)
	case reader == "UnmarshalText" && !isText(t):
		w.fault(t, path, name+" has UnmarshalText but no MarshalText, and UnmarshalText reads nothing but texts, so it cannot be read back",
			w.give(t, "MarshalText"))
	default:
		return false
	}
	return true
}

// unread says why a method for reading cannot keep what it is given.
func (w *walk) unread(t types.Type, method string) (why, fix string) {
	obj, index, _ := types.LookupFieldOrMethod(address(t), false, nil, method)
	f, ok := obj.(*types.Func)
	if !ok {
		return "", ""
	}
	name, in := w.name(t), t.Underlying()
	for _, i := range index[:len(index)-1] {
		if p, pointer := in.(*types.Pointer); pointer { // t itself, which is made before it is read
			in = p.Elem().Underlying()
		}
		embedded := in.(*types.Struct).Field(i)
		elem, pointer := Pointee(embedded.Type())
		if pointer || types.IsInterface(elem) {
			fix = "embed a type that is no interface"
			if pointer {
				fix = "embed " + w.name(elem) + " itself, or give the pointer a name"
			}
			return fmt.Sprintf("%s gets %s from the %s that it embeds, which is nil when it is read", name, method, w.name(embedded.Type())), fix
		}
		in = elem.Underlying()
	}
	recv := f.Signature().Recv().Type()
	if _, pointer := recv.Underlying().(*types.Pointer); pointer || types.IsInterface(recv) || !keeps(recv) {
		return "", ""
	}
	fix = "use a type of your own that has it with a pointer as its receiver"
	if named, ok := recv.(*types.Named); ok && w.own(named.Obj().Pkg()) {
		fix = "let *" + named.Obj().Name() + " be its receiver"
	}
	return method + " of " + name + " is not a method of *" + w.name(recv) + ", so it reads into a copy, and the value is lost", fix
}

// borrows reports whether a struct gets a method from a type that it embeds, so
// that the method knows nothing of its other fields, and says so.
func (w *walk) borrows(t types.Type, path, method string) bool {
	fields, isStruct := t.Underlying().(*types.Struct)
	if method == "" || !isStruct {
		return false
	}
	_, index, _ := types.LookupFieldOrMethod(address(t), false, nil, method)
	if len(index) < 2 {
		return false
	}
	var lost []string
	for i := range fields.NumFields() {
		if f := fields.Field(i); i != index[0] && (f.Exported() || f.Embedded()) && reflect.StructTag(fields.Tag(i)).Get("json") != "-" {
			lost = append(lost, f.Name())
		}
	}
	if lost == nil {
		return false
	}
	embedded, verb := fields.Field(index[0]), "writes"
	if strings.HasPrefix(method, "Unmarshal") {
		verb = "reads"
	}
	fix := "give the " + w.name(embedded.Type()) + " a name"
	if named, ok := types.Unalias(t).(*types.Named); ok && w.own(named.Obj().Pkg()) {
		fix += ", or give " + w.name(t) + " MarshalJSON and UnmarshalJSON of its own"
	}
	w.fault(t, path, fmt.Sprintf("%s gets %s from the %s that it embeds, which %s nothing else, so %s %s lost",
		w.name(t), method, w.name(embedded.Type()), verb, diag.Enumerate(lost, "and"), diag.Plural(len(lost), "is", "are")), fix)
	return true
}

// give says how a type can get a method.
func (c Checker) give(t types.Type, method string) string {
	if named, ok := types.Unalias(t).(*types.Named); ok && c.own(named.Obj().Pkg()) {
		return "give it " + method
	}
	return "use a type of your own that has it"
}

// own reports whether a package is of the module of the declarations, so that its
// types can be changed.
func (c Checker) own(p *types.Package) bool {
	return p == c.Home || p != nil && c.Module != "" && strings.HasPrefix(p.Path()+"/", c.Module+"/")
}

// key looks at the key of a map. The encoder prefers the kind of a string to its
// methods, the decoder does not.
func (w *walk) key(t, key types.Type, path string) {
	name := w.name(key)
	basic, ok := key.Underlying().(*types.Basic)
	plain := ok && basic.Info()&(types.IsString|types.IsInteger) != 0
	writes, reader := has(key, "MarshalText"), has(types.NewPointer(key), "UnmarshalText")
	switch {
	case plain && isText(key):
		if writes && reader {
			w.fault(t, path, "JSON writes a "+name+" as a key without its MarshalText, since it is a string, and reads it with its UnmarshalText",
				"use string as the key")
		}
	case writes && reader, plain && !writes && !reader:
	case plain && writes:
		w.fault(t, path, "JSON writes a "+name+" as a key with its MarshalText, and reads it as a number", w.give(key, "UnmarshalText"))
	case plain && has(types.NewPointer(key), "MarshalText"):
		w.fault(t, path, "MarshalText is a method of *"+name+", so it is not used for a key", "let "+name+" itself have MarshalText")
	case plain:
		w.fault(t, path, "JSON writes a "+name+" as a key as a number, and reads it with its UnmarshalText", w.give(key, "MarshalText"))
	default:
		fix := "use a key of a string or integer type"
		named, isNamed := types.Unalias(key).(*types.Named)
		switch {
		case !isNamed || !w.own(named.Obj().Pkg()) || types.IsInterface(key):
		case reader && has(types.NewPointer(key), "MarshalText"):
			fix = "let " + name + " itself have MarshalText, not *" + name
		default:
			fix += ", or give " + name + " MarshalText and UnmarshalText"
		}
		w.fault(t, path, "a map with the key "+name+" has no JSON form", fix)
	}
}

// fields looks at the fields that encoding/json writes.
func (w *walk) fields(t types.Type, u *types.Struct, path string, addressable bool) {
	defer func(pos token.Pos) { w.pos = pos }(w.pos)
	members, lost := w.members(t, u, path, addressable)
	if len(members) == 0 && len(lost) > 0 {
		fix := "use a type of your own, with what is to be kept of it"
		switch {
		case strings.HasPrefix(w.name(t), "sync."):
			fix = dropField
		case w.isOwn(t):
			fix = "export its fields, or give it MarshalJSON and UnmarshalJSON"
		}
		w.fault(t, path, w.name(t)+" has only fields that are not exported, so it would be stored empty", fix)
		return
	}
	for _, f := range lost {
		if w.isOwn(t) && !has(address(t), "ProtoReflect") {
			w.at(t, f)
			w.fault(f.Type(), path+"."+f.Name(), f.Name()+" is not exported, so it would be lost",
				`export it, tag it json:"-" if it need not be kept, or give `+w.name(t)+" MarshalJSON and UnmarshalJSON")
		}
	}
	w.sameNames(t, path, members)
	for _, m := range members {
		if m.name != "" {
			w.at(t, m.field)
			w.walk(m.field.Type(), m.path, addressable)
		}
	}
}

// at makes a field the place of faults, if the user can change it.
func (w *walk) at(t types.Type, f *types.Var) {
	if w.isOwn(t) {
		w.pos = f.Pos()
	}
}

// isOwn reports whether a type is written out or declared in the user's module.
func (w *walk) isOwn(t types.Type) bool {
	named, ok := types.Unalias(t).(*types.Named)
	return !ok || w.own(named.Obj().Pkg())
}
