package nameable

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"testing"

	"github.com/stretchr/testify/require"
)

const shop = `package shop

type Order struct{ ID string }

type order struct{ ID string }

type Exported = exported

type exported struct{ ID string }

type Page[T any] struct{ Items []T }

var (
	Plain  []*Order
	Hidden map[string][]order
	Alias  exported
	Args   Page[order]
	Field  struct{ id string }
	Func   func(order)
	Method interface{ read() }
)
`

func TestHidden(t *testing.T) {
	t.Parallel()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "shop.go", shop, 0)
	require.NoError(t, err)
	p, err := (&types.Config{}).Check("example.com/shop", fset, []*ast.File{file}, nil)
	require.NoError(t, err)
	for name, want := range map[string]*HiddenName{
		"Plain":  nil,
		"Hidden": {Name: "order", Verb: "name", Fix: "export it"},
		"Alias":  {Name: "exported", Verb: "name", Fix: "write Exported, by which other packages know it"},
		"Args":   {Name: "order", Verb: "name", Fix: "export it"},
		"Field":  {Name: "the field id", Verb: "name", Fix: "export it, or declare a type of that struct"},
		"Func":   {Name: "order", Verb: "name", Fix: "export it"},
		"Method": {Name: "the method read", Verb: "name", Fix: "export it, or declare a type of that interface"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, want, Checker{Home: p}.Hidden(p.Scope().Lookup(name).Type()))
		})
	}
}

func TestImportable(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]bool{
		"example.com/other": true, "example.com/shop/internal/x": true, "example.com/other/internal/x": false,
		"internal/x": false, "example.com/shop/vendor/x": false,
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, want, Importable(types.NewPackage(path, "x"), "example.com/shop/generated"))
		})
	}
	require.False(t, Importable(types.NewPackage("example.com/program", "main"), "example.com/shop/generated"))
}
