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
	result, err := Load(context.Background(), Query{Dir: golden, Patterns: []string{"./shop/...", "./none", "./skips/..."}})
	require.NoError(t, err)
	require.Equal(t, [][]string{{filepath.Join(golden, "none"), filepath.Join(golden, "shop"), filepath.Join(golden, "skips")}}, asked)

	var names, generated []string
	for _, p := range result.Packages {
		names = append(names, p.Name)
		require.Empty(t, p.Fatal)
		require.Empty(t, p.Problems)
		require.NotEmpty(t, p.Files)
	}
	require.ElementsMatch(t, []string{"none", "shop", "skips"}, names)
	for _, file := range result.Generated {
		generated = append(generated, filepath.Base(file.Path))
		require.NotNil(t, file.Declaring)
	}
	require.Equal(t, "count.gen.go sweep.gen.go tick.gen.go processorder.gen.go sendreceipt.gen.go prunejob.gen.go review.gen.go",
		strings.Join(generated, " "))
}

// write writes the files of a test.
func write(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, source := range files {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(source), 0o644))
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	const declares = "package x\n\nimport \"github.com/flowc-dev/flowc/dsl\"\n"
	root := t.TempDir()
	write(t, root, map[string]string{
		"go.mod":              "module example.com/m\n\ngo 1.25\n\nignore ./ignored\n",
		"a/a.go":              declares,
		"a/sub/sub.go":        "package sub\n",
		"a/z.go":              declares,
		"b/b.go":              "package b\n\nimport d `github.com/flowc-dev/flowc/dsl`\n",
		"b/mail/mail.gen.go":  Header + "\n\n" + declares,
		"b/hand/hand.gen.go":  "// " + Header + "\n\n" + declares,
		"b/_old/old.gen.go":   Header + "\n\npackage old\n",
		"b/testdata/x.gen.go": Header + "\n\npackage x\n",
		"b/other/go.mod":      "module other\n",
		"b/other/x.gen.go":    Header + "\n\npackage x\n",
		"c/c.go":              "package c\n",
		"c/c_test.go":         strings.Replace(declares, "package x", "package c", 1),
		"c/c.txt":             declares,
		"d/d.go":              strings.Replace(declares, "flowc/dsl", "flowc/dls", 1),
		"e/e.go":              "package e\n\nimport _ \"github.com/flowc-dev/flowc/gen\"\n",
		"f/f.go":              "//go:build never\n\n" + declares,
		"f/g.go":              "package x\n",
		"_h/x.go":             declares,
		".i/x.go":             declares,
		"testdata/x.go":       declares,
		"vendor/x/x.go":       declares,
		"ignored/x/x.go":      declares,
		"nested/go.mod":       "module nested\n",
		"nested/x.go":         declares,
	})
	found, err := list(t.Context(), Query{Dir: root}, []string{"./...", "./c"})
	require.NoError(t, err)
	var declaring, named, all []string
	for _, f := range found {
		name, _ := filepath.Rel(root, f.Dir)
		all = append(all, name)
		if f.declares() {
			declaring = append(declaring, name)
		}
		if f.named() {
			named = append(named, name)
		}
		switch name {
		case "b/mail":
			require.Equal(t, []string{filepath.Join(root, "b/mail/mail.gen.go")}, f.own())
		case "c":
			require.Equal(t, []string{filepath.Join(root, "c/c_test.go")}, f.inTests())
		case "f":
			require.Equal(t, []string{filepath.Join(root, "f/f.go")}, f.leftOut())
		default:
			require.Empty(t, f.own(), name)
			require.Empty(t, f.inTests(), name)
			require.Empty(t, f.leftOut(), name)
		}
	}
	require.ElementsMatch(t, []string{"a", "a/sub", "b", "b/mail", "b/hand", "c", "d", "e", "f"}, all)
	require.ElementsMatch(t, []string{"a", "b", "b/hand", "d"}, declaring)
	require.Equal(t, []string{"c"}, named)
	require.Equal(t, []string{filepath.Join(root, "b/mail/mail.gen.go")}, below(filepath.Join(root, "b")))
	require.Empty(t, below(filepath.Join(root, "a")))
}

func TestMeansDSL(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]bool{
		"github.com/flowc-dev/flowc/dsl":     true,
		"github.com/flowc-dev/flowc/dls":     true,
		"github.com/flowc-dev/flowc/DSL":     true,
		"github.com/flow-dev/flowc/dsl":      true,
		"github.com/somebody/flowc/dsl":      true,
		"github.com/flowc-dev/flowc":         true,
		"github.com/flowc-dev/flowc/gen":     false,
		"github.com/flowc-dev/flowc/runtime": false,
		"example.com/dsl":                    false,
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, want, MeansDSL(path))
		})
	}
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
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			at := position(text)
			require.Equal(t, want, [3]any{at.Filename, at.Line, at.Column})
		})
	}
}
