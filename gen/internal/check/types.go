package check

import (
	"go/ast"
	"go/token"
	"go/types"

	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/jsonform"
	"github.com/flowc-dev/flowc/gen/internal/nameable"
)

// checkStored checks that a value can be written as JSON and read back, since
// that is how the database keeps it, and that the generated package can name
// its type.
func (c *checker) checkStored(who string, t types.Type, expr ast.Expr) {
	if !c.checkNameable(who, t, expr) {
		return
	}
	pos, end := where(expr)
	for _, f := range (jsonform.Checker{Home: c.pkg.Types, Module: c.pkg.Module}).Check(t) {
		if f.Key != "" && c.storedSeen[f.Key] { // where it is used first
			continue
		}
		c.storedSeen[f.Key] = true
		b := c.diags.Add(diag.NotJSON, pos, end, "%s cannot be stored as JSON: %s", who, f.Why)
		if f.Path != "" {
			b.NoteAt(f.Pos, "%s is %s", f.Path, f.Type)
		}
		b.Fix("%s", f.Fix)
	}
}

// checkNameable checks that the generated package can name a type.
func (c *checker) checkNameable(who string, t types.Type, expr ast.Expr) bool {
	pos, end := where(expr)
	return c.checkNameableAt(who, t, pos, end)
}

func (c *checker) checkNameableAt(who string, t types.Type, pos, end token.Pos) bool {
	h := nameable.Checker{Home: c.pkg.Types}.Hidden(t)
	if h == nil {
		return true
	}
	if c.hiddenSeen[h.Name] { // reported where it is used first
		return false
	}
	c.hiddenSeen[h.Name] = true
	what := "has " + h.Name + " in its type"
	if h.Name == c.name(t) {
		what = "is " + h.Name
	}
	c.diags.Add(diag.HiddenType, pos, end, "%s %s, which the generated package could not %s", who, what, h.Verb).Fix("%s", h.Fix)
	return false
}

// valid reports whether the compiler accepts a type and all that it is made of.
// It remembers the types on the way, so that their problems can be reported.
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
