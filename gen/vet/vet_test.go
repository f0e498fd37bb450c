package vet

import (
	"go/types"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/txtar"

	"github.com/flowc-dev/flowc/gen/internal/check"
	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/load"
	"github.com/flowc-dev/flowc/gen/internal/loadtest"
)

// analyze runs the analyzer on a package.
func analyze(t *testing.T, tree *loadtest.Tree, p *load.Package) (reported []analysis.Diagnostic) {
	t.Helper()
	var typeErrors []types.Error
	for _, problem := range p.Problems {
		typeErrors = append(typeErrors, types.Error{Fset: tree.Fset, Pos: problem.Pos, Msg: problem.Message})
	}
	pass := &analysis.Pass{
		Analyzer: Analyzer, Fset: tree.Fset, Files: p.Files, Pkg: p.Types, TypesInfo: p.Info, TypeErrors: typeErrors,
		Report: func(d analysis.Diagnostic) { reported = append(reported, d) },
	}
	_, err := Analyzer.Run(pass)
	require.NoError(t, err)
	return reported
}

// TestSameAsGenerator runs the analyzer on every mistake of the generator.
func TestSameAsGenerator(t *testing.T) {
	t.Parallel()
	require.NoError(t, analysis.Validate([]*analysis.Analyzer{Analyzer}))
	cases, err := filepath.Glob("../../testdata/mistakes/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, cases)
	for _, path := range cases {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(path)
			require.NoError(t, err)
			files := map[string]string{}
			for _, f := range archive.Files {
				if f.Name != "want" {
					files[f.Name] = string(f.Data)
				}
			}
			tree, err := loadtest.Load("/house", files)
			require.NoError(t, err)
			for _, p := range tree.Packages {
				_, found := check.Packages(tree.Fset, []*load.Package{p})
				reported := analyze(t, tree, p)
				require.Len(t, reported, len(found))
				for i, d := range found {
					require.Equal(t, d.At, tree.Fset.Position(reported[i].Pos))
					require.True(t, reported[i].End >= reported[i].Pos)
					require.Contains(t, reported[i].Message, d.Message)
					require.Contains(t, reported[i].Message, d.Fix)
					require.Len(t, reported[i].SuggestedFixes, min(1, len(d.Edits)))
					places := slices.DeleteFunc(slices.Clone(d.Notes), func(n diag.Note) bool { return !n.Pos.IsValid() })
					require.Len(t, reported[i].Related, len(places))
				}
			}
		})
	}
}

// TestGeneratedFilesAreNotDeclarations runs the analyzer on generated packages,
// which repeat the struct of a declaration.
func TestGeneratedFilesAreNotDeclarations(t *testing.T) {
	t.Parallel()
	declared, err := os.ReadFile("../../testdata/golden/shop/shop.go")
	require.NoError(t, err)
	tree, err := loadtest.Load("/house", map[string]string{
		"shop/shop.go":          string(declared),
		"shop/mail/mail.gen.go": load.Header + "\n\npackage mail\n\nimport \"github.com/flowc-dev/flowc/dsl\"\n\ntype goGenerateIsDue = struct{ dsl.Job[string, dsl.None] }\n",
		"shop/hand/hand.go":     "package hand\n\nimport \"github.com/flowc-dev/flowc/dsl\"\n\ntype byHand = struct{ dsl.Job[string, dsl.None] }\n",
	})
	require.NoError(t, err)
	told := map[string]int{}
	for _, p := range tree.Packages {
		told[p.Name] = len(analyze(t, tree, p))
	}
	require.Equal(t, map[string]int{"shop": 0, "mail": 0, "hand": 2}, told)
}
