package nameable

import (
	"cmp"
	"go/types"
	"iter"
	"strings"

	"github.com/flowc-dev/flowc/gen/internal/model"
)

// A Checker finds what a package that is generated for Home could not name.
type Checker struct{ Home *types.Package }

// A HiddenName is a name in a type that the generated package cannot use.
type HiddenName struct {
	Name string
	Verb string // what it could not do with it: name or import
	Fix  string
}

// Hidden returns the first name in a type that the generated package cannot use, or nil.
func (c Checker) Hidden(t types.Type) *HiddenName {
	switch t := t.(type) {
	case *types.Alias:
		if !Type(t.Obj(), c.importer()) { // then what it stands for is written
			return c.Hidden(t.Rhs())
		}
		return c.hiddenIn(t.TypeArgs().Types())
	case *types.Named:
		if !Type(t.Obj(), c.importer()) {
			return c.HiddenNamed(t)
		}
		return c.hiddenIn(t.TypeArgs().Types())
	case *types.Pointer:
		return c.Hidden(t.Elem())
	case *types.Slice:
		return c.Hidden(t.Elem())
	case *types.Array:
		return c.Hidden(t.Elem())
	case *types.Chan:
		return c.Hidden(t.Elem())
	case *types.Map:
		return cmp.Or(c.Hidden(t.Key()), c.Hidden(t.Elem()))
	case *types.Signature:
		return cmp.Or(c.hiddenIn(typesOf(t.Params().Variables())), c.hiddenIn(typesOf(t.Results().Variables())))
	case *types.Struct:
		for f := range t.Fields() {
			if !f.Exported() {
				return &HiddenName{"the field " + f.Name(), "name", "export it, or declare a type of that struct"}
			}
		}
		return c.hiddenIn(typesOf(t.Fields()))
	case *types.Interface:
		for m := range t.ExplicitMethods() {
			if !m.Exported() {
				return &HiddenName{"the method " + m.Name(), "name", "export it, or declare a type of that interface"}
			}
			if h := c.Hidden(m.Signature()); h != nil {
				return h
			}
		}
		return c.hiddenIn(t.EmbeddedTypes())
	}
	return nil
}

// importer returns where the generated packages are, as far as it decides what they
// may import.
func (c Checker) importer() string { return c.Home.Path() + "/generated" }

func (c Checker) name(t types.Type) string { return model.TypeName(c.Home, t) }

// HiddenNamed says what to do about a type whose name cannot be used.
func (c Checker) HiddenNamed(t *types.Named) *HiddenName {
	obj := t.Obj()
	h := &HiddenName{Name: c.name(t), Verb: "name", Fix: "export it"}
	switch {
	case !Importable(obj.Pkg(), c.importer()):
		h.Name, h.Verb = obj.Pkg().Path()+"."+obj.Name(), "import"
		h.Fix = "use a type of another package; an exported alias is enough"
	case strings.HasPrefix(obj.Name(), "_Ctype_"):
		h.Name, h.Fix = "C."+strings.TrimPrefix(obj.Name(), "_Ctype_"), "use a type of Go, and convert it in the handler"
	case obj.Parent() != obj.Pkg().Scope():
		h.Fix = "declare it at package level"
	case obj.Pkg() != c.Home:
		h.Fix = "use a type that package " + obj.Pkg().Name() + " exports"
	}
	if alias := c.exportedAlias(t); alias != nil {
		h.Fix = "write " + c.name(alias.Type()) + ", by which other packages know it"
	}
	return h
}

// exportedAlias returns a name for a type that the generated package can use, or nil.
func (c Checker) exportedAlias(t *types.Named) *types.TypeName {
	for _, p := range append([]*types.Package{t.Obj().Pkg(), c.Home}, c.Home.Imports()...) {
		for _, name := range p.Scope().Names() {
			alias, ok := p.Scope().Lookup(name).(*types.TypeName)
			if ok && alias.IsAlias() && Type(alias, c.importer()) && types.Identical(alias.Type(), t) {
				return alias
			}
		}
	}
	return nil
}

func (c Checker) hiddenIn(list iter.Seq[types.Type]) *HiddenName {
	for t := range list {
		if h := c.Hidden(t); h != nil {
			return h
		}
	}
	return nil
}

func typesOf(variables iter.Seq[*types.Var]) iter.Seq[types.Type] {
	return func(yield func(types.Type) bool) {
		for v := range variables {
			if !yield(v.Type()) {
				return
			}
		}
	}
}
