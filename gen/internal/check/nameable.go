package check

import (
	"go/ast"
	"go/types"
)

// checkNameable checks that the generated package can name a type.
func (c *checker) checkNameable(who string, t types.Type, expr ast.Expr) bool {
	hidden := c.hidden(t)
	if hidden == "" {
		return true
	}
	if c.hiddenSeen[hidden] { // told where it is used first
		return false
	}
	c.hiddenSeen[hidden] = true
	pos, end := where(expr)
	if hidden == c.name(t) {
		hidden = "is " + hidden
	} else {
		hidden = "has " + hidden + " in its type"
	}
	c.diags.Add(pos, end, "%s %s, which the generated package could not name", who, hidden).
		Fix("export it")
	return false
}

// hidden is a name in a type that other packages cannot use, or "".
func (c *checker) hidden(t types.Type) string {
	switch t := t.(type) {
	case *types.Alias:
		if !nameable(t.Obj()) { // then what it stands for is written
			return c.hidden(types.Unalias(t))
		}
		return c.hiddenArgs(t.TypeArgs())
	case *types.Named:
		if !nameable(t.Obj()) {
			return c.name(t)
		}
		return c.hiddenArgs(t.TypeArgs())
	case *types.Pointer:
		return c.hidden(t.Elem())
	case *types.Slice:
		return c.hidden(t.Elem())
	case *types.Array:
		return c.hidden(t.Elem())
	case *types.Chan:
		return c.hidden(t.Elem())
	case *types.Map:
		if h := c.hidden(t.Key()); h != "" {
			return h
		}
		return c.hidden(t.Elem())
	case *types.Struct:
		for f := range t.Fields() {
			if !f.Exported() {
				return "the field " + f.Name()
			}
			if h := c.hidden(f.Type()); h != "" {
				return h
			}
		}
	case *types.Interface:
		for m := range t.ExplicitMethods() {
			if !m.Exported() {
				return "the method " + m.Name()
			}
		}
	}
	return ""
}

func (c *checker) hiddenArgs(args *types.TypeList) string {
	for t := range args.Types() {
		if h := c.hidden(t); h != "" {
			return h
		}
	}
	return ""
}

// nameable reports whether a type is at package level and exported, or predeclared.
func nameable(obj *types.TypeName) bool {
	if obj.Pkg() == nil {
		return true
	}
	return obj.Exported() && obj.Parent() == obj.Pkg().Scope()
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
