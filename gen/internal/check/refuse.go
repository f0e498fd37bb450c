package check

import (
	"go/ast"
	"go/types"
	"slices"
	"strings"

	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/jsonform"
	"github.com/flowc-dev/flowc/gen/internal/model"
)

// refuseHidden finds flows that a generated package could not name: those declared
// in a function, and structs without a name.
func (c *checker) refuseHidden(decl ast.Decl) {
	var named []*ast.StructType // of the types at package level
	if group, ok := decl.(*ast.GenDecl); ok {
		for _, spec := range group.Specs {
			if spec, ok := spec.(*ast.TypeSpec); ok {
				if fields, ok := ast.Unparen(spec.Type).(*ast.StructType); ok {
					named = append(named, fields)
				}
			}
		}
	}
	ast.Inspect(decl, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.TypeSpec:
			fields, ok := ast.Unparen(n.Type).(*ast.StructType)
			if !ok || slices.Contains(named, fields) {
				return true
			}
			named = append(named, fields)
			if heads, _ := c.headsAndSteps(fields); len(heads) > 0 {
				c.diags.Add(diag.HiddenFlow, n.Name.Pos(), n.Name.End(), "%s is declared in a function, where the generated package could not name it", n.Name.Name).
					Fix("declare it at package level")
			}
		case *ast.StructType:
			if slices.Contains(named, n) {
				return true
			}
			if heads, _ := c.headsAndSteps(n); len(heads) > 0 {
				pos, end := where(heads[0])
				c.diags.Add(diag.HiddenFlow, pos, end, "a struct without a name embeds dsl.%s, so the generated package could not name it", markerOf(c.pkg.Info, heads[0].Type).name).
					Fix("declare it as a type at package level: type X struct { … }")
			}
		}
		return true
	})
}

// embedsFlow returns the first field of a struct that embeds a flow which is
// declared elsewhere, or nil.
func (c *checker) embedsFlow(fields *ast.StructType) *ast.Field {
	i := slices.IndexFunc(fields.Fields.List, func(f *ast.Field) bool {
		t := c.pkg.Info.TypeOf(f.Type)
		return len(f.Names) == 0 && t != nil && hasHead(t, 0)
	})
	if i < 0 {
		return nil
	}
	return fields.Fields.List[i]
}

// hasHead reports whether a type is a struct that embeds a flow or a job, or one
// that does.
func hasHead(t types.Type, depth int) bool {
	elem, _ := jsonform.Pointee(t)
	fields, ok := elem.Underlying().(*types.Struct)
	if !ok || depth > 9 { // a struct may embed a pointer to itself
		return false
	}
	for f := range fields.Fields() {
		if !f.Embedded() {
			continue
		}
		if named, ok := types.Unalias(f.Type()).(*types.Named); ok && isDSL(named.Obj()) && isHead(named.Obj().Name()) || hasHead(f.Type(), depth+1) {
			return true
		}
	}
	return false
}

// refuseCopy finds types that are made from a flow but are not a struct that
// embeds one: type A dsl.Job[In, Out], or type B A.
func (c *checker) refuseCopy(spec *ast.TypeSpec) {
	pos, end := where(spec.Name)
	if m := markerOf(c.pkg.Info, spec.Type); m != nil && m.head() && !spec.Assign.IsValid() {
		marker := types.ExprString(spec.Type)
		c.diags.Add(diag.NotEmbedded, pos, end, "%s is not a struct that embeds dsl.%s", spec.Name.Name, m.name).
			Fix("type %s struct{ %s }", spec.Name.Name, marker).
			Edit(spec.Type.Pos(), spec.Type.End(), "struct{ "+marker+" }")
		return
	}
	obj := c.pkg.Info.Defs[spec.Name]
	if obj == nil || spec.Assign.IsValid() {
		return
	}
	fields, ok := obj.Type().Underlying().(*types.Struct)
	if !ok {
		return
	}
	for f := range fields.Fields() {
		named, ok := types.Unalias(f.Type()).(*types.Named)
		if ok && f.Embedded() && isDSL(named.Obj()) && isHead(named.Obj().Name()) {
			c.diags.Add(diag.CopiedFlow, pos, end, "%s is a copy of the declaration of another flow", spec.Name.Name).
				Fix("write its struct out, or use runtime's ServeAs to work one flow under two slugs")
			return
		}
	}
}

