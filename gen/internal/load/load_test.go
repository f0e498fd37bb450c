package load

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/go/packages"
)

// TestOneLoad counts the calls of packages.Load and what they are asked for.
// It changes a variable of the package, so it runs alone.
func TestOneLoad(t *testing.T) {
	var asked [][]string
	packagesLoad = func(cfg *packages.Config, patterns ...string) ([]*packages.Package, error) {
		require.Zero(t, cfg.Mode&packages.NeedDeps, "that would read the source of all imports")
		asked = append(asked, patterns)
		return packages.Load(cfg, patterns...)
	}
	t.Cleanup(func() { packagesLoad = packages.Load })

	golden, err := filepath.Abs("../../../testdata/golden")
	require.NoError(t, err)
	result, err := Load(context.Background(), golden, []string{"./shop/...", "./none", "./skips/..."})
	require.NoError(t, err)
	require.Equal(t, [][]string{{"./none", filepath.Join(golden, "shop"), filepath.Join(golden, "skips")}}, asked)

	var names, generated []string
	for _, p := range result.Packages {
		names = append(names, p.Name)
		require.Empty(t, p.Fatal)
		require.Empty(t, p.Problems)
		require.NotEmpty(t, p.Files)
	}
	require.ElementsMatch(t, []string{"none", "shop", "skips"}, names)
	for _, path := range result.Generated {
		generated = append(generated, filepath.Base(path))
	}
	require.Equal(t, "count.gen.go sweep.gen.go tick.gen.go processorder.gen.go sendreceipt.gen.go prunejob.gen.go review.gen.go",
		strings.Join(generated, " "))
}

func TestFind(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write := func(name, source string) {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(source), 0o644))
	}
	declares := "package x\n\nimport \"github.com/flowc-dev/flowc/dsl\"\n"
	write("a/a.go", declares)
	write("a/sub/sub.go", "package sub\n")
	write("a/z.go", declares)
	write("b[1]/b.go", "package b\n\nimport d `github.com/flowc-dev/flowc/dsl`\n")
	write("b[1]/mail/mail.gen.go", Header+"\n\n"+declares)
	write("b[1]/hand/hand.gen.go", "// "+Header+"\n\n"+declares)
	write("c/c_test.go", declares)
	write("c/c.txt", declares)
	for _, skipped := range []string{"_d", ".e", "testdata", "vendor"} {
		write(skipped+"/x.go", declares)
	}
	write("nested/go.mod", "module nested\n")
	write("nested/x.go", declares)

	declaring, generated, err := find(root)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{filepath.Join(root, "a"), filepath.Join(root, "b[1]"), filepath.Join(root, "b[1]/hand")}, declaring)
	require.Equal(t, []string{filepath.Join(root, "b[1]/mail/mail.gen.go")}, generated)
	require.Equal(t, generated, below(filepath.Join(root, "b[1]")))
	require.Empty(t, below(filepath.Join(root, "a")))
}

func TestPosition(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][3]any{
		"a.go:3:4":    {"a.go", 3, 4},
		"a.go:3":      {"a.go", 3, 0},
		"a.go":        {"a.go", 0, 0},
		"-":           {"", 0, 0},
		"":            {"", 0, 0},
		`C:\a.go:3:4`: {`C:\a.go`, 3, 4},
	} {
		at := position(text)
		require.Equal(t, want, [3]any{at.Filename, at.Line, at.Column}, text)
	}
}
