package jsonform

import (
	"fmt"
	"go/types"
	"reflect"
	"strings"

	"github.com/flowc-dev/flowc/gen/internal/diag"
)

// A member is a field as encoding/json sees it from the struct on top.
type member struct {
	field  *types.Var
	path   string
	name   string // in JSON; "" for one that is left out on purpose
	tagged bool
	depth  int // how many embedded structs are around it
}

// members returns the fields of a struct and, as if they were its own, those of the
// structs that it embeds. lost are those of the struct itself that are not
// written though they may hold something.
func (w *walk) members(t types.Type, u *types.Struct, path string, addressable bool) (members []member, lost []*types.Var) {
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
				m := member{field: f, path: l.path + "." + f.Name(), depth: depth}
				elem, pointer := Pointee(f.Type())
				inner, isStruct := elem.Underlying().(*types.Struct)
				isStruct = isStruct && f.Embedded()
				m.name, m.tagged = Name(f, tag)
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
				case isStruct && !m.tagged && Marshaler(f.Type(), addressable || pointer) != "":
					w.at(l.t, f)
					w.fault(f.Type(), m.path, "it has "+Marshaler(f.Type(), true)+", which is not used, since "+w.name(l.t)+
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

// holds reports whether a field that is not exported may hold something: not one
// without a name or a size, nor a lock.
func holds(f *types.Var) bool {
	named, ok := types.Unalias(f.Type()).(*types.Named)
	if ok && named.Obj().Pkg() != nil && strings.HasPrefix(named.Obj().Pkg().Path()+"/", "sync/") {
		return false
	}
	return f.Name() != "_" && keeps(f.Type())
}

// sameNames reports fields that have one name in JSON: the one that is embedded
// least is written, and of several the one that has its name from a tag.
func (w *walk) sameNames(t types.Type, path string, members []member) {
	byName := map[string][]member{}
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
		short := func(m member) string { return strings.TrimPrefix(m.path, path+".") }
		if several {
			var names []string
			for _, other := range same {
				if other.depth == first.depth && other.tagged == first.tagged {
					names = append(names, short(other))
				}
			}
			w.at(t, same[1].field)
			w.fault(same[1].field.Type(), same[1].path, fmt.Sprintf("%s of %s are both %q in JSON, which writes neither",
				diag.Enumerate(names, "and"), w.name(t), m.name), `tag one of them json:"…" with another name`)
			continue
		}
		for _, other := range same {
			if other.field != first.field {
				w.at(t, other.field)
				w.fault(other.field.Type(), other.path, fmt.Sprintf("%s of %s is %q in JSON, and so is %s, which is written instead",
					short(other), w.name(t), m.name, short(first)), `tag one of them json:"…" with another name, or json:"-" if it need not be kept`)
			}
		}
	}
}

// keeps reports whether a type has room for a value.
func keeps(t types.Type) bool {
	sizes := types.StdSizes{WordSize: 8, MaxAlign: 8}
	return sizes.Sizeof(t) > 0
}
