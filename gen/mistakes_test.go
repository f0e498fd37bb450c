package gen

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"

	"github.com/flowc-dev/flowc/gen/internal/check"
	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/emit"
	"github.com/flowc-dev/flowc/gen/internal/loadtest"
)

var update = flag.Bool("update", false, "rewrite the expectations in testdata")

const (
	mistakes = "../testdata/mistakes"
	root     = "/house" // where the files of a case pretend to be
)

// TestMistakes checks what is printed for each mistake, word for word, that each
// mechanical fix removes that mistake and no other, and that applying all of them
// leaves none.
func TestMistakes(t *testing.T) {
	t.Parallel()
	cases, err := filepath.Glob(mistakes + "/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, cases)
	for _, path := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(path)
			require.NoError(t, err)
			files, want := split(archive)
			tree, err := loadtest.Load(root, files)
			require.NoError(t, err)
			flows, found := check.Packages(tree.Fset, tree.Packages)
			require.NotEmpty(t, found, "nothing is reported")
			require.Empty(t, flows)
			got := texts(found, files)
			if *update {
				writeWant(t, path, archive, got)
			} else {
				require.Equal(t, want, got)
			}
			for i, d := range found {
				if len(d.Edits) > 0 {
					requireMended(t, files, apply(t, tree, files, found[i:i+1]), found, i)
				}
			}
			if mechanical(found) {
				requireGenerates(t, apply(t, tree, files, found))
			}
		})
	}
}

// split takes the sources and the expected text from a case.
func split(archive *txtar.Archive) (files map[string]string, want string) {
	files = map[string]string{}
	for _, f := range archive.Files {
		if f.Name == "want" {
			want = string(f.Data)
		} else {
			files[f.Name] = string(f.Data)
		}
	}
	return files, want
}

// texts returns mistakes as they are printed.
func texts(found []diag.Diagnostic, files map[string]string) string {
	source := func(filename string) []byte { return []byte(files[strings.TrimPrefix(filename, root+"/")]) }
	var b strings.Builder
	for _, d := range found {
		b.WriteString(d.Text(root, source) + "\n")
	}
	return b.String()
}

func writeWant(t *testing.T, path string, archive *txtar.Archive, want string) {
	archive.Files = slices.DeleteFunc(archive.Files, func(f txtar.File) bool { return f.Name == "want" })
	archive.Files = append(archive.Files, txtar.File{Name: "want", Data: []byte(want)})
	require.NoError(t, os.WriteFile(path, txtar.Format(archive), 0o644))
}

// mechanical reports whether every mistake comes with its edits.
func mechanical(found []diag.Diagnostic) bool {
	return !slices.ContainsFunc(found, func(d diag.Diagnostic) bool { return len(d.Edits) == 0 })
}

// apply makes the edits of all mistakes, the last in a file first.
func apply(t *testing.T, tree *loadtest.Tree, files map[string]string, found []diag.Diagnostic) map[string]string {
	fixed := map[string]string{}
	for name, source := range files {
		fixed[name] = source
	}
	var edits []diag.Edit
	for _, d := range found {
		edits = append(edits, d.Edits...)
	}
	slices.SortFunc(edits, func(a, b diag.Edit) int { return int(b.Pos - a.Pos) })
	edits = slices.Compact(edits)
	for _, e := range edits {
		from, to := tree.Fset.PositionFor(e.Pos, false), tree.Fset.PositionFor(e.End, false)
		name, err := filepath.Rel(root, from.Filename)
		require.NoError(t, err)
		fixed[name] = fixed[name][:from.Offset] + e.New + fixed[name][to.Offset:]
	}
	return fixed
}

// requireMended checks that of the mistakes that were found, one is gone and none
// is new.
func requireMended(t *testing.T, files, fixed map[string]string, found []diag.Diagnostic, mended int) {
	t.Helper()
	tree, err := loadtest.Load(root, fixed)
	require.NoError(t, err, "%s", fixed)
	_, left := check.Packages(tree.Fset, tree.Packages)
	var before []string
	for i, d := range found {
		if i != mended {
			before = append(before, d.Message)
		}
	}
	for _, d := range left {
		require.Contains(t, before, d.Message, "%s\nafter the fix of\n%s\n%s",
			texts([]diag.Diagnostic{d}, fixed), texts(found[mended:mended+1], files), fixed)
	}
}

// requireGenerates checks that declarations have no mistake and that what is
// generated from them compiles.
func requireGenerates(t *testing.T, files map[string]string) {
	t.Helper()
	tree, err := loadtest.Load(root, files)
	require.NoError(t, err)
	flows, found := check.Packages(tree.Fset, tree.Packages)
	require.Empty(t, texts(found, files), "%s", files)
	require.NotEmpty(t, flows)
	for _, flow := range flows {
		source, err := emit.File(flow)
		require.NoError(t, err)
		require.NoError(t, tree.Compile(flow.Path(), source), "%s", source)
	}
}
