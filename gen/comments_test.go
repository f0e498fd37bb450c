package gen

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/gen/internal/check"
	"github.com/flowc-dev/flowc/gen/internal/emit"
	"github.com/flowc-dev/flowc/gen/internal/loadtest"
)

// hostile are comments that would mean something if they were copied as they are.
var hostile = []string{
	"// ends */ func init() { panic(1) } /* and begins",
	"// all is well\n//go:build ignore\n//go:generate rm -rf /\n//go:linkname a b\n//line other.go:1\n//export x",
	"// +build ignore",
	"/* in a block\n//go:generate rm -rf /\ngo:generate rm -rf /\n#include <x>\n*/",
	"// a \r func init() { panic(1) }\r\n// two\r; DROP TABLE pgflow.runs; --",
	"// $flowc",
	"//\tcode\n//\n//\t//go:embed x",
	"// ' \" ` \\ % {{.}} \u202e reversed",
}

// TestCommentsStayComments carries hostile comments over to Go and to SQL.
func TestCommentsStayComments(t *testing.T) {
	t.Parallel()
	declare := func(comment string) string {
		return "package shop\n\nimport \"github.com/flowc-dev/flowc/dsl\"\n\n" + comment + "\ntype Line struct {\n" +
			"\tdsl.Flow[int, string]\n\n\t" + strings.ReplaceAll(comment, "\n", "\n\t") + "\n\tFirst dsl.Step[int, string]\n}\n"
	}
	generateOne := func(comment string) (source, up, down string) {
		tree, err := loadtest.Load(root, map[string]string{"shop/shop.go": declare(comment)})
		require.NoError(t, err)
		flows, found := check.Packages(tree.Fset, tree.Packages)
		require.Empty(t, found)
		code, err := emit.File(flows[0])
		require.NoError(t, err)
		require.NoError(t, tree.Compile(flows[0].Path(), code), "%s", code)
		upSQL, downSQL, err := emit.Migration(flows[0])
		require.NoError(t, err)
		return string(code), string(upSQL), string(downSQL)
	}
	plainSource, plainUp, plainDown := generateOne("// plain")
	sqlComment := regexp.MustCompile(`(?m)^--[^\r\n]*\n?`)
	for _, comment := range hostile {
		source, up, down := generateOne(comment)
		require.Equal(t, declared(t, plainSource), declared(t, source), comment)
		require.NotRegexp(t, `(?m)^\s*//(go:|line |export |\s*\+build)`, source)
		require.NotContains(t, source, "\r")
		require.NotContains(t, up+down, "\r")
		require.Equal(t, sqlComment.ReplaceAllString(plainUp, ""), sqlComment.ReplaceAllString(up, ""))
		require.Equal(t, sqlComment.ReplaceAllString(plainDown, ""), sqlComment.ReplaceAllString(down, ""))
	}
}

// declared returns the names that a file declares, and how often.
func declared(t *testing.T, source string) (names []string) {
	file, err := parser.ParseFile(token.NewFileSet(), "", source, parser.ParseComments)
	require.NoError(t, err)
	for _, decl := range file.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			names = append(names, decl.Name.Name)
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					names = append(names, spec.Name.Name)
				case *ast.ValueSpec:
					names = append(names, spec.Names[0].Name)
				}
			}
		}
	}
	return names
}
