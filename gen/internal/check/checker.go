package check

import (
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"

	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/load"
)

// A checker checks one package.
type checker struct {
	pkg   *load.Package
	diags *diag.List
	// broken is set if the compiler rejects a type that a declaration reaches.
	broken bool
	// reached are the types of the package that declarations name, directly or
	// not: their problems are reported, others are not ours.
	reached map[*types.TypeName]bool
	fields  map[token.Pos]*ast.Field // by the position of a name
	// typeDocs are the doc comments of the types of the package, by name.
	typeDocs map[string]string
	// suspects may be meant as flows, but the compiler rejects what says so.
	suspects []ast.Node
	// nameless are steps that are embedded, so that the compiler sees their names twice.
	nameless []ast.Node
	// importsGenerated is set if the package imports what is generated from it.
	importsGenerated bool
	// storedSeen are the faults of types in JSON that were reported.
	storedSeen map[string]bool
	// hiddenSeen are the names that were reported as hidden from the generated package.
	hiddenSeen map[string]bool
}

// where returns where a node stands in the source.
func where(n ast.Node) (pos, end token.Pos) { return n.Pos(), n.End() }

// name writes a type as its package would.
func (c *checker) name(t types.Type) string {
	return types.TypeString(t, func(p *types.Package) string {
		if p == c.pkg.Types {
			return ""
		}
		return p.Name()
	})
}

func within(nodes []ast.Node, pos token.Pos) bool {
	return slices.ContainsFunc(nodes, func(n ast.Node) bool { return n.Pos() <= pos && pos <= n.End() })
}

func fieldName(f *ast.Field) string {
	if len(f.Names) > 0 {
		return f.Names[0].Name
	}
	return strings.TrimPrefix(types.ExprString(f.Type), "*")
}

// typeName returns the name of a type, or of nothing.
func (c *checker) typeName(t types.Type) string {
	if t == nil {
		return "dsl.None"
	}
	return c.name(t)
}