// declarable checks what keeps a generated package from naming the flow. It
// reports whether the rest can be looked at all the same.
func (c *checker) declarable(d *declaration) bool {
	pos, end := where(d.spec.Name)
	if d.head.pointer {
		p, e := where(d.headExpr)
		c.diags.Add(diag.IndirectMarker, p, e, "%s embeds a pointer to dsl.%s", d.name, d.head.name).
			Fix("embed dsl.%s itself", d.head.name).Edit(p, p+1, "")
	}
	if d.head.alias {
		p, e := where(d.headExpr)
		b := c.diags.Add(diag.IndirectMarker, p, e, "%s embeds %s, an alias of dsl.%s", d.name, types.ExprString(d.headExpr), d.head.name)
		if args := d.head.args; args != nil {
			b.Fix("embed dsl.%s[%s, %s] itself", d.head.name, c.name(args[0]), c.name(args[1]))
		} else {
			b.Fix("embed dsl.%s itself", d.head.name)
		}
	}
	if d.spec.TypeParams != nil {
		p, e := where(d.spec.TypeParams)
		c.diags.Add(diag.GenericFlow, p, e, "%s has type parameters, but a flow is one flow of the database", d.name).
			Fix("declare a flow for each type that it is meant for")
	}
	if d.spec.Assign.IsValid() {
		c.diags.Add(diag.HiddenFlow, d.spec.Assign, d.spec.Assign+1, "%s is an alias of a struct without a name", d.name).
			Fix("remove the =").Edit(d.spec.Assign, d.spec.Assign+1, "")
	}
	switch {
	case strings.HasSuffix(c.diags.Fset.PositionFor(pos, false).Filename, "_test.go"): // whatever a line directive says
		c.diags.Add(diag.HiddenFlow, pos, end, "%s is declared in a test file, which the generated package could not import", d.name).
			Fix("move %s and its types to a file whose name does not end with _test.go", d.name)
	case c.pkg.Name == "main":
		c.diags.Add(diag.HiddenFlow, pos, end, "%s is declared in package main, which the generated package could not import", d.name).
			Fix("move %s and its types to a package of their own", d.name)
	case !ast.IsExported(d.name):
		c.diags.Add(diag.HiddenFlow, pos, end, "%s is not exported, so the generated package could not name it", d.name).
			Fix("%s", exported(d.name, func(name string) bool { return c.pkg.Types.Scope().Lookup(name) != nil }))
	}
	return d.spec.TypeParams == nil
}

// misspelt reports whether a struct embeds what package dsl does not have, or
// what would be a flow if its file imported dsl, so that it may be meant as one.
func (c *checker) misspelt(fields *ast.StructType) bool {
	return slices.ContainsFunc(fields.Fields.List, func(f *ast.Field) bool {
		if len(f.Names) > 0 {
			return false
		}
		expr := f.Type
		switch x := expr.(type) {
		case *ast.IndexExpr:
			expr = x.X
		case *ast.IndexListExpr:
			expr = x.X
		}
		switch x := ast.Unparen(expr).(type) {
		case *ast.Ident: // Flow[In, Out], if dsl was imported with a dot
			return c.pkg.Info.Uses[x] == nil && isHead(x.Name) && expr != f.Type
		case *ast.SelectorExpr:
			name, _ := x.X.(*ast.Ident)
			if imported, ok := c.pkg.Info.Uses[name].(*types.PkgName); ok {
				return imported.Imported().Path() == model.DSL && c.pkg.Info.Uses[x.Sel] == nil
			}
			return name != nil && c.pkg.Info.Uses[name] == nil && isHead(x.Sel.Name)
		}
		return false
	})
}

func isHead(name string) bool { return name == "Flow" || name == "Job" }
