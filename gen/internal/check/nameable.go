package check

import (
	"cmp"
	"go/ast"
	"go/token"
	"go/types"
	"iter"
	"strings"

	"github.com/flowc-dev/flowc/gen/internal/model"
)

// checkNameable checks that the generated package can name a type.
func (c *checker) checkNameable(who string, t types.Type, expr ast.Expr) bool {
	pos, end := where(expr)
	return c.checkNameableAt(who, t, pos, end)
}

func (c *checker) checkNameableAt(who string, t types.Type, pos, end token.Pos) bool {
	h := c.hidden(t)
	if h == nil {
		return true
	}
	if c.hiddenSeen[h.name] { // told where it is used first
		return false
	}
	c.hiddenSeen[h.name] = true
	what := "has " + h.name + " in its type"
	if h.name == c.name(t) {
		what = "is " + h.name
	}
	c.diags.Add(pos, end, "%s %s, which the generated package could not %s", who, what, h.verb).Fix("%s", h.fix)
	return false
}

// A hiddenName is a name in a type that the generated package cannot use.
type hiddenName struct{ name, verb, fix string }

// hidden is the first name in a type that the generated package cannot use, or nil.
func (c *checker) hidden(t types.Type) *hiddenName {
	switch t := t.(type) {
	case *types.Alias:
		if !model.Nameable(t.Obj(), c.importer()) { // then what it stands for is written
			return c.hidden(t.Rhs())
		}
		return c.hiddenIn(t.TypeArgs().Types())
	case *types.Named:
		if !model.Nameable(t.Obj(), c.importer()) {
			return c.hiddenNamed(t)
		}
		return c.hiddenIn(t.TypeArgs().Types())
	case *types.Pointer:
		return c.hidden(t.Elem())
	case *types.Slice:
		return c.hidden(t.Elem())
	case *types.Array:
		return c.hidden(t.Elem())
	case *types.Chan:
		return c.hidden(t.Elem())
	case *types.Map:
		return cmp.Or(c.hidden(t.Key()), c.hidden(t.Elem()))
	case *types.Signature:
		return cmp.Or(c.hiddenIn(typesOf(t.Params().Variables())), c.hiddenIn(typesOf(t.Results().Variables())))
	case *types.Struct:
		for f := range t.Fields() {
			if !f.Exported() {
				return &hiddenName{"the field " + f.Name(), "name", "export it, or declare a type of that struct"}
			}
		}
		return c.hiddenIn(typesOf(t.Fields()))
	case *types.Interface:
		for m := range t.ExplicitMethods() {
			if !m.Exported() {
				return &hiddenName{"the method " + m.Name(), "name", "export it, or declare a type of that interface"}
			}
			if h := c.hidden(m.Signature()); h != nil {
				return h
			}
		}
		return c.hiddenIn(t.EmbeddedTypes())
	}
	return nil
}

// importer is where the generated packages are, as far as it decides what they
// may import.
func (c *checker) importer() string { return c.pkg.Path + "/generated" }

// hiddenNamed says what to do about a type whose name cannot be used.
func (c *checker) hiddenNamed(t *types.Named) *hiddenName {
	obj := t.Obj()
	h := &hiddenName{name: c.name(t), verb: "name", fix: "export it"}
	switch {
	case !model.Importable(obj.Pkg(), c.importer()):
		h.name, h.verb = obj.Pkg().Path()+"."+obj.Name(), "import"
		h.fix = "use a type of another package; an exported alias is enough"
	case strings.HasPrefix(obj.Name(), "_Ctype_"):
		h.name, h.fix = "C."+strings.TrimPrefix(obj.Name(), "_Ctype_"), "use a type of Go, and convert it in the handler"
	case obj.Parent() != obj.Pkg().Scope():
		h.fix = "declare it at package level"
	case obj.Pkg() != c.pkg.Types:
		h.fix = "use a type that package " + obj.Pkg().Name() + " exports"
	}
	if alias := c.exportedAlias(t); alias != nil {
		h.fix = "write " + c.name(alias.Type()) + ", by which other packages know it"
	}
	return h
}

// exportedAlias is a name for a type that the generated package can use, or nil.
func (c *checker) exportedAlias(t *types.Named) *types.TypeName {
	for _, p := range append([]*types.Package{t.Obj().Pkg(), c.pkg.Types}, c.pkg.Types.Imports()...) {
		for _, name := range p.Scope().Names() {
			alias, ok := p.Scope().Lookup(name).(*types.TypeName)
			if ok && alias.IsAlias() && model.Nameable(alias, c.importer()) && types.Identical(alias.Type(), t) {
				return alias
			}
		}
	}
	return nil
}

func (c *checker) hiddenIn(list iter.Seq[types.Type]) *hiddenName {
	for t := range list {
		if h := c.hidden(t); h != nil {
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

// valid reports whether the compiler accepts a type and all that it is made of.
// It remembers the types on the way, so that their problems can be told.
func (c *checker) valid(t types.Type) bool {
	w := validWalk{c: c, seen: map[types.Type]bool{}}
	w.walk(t)
	return !w.invalid
}

type validWalk struct {
	c       *checker
	seen    map[types.Type]bool
	invalid bool
}

func (w *validWalk) walk(t types.Type) {
	if w.seen[t] {
		return
	}
	w.seen[t] = true
	switch t := t.(type) {
	case *types.Basic:
		if t.Kind() == types.Invalid {
			w.invalid = true
		}
	case *types.Alias:
		w.args(t.TypeArgs())
		w.walk(types.Unalias(t))
	case *types.Named:
		w.args(t.TypeArgs())
		if t.Obj().Pkg() == w.c.pkg.Types { // others come from export data, which is sound
			w.c.reached[t.Obj()] = true
			w.walk(t.Underlying())
		}
	case *types.Pointer:
		w.walk(t.Elem())
	case *types.Slice:
		w.walk(t.Elem())
	case *types.Array:
		w.walk(t.Elem())
	case *types.Map:
		w.walk(t.Key())
		w.walk(t.Elem())
	case *types.Chan:
		w.walk(t.Elem())
	case *types.Struct:
		for f := range t.Fields() {
			w.walk(f.Type())
		}
	}
}

func (w *validWalk) args(list *types.TypeList) {
	for t := range list.Types() {
		w.walk(t)
	}
}
