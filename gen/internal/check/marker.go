package check

import (
	"go/ast"
	"go/types"

	"github.com/flowc-dev/flowc/gen/internal/model"
)

// A marker is a use of one of the types of package dsl.
type marker struct {
	name    string // Flow, Job, Step, Map, Wait or None
	pointer bool   // it is *dsl.X
	alias   bool   // it is an alias of dsl.X
	// args are the type arguments; nil if there are not two. One that the
	// compiler rejects is invalid.
	args []types.Type
	// exprs are the type arguments in the source, as far as they are written
	// where the marker is used.
	exprs []ast.Expr
}

func (m *marker) head() bool { return m.name == "Flow" || m.name == "Job" }
func (m *marker) step() bool { return m.name == "Step" || m.name == "Map" || m.name == "Wait" }

// arg returns the expression of a type argument, or the whole marker.
func (m *marker) arg(i int, whole ast.Expr) ast.Expr {
	if i < len(m.exprs) {
		return m.exprs[i]
	}
	return whole
}

// markerOf reads the type of a field as a marker. It is nil for other types.
// Of a type that the compiler rejects the syntax still tells what was meant.
func markerOf(info *types.Info, expr ast.Expr) *marker {
	m := &marker{}
	expr = ast.Unparen(expr)
	t := types.Unalias(info.TypeOf(expr))
	if star, ok := expr.(*ast.StarExpr); ok {
		m.pointer = true
		expr = ast.Unparen(star.X)
		if p, ok := t.(*types.Pointer); ok {
			t = types.Unalias(p.Elem())
		}
	}
	generic := expr
	switch x := expr.(type) {
	case *ast.IndexExpr:
		generic, m.exprs = x.X, []ast.Expr{x.Index}
	case *ast.IndexListExpr:
		generic, m.exprs = x.X, x.Indices
	}
	if named, ok := t.(*types.Named); ok && isDSL(named.Obj()) {
		m.name = named.Obj().Name()
		if args := named.TypeArgs(); args.Len() == 2 { // the compiler leaves one that is missing out
			m.args = []types.Type{args.At(0), args.At(1)}
		}
		if !isDSL(used(info, generic)) {
			m.alias, m.exprs = true, nil // whose arguments are its own
		}
		for i := range m.args {
			// The compiler keeps one of several types that are identical, and so
			// perhaps not the name that is written here.
			if len(m.exprs) == 2 && types.Identical(info.TypeOf(m.exprs[i]), m.args[i]) {
				m.args[i] = info.TypeOf(m.exprs[i])
			}
		}
		return m
	}
	if obj := used(info, generic); isDSL(obj) {
		m.name = obj.Name()
		m.sound(info)
		return m
	}
	return nil
}

// declared returns the type of a struct of markers, with the type arguments as they are
// written.
func (c *checker) declared(fields *ast.StructType, t *types.Struct) *types.Struct {
	var list []*types.Var
	var tags []string
	for _, f := range fields.Fields.List {
		m := markerOf(c.pkg.Info, f.Type)
		for range max(len(f.Names), 1) {
			v := t.Field(len(list))
			if named, ok := v.Type().(*types.Named); ok && m != nil && m.args != nil {
				if as, err := types.Instantiate(nil, named.Origin(), m.args, false); err == nil {
					v = types.NewField(v.Pos(), v.Pkg(), v.Name(), as, v.Embedded())
				}
			}
			tags = append(tags, t.Tag(len(list)))
			list = append(list, v)
		}
	}
	return types.NewStruct(list, tags)
}

// sound takes what the compiler accepts of the type arguments.
func (m *marker) sound(info *types.Info) {
	if len(m.exprs) != 2 {
		return
	}
	m.args = []types.Type{types.Typ[types.Invalid], types.Typ[types.Invalid]}
	for i, expr := range m.exprs {
		if t := info.TypeOf(expr); t != nil {
			m.args[i] = t
		}
	}
}

// used returns what a name or a qualified name refers to.
func used(info *types.Info, expr ast.Expr) types.Object {
	switch x := ast.Unparen(expr).(type) {
	case *ast.Ident:
		return info.Uses[x]
	case *ast.SelectorExpr:
		return info.Uses[x.Sel]
	}
	return nil
}

func isDSL(obj types.Object) bool {
	return obj != nil && obj.Pkg() != nil && obj.Pkg().Path() == model.DSL
}

// isNone reports whether a type is dsl.None.
func isNone(t types.Type) bool {
	named, ok := types.Unalias(t).(*types.Named)
	return ok && isDSL(named.Obj()) && named.Obj().Name() == "None"
}

// headsAndSteps returns the fields of a struct whose types are markers.
func (c *checker) headsAndSteps(fields *ast.StructType) (heads, steps []*ast.Field) {
	for _, f := range fields.Fields.List {
		switch m := markerOf(c.pkg.Info, f.Type); {
		case m == nil:
		case m.head():
			heads = append(heads, f)
		case m.step():
			steps = append(steps, f)
		}
	}
	return heads, steps
}
