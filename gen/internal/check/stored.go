package check

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"reflect"
	"strings"
	"unicode"
)

// checkStored checks that a value can be written as JSON and read back, since
// that is how the database keeps it, and that the generated package can name
// its type.
func (c *checker) checkStored(who string, t types.Type, expr ast.Expr) {
	if !c.checkNameable(who, t, expr) {
		return
	}
	w := &jsonWalk{c: c, seen: map[string]bool{}}
	root := c.name(t)
	w.walk(t, root, false)
	for _, f := range w.faults {
		if f.told != "" && c.storedSeen[f.told] { // where it is used first
			continue
		}
		c.storedSeen[f.told] = true
		pos, end := where(expr)
		b := c.diags.Add(pos, end, "%s cannot be stored as JSON: %s", who, f.why)
		if f.path != root {
			if strings.Contains(root, "struct{") {
				f.path = strings.TrimPrefix(f.path, root+".")
			}
			b.NoteAt(f.pos, "%s is %s", f.path, f.typ)
		} else if strings.HasPrefix(f.fix, dropField) {
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
	told      string // by which it is known again where its type is used once more
}

// A jsonWalk looks at a type the way encoding/json does.
type jsonWalk struct {
	c      *checker
	seen   map[string]bool
	pos    token.Pos // of the field being looked at
	faults []jsonFault
}

func (w *jsonWalk) fault(t types.Type, path, why, fix string) {
	f := jsonFault{pos: w.pos, path: path, typ: w.c.name(t), why: why, fix: fix}
	if named, ok := types.Unalias(t).(*types.Named); w.pos.IsValid() || ok && w.c.own(named.Obj().Pkg()) {
		f.told = fmt.Sprint(w.pos, " ", why)
	}
	w.faults = append(w.faults, f)
}

const dropField = `drop the field, or tag it json:"-"`

// drop says what to do about a field whose type has no JSON form.
func (w *jsonWalk) drop(t types.Type) string {
	if named, ok := types.Unalias(t).(*types.Named); ok && w.c.own(named.Obj().Pkg()) {
		return dropField + ", or give " + w.c.name(t) + " MarshalJSON and UnmarshalJSON"
	}
	return dropField
}

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
func (w *jsonWalk) methods(t types.Type, path string, addressable bool) bool {
	if types.IsInterface(t) {
		return false
	}
	name := w.c.name(t)
	own, reader := marshals(t, addressable), unmarshals(t)
	if w.borrows(t, path, own) || w.borrows(t, path, reader) {
		return true
	}
	if why, fix := w.unread(t, reader); why != "" {
		w.fault(t, path, why, fix)
		return true
	}
	switch hidden := marshals(t, true); {
	case own != "" && reader == "", own == "MarshalJSON" && reader == "UnmarshalText":
		w.fault(t, path, name+" has "+own+" but no "+reads[own]+", so it cannot be read back", w.c.give(t, reads[own]))
	case own != "":
	case hidden != "" && has(address(t), reads[hidden]):
		w.fault(t, path, hidden+" is a method of *"+name+", so it is not used where the value itself stands", "use *"+name)
	case reader == "UnmarshalText" && !isText(t):
		w.fault(t, path, name+" has UnmarshalText but no MarshalText, and UnmarshalText reads nothing but texts, so it cannot be read back",
			w.c.give(t, "MarshalText"))
	default:
		return false
	}
	return true
}

// unread says why a method for reading surely keeps nothing of what it is given.
func (w *jsonWalk) unread(t types.Type, method string) (why, fix string) {
	obj, index, _ := types.LookupFieldOrMethod(address(t), false, nil, method)
	f, ok := obj.(*types.Func)
	if !ok {
		return "", ""
	}
	name, in := w.c.name(t), t.Underlying()
	for _, i := range index[:len(index)-1] {
		if p, pointer := in.(*types.Pointer); pointer { // t itself, which is made before it is read
			in = p.Elem().Underlying()
		}
		embedded := in.(*types.Struct).Field(i)
		elem, pointer := pointee(embedded.Type())
		if pointer || types.IsInterface(elem) {
			fix = "embed a type that is no interface"
			if pointer {
				fix = "embed " + w.c.name(elem) + " itself, or give the pointer a name"
			}
			return fmt.Sprintf("%s gets %s from the %s that it embeds, which is nil when it is read", name, method, w.c.name(embedded.Type())), fix
		}
		in = elem.Underlying()
	}
	recv := f.Signature().Recv().Type()
	if _, pointer := recv.Underlying().(*types.Pointer); pointer || types.IsInterface(recv) || !keeps(recv) {
		return "", ""
	}
	fix = "use a type of your own that has it with a pointer as its receiver"
	if named, ok := recv.(*types.Named); ok && w.c.own(named.Obj().Pkg()) {
		fix = "let *" + named.Obj().Name() + " be its receiver"
	}
	return method + " of " + name + " is not a method of *" + w.c.name(recv) + ", so it reads into a copy, and the value is lost", fix
}

// keeps reports whether a type has room for a value.
func keeps(t types.Type) bool {
	sizes := types.StdSizes{WordSize: 8, MaxAlign: 8}
	return sizes.Sizeof(t) > 0
}

// borrows reports whether a struct gets a method from a type that it embeds, so
// that the method knows nothing of its other fields, and says so.
func (w *jsonWalk) borrows(t types.Type, path, method string) bool {
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
	fix := "give the " + w.c.name(embedded.Type()) + " a name"
	if named, ok := types.Unalias(t).(*types.Named); ok && w.c.own(named.Obj().Pkg()) {
		fix += ", or give " + w.c.name(t) + " MarshalJSON and UnmarshalJSON of its own"
	}
	w.fault(t, path, fmt.Sprintf("%s gets %s from the %s that it embeds, which %s nothing else, so %s %s lost",
		w.c.name(t), method, w.c.name(embedded.Type()), verb, enumerate(lost, "and"), plural(len(lost), "is", "are")), fix)
	return true
}

// give says how a type can get a method.
func (c *checker) give(t types.Type, method string) string {
	if named, ok := types.Unalias(t).(*types.Named); ok && c.own(named.Obj().Pkg()) {
		return "give it " + method
	}
	return "use a type of your own that has it"
}

// own reports whether a package is of the module of the declarations, so that its
// types can be changed.
func (c *checker) own(p *types.Package) bool {
	return p == c.pkg.Types || p != nil && c.pkg.Module != "" && strings.HasPrefix(p.Path()+"/", c.pkg.Module+"/")
}

// isText reports whether JSON writes a type as a text without any method.
func isText(t types.Type) bool {
	basic, ok := t.Underlying().(*types.Basic)
	return ok && basic.Info()&types.IsString != 0
}

// unmarshals is the method by which a type reads its own JSON, or "".
func unmarshals(t types.Type) string {
	for _, method := range []string{"UnmarshalJSON", "UnmarshalText"} {
		if has(address(t), method) {
			return method
		}
	}
	return ""
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

// key looks at the key of a map. The encoder prefers the kind of a string to its
// methods, the decoder does not.
func (w *jsonWalk) key(t, key types.Type, path string) {
	name := w.c.name(key)
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
		w.fault(t, path, "JSON writes a "+name+" as a key with its MarshalText, and reads it as a number", w.c.give(key, "UnmarshalText"))
	case plain && has(types.NewPointer(key), "MarshalText"):
		w.fault(t, path, "MarshalText is a method of *"+name+", so it is not used for a key", "let "+name+" itself have MarshalText")
	case plain:
		w.fault(t, path, "JSON writes a "+name+" as a key as a number, and reads it with its UnmarshalText", w.c.give(key, "MarshalText"))
	default:
		fix := "use a key of a string or integer type"
		named, isNamed := types.Unalias(key).(*types.Named)
		switch {
		case !isNamed || !w.c.own(named.Obj().Pkg()) || types.IsInterface(key):
		case reader && has(types.NewPointer(key), "MarshalText"):
			fix = "let " + name + " itself have MarshalText, not *" + name
		default:
			fix += ", or give " + name + " MarshalText and UnmarshalText"
		}
		w.fault(t, path, "a map with the key "+name+" has no JSON form", fix)
	}
}

// fields looks at the fields that encoding/json writes.
func (w *jsonWalk) fields(t types.Type, u *types.Struct, path string, addressable bool) {
	defer func(pos token.Pos) { w.pos = pos }(w.pos)
	members, lost := w.members(t, u, path, addressable)
	if len(members) == 0 && len(lost) > 0 {
		fix := "use a type of your own, with what is to be kept of it"
		switch {
		case strings.HasPrefix(w.c.name(t), "sync."):
			fix = dropField
		case w.isOwn(t):
			fix = "export its fields, or give it MarshalJSON and UnmarshalJSON"
		}
		w.fault(t, path, w.c.name(t)+" has only fields that are not exported, so it would be stored empty", fix)
		return
	}
	for _, f := range lost {
		if w.isOwn(t) && !has(address(t), "ProtoReflect") {
			w.at(t, f)
			w.fault(f.Type(), path+"."+f.Name(), f.Name()+" is not exported, so it would be lost",
				`export it, tag it json:"-" if it need not be kept, or give `+w.c.name(t)+" MarshalJSON and UnmarshalJSON")
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
func (w *jsonWalk) at(t types.Type, f *types.Var) {
	if w.isOwn(t) {
		w.pos = f.Pos()
	}
}

// isOwn reports whether a type is written out or declared in the user's module.
func (w *jsonWalk) isOwn(t types.Type) bool {
	named, ok := types.Unalias(t).(*types.Named)
	return !ok || w.c.own(named.Obj().Pkg())
}

// A jsonMember is a field as encoding/json sees it from the struct on top.
type jsonMember struct {
	field  *types.Var
	path   string
	name   string // in JSON; "" for one that is left out on purpose
	tagged bool
	depth  int // how many embedded structs are around it
}

// members are the fields of a struct and, as if they were its own, those of the
// structs that it embeds. lost are those of the struct itself that are not
// written though they may hold something.
func (w *jsonWalk) members(t types.Type, u *types.Struct, path string, addressable bool) (members []jsonMember, lost []*types.Var) {
	type level struct {
		t    types.Type
		u    *types.Struct
		path string
	}
	seen := map[types.Type]bool{} // those of the levels above, which come back in recursive types
	for depth, now := 0, []level{{t, u, path}}; len(now) > 0; depth++ {
		var next []level
		for _, l := range now {
			seen[l.t] = true
		}
		for _, l := range now {
			for i := range l.u.NumFields() {
				f := l.u.Field(i)
				tag := reflect.StructTag(l.u.Tag(i)).Get("json")
				m := jsonMember{field: f, path: l.path + "." + f.Name(), depth: depth}
				elem, pointer := pointee(f.Type())
				inner, isStruct := elem.Underlying().(*types.Struct)
				isStruct = isStruct && f.Embedded()
				m.name, m.tagged = jsonName(f, tag)
				switch {
				case tag == "-":
					m.name = ""
				case !f.Exported() && !isStruct:
					if depth == 0 && holds(f) {
						lost = append(lost, f)
					}
					continue
				case !f.Exported() && pointer:
					w.at(l.t, f)
					w.fault(f.Type(), m.path, "an embedded pointer to an unexported struct cannot be read back",
						"embed the struct itself, or export it")
					m.name = ""
				case isStruct && !m.tagged && marshals(f.Type(), addressable || pointer) != "":
					w.at(l.t, f)
					w.fault(f.Type(), m.path, "it has "+marshals(f.Type(), true)+", which is not used, since "+w.c.name(l.t)+
						" embeds another type that has it", "give it a name")
					m.name = ""
				case isStruct && !m.tagged:
					if !seen[elem] {
						next = append(next, level{elem, inner, m.path})
					}
					continue
				}
				members = append(members, m)
			}
		}
		now = next
	}
	return members, lost
}

// jsonName is how encoding/json calls a field, and whether its tag says so.
func jsonName(f *types.Var, tag string) (name string, tagged bool) {
	name, _, _ = strings.Cut(tag, ",")
	for _, r := range name {
		if !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return f.Name(), false // which is no name to it
		}
	}
	if name == "" {
		return f.Name(), false
	}
	return name, true
}

// holds reports whether a field that is not exported may hold something: not one
// without a name or a size, nor a lock.
func holds(f *types.Var) bool {
	named, ok := types.Unalias(f.Type()).(*types.Named)
	if ok && named.Obj().Pkg() != nil && strings.HasPrefix(named.Obj().Pkg().Path()+"/", "sync/") {
		return false
	}
	return f.Name() != "_" && keeps(f.Type())
}

// sameNames tells of fields that have one name in JSON: the one that is embedded
// least is written, and of several the one that has its name from a tag.
func (w *jsonWalk) sameNames(t types.Type, path string, members []jsonMember) {
	byName := map[string][]jsonMember{}
	for _, m := range members {
		byName[m.name] = append(byName[m.name], m)
	}
	for _, m := range members {
		same := byName[m.name]
		if m.name == "" || len(same) < 2 || same[0].field != m.field {
			continue
		}
		first, several := same[0], false
		for _, other := range same[1:] {
			switch {
			case other.depth > first.depth, other.depth == first.depth && first.tagged && !other.tagged:
			case other.depth < first.depth, other.tagged && !first.tagged:
				first, several = other, false
			default:
				several = true
			}
		}
		short := func(m jsonMember) string { return strings.TrimPrefix(m.path, path+".") }
		if several {
			var names []string
			for _, other := range same {
				if other.depth == first.depth && other.tagged == first.tagged {
					names = append(names, short(other))
				}
			}
			w.at(t, same[1].field)
			w.fault(same[1].field.Type(), same[1].path, fmt.Sprintf("%s of %s are both %q in JSON, which writes neither",
				enumerate(names, "and"), w.c.name(t), m.name), `tag one of them json:"…" with another name`)
			continue
		}
		for _, other := range same {
			if other.field != first.field {
				w.at(t, other.field)
				w.fault(other.field.Type(), other.path, fmt.Sprintf("%s of %s is %q in JSON, and so is %s, which is written instead",
					short(other), w.c.name(t), m.name, short(first)), `tag one of them json:"…" with another name, or json:"-" if it need not be kept`)
			}
		}
	}
}

// pointee is what a pointer points to, or the type itself.
func pointee(t types.Type) (elem types.Type, pointer bool) {
	if p, ok := t.Underlying().(*types.Pointer); ok {
		return p.Elem(), true
	}
	return t, false
}
