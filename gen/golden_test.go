package gen

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/gen/internal/check"
	"github.com/flowc-dev/flowc/gen/internal/emit"
	"github.com/flowc-dev/flowc/gen/internal/load"
	"github.com/flowc-dev/flowc/gen/internal/loadtest"
	"github.com/flowc-dev/flowc/gen/internal/model"
)

const golden = "../testdata/golden"

// TestGolden checks the generated packages that are kept in the repository.
func TestGolden(t *testing.T) {
	t.Parallel()
	result, err := Generate(context.Background(), Options{Dir: golden, Patterns: []string{"./..."}, SQL: "sql", Check: !*update})
	require.NoError(t, err)
	require.Equal(t, 35, result.Flows)
}

// TestGoldenVet has the go command compile and vet what is generated.
func TestGoldenVet(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it builds packages")
	}
	vet := exec.Command("go", "vet", "./...")
	vet.Dir = golden
	out, err := vet.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// goldenFiles returns the declarations of the golden packages.
func goldenFiles(t *testing.T) map[string]string {
	files := map[string]string{}
	err := filepath.WalkDir(golden, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasSuffix(path, load.GeneratedSuffix) || filepath.Ext(path) != ".go" {
			return err
		}
		source, err := os.ReadFile(path)
		name, _ := filepath.Rel(golden, path)
		files[name] = strings.ReplaceAll(string(source), "github.com/flowc-dev/flowc/testdata/golden", loadtest.Module)
		return err
	})
	require.NoError(t, err)
	return files
}

// generate generates from files in memory, by import path.
func generate(t *testing.T, files map[string]string) (*loadtest.Tree, []*model.Flow, map[string]string) {
	t.Helper()
	tree, err := loadtest.Load(root, files)
	require.NoError(t, err)
	flows, found := check.Packages(tree.Fset, tree.Packages)
	require.Empty(t, texts(found, files))
	sources := map[string]string{}
	for _, flow := range flows {
		source, err := emit.File(flow)
		require.NoError(t, err)
		sources[flow.Path()] = string(source)
	}
	return tree, flows, sources
}

// TestDeterminism loads, checks and emits again and again.
func TestDeterminism(t *testing.T) {
	t.Parallel()
	files := goldenFiles(t)
	_, _, first := generate(t, files)
	require.Len(t, first, 35)
	for range 9 {
		_, flows, again := generate(t, files)
		require.Equal(t, first, again)
		source, err := emit.File(flows[0]) // and emitting changes nothing in the model
		require.NoError(t, err)
		require.Equal(t, first[flows[0].Path()], string(source))
	}
}

// TestOutputSaysNothingOfItsMaking: no place, no date, no version.
func TestOutputSaysNothingOfItsMaking(t *testing.T) {
	t.Parallel()
	_, _, sources := generate(t, goldenFiles(t))
	for path, source := range sources {
		require.True(t, strings.HasPrefix(source, load.Header+"\n\n// Package "), path)
		require.NotContains(t, source, root, path)
		require.NotContains(t, source, "v0.", path)
	}
}

// shopFiles returns the declarations of the golden shop.
func shopFiles(t *testing.T) map[string]string {
	return map[string]string{"shop/shop.go": goldenFiles(t)["shop/shop.go"]}
}

// TestStaleCodeDoesNotCompile changes a declaration and compiles what was
// generated from it before.
func TestStaleCodeDoesNotCompile(t *testing.T) {
	t.Parallel()
	_, _, before := generate(t, shopFiles(t))
	for name, change := range map[string][2]string{
		"option":      {`max_attempts:"5"`, `max_attempts:"6"`},
		"renamed":     {"Validate dsl.Step", "Verify dsl.Step"},
		"added":       {"// Lines lists", "Count dsl.Step[Checked, int]\n\t// Lines lists"},
		"removed":     {"Pack dsl.Map[Line, Parcel]", ""},
		"type":        {"Charge dsl.Step[Checked, Receipt]", "Charge dsl.Step[Checked, *Receipt]"},
		"single":      {"Pack dsl.Map[Line, Parcel]", "Pack dsl.Step[Line, Parcel]"},
		"order":       {"Lines dsl.Step[Checked, []Line]", "Z dsl.Step[Checked, []Line]"},
		"condition":   {"Validate.NotifyByMail", "Validate.Other"},
		"join":        {"Charge Receipt", "Charge *Receipt"},
		"flow output": {"dsl.Flow[Order, Shipment]", "dsl.Flow[Order, Receipt]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := shopFiles(t)
			changed := strings.Replace(files["shop/shop.go"], change[0], change[1], 1)
			require.NotEqual(t, files["shop/shop.go"], changed)
			files["shop/shop.go"] = changed
			tree, err := loadtest.Load(root, files)
			require.NoError(t, err)
			err = tree.Compile("example.com/shop/shop/processorder", []byte(before["example.com/shop/shop/processorder"]))
			require.Error(t, err)
			if name != "join" {
				require.ErrorContains(t, err, "goGenerateIsDue")
			}
		})
	}
}

// TestHandlersAreChecked compiles handlers that do not fit.
func TestHandlersAreChecked(t *testing.T) {
	t.Parallel()
	const good = `package work

import (
	"context"

	"example.com/shop/shop"
	"example.com/shop/shop/processorder"
	"github.com/flowc-dev/flowc/runtime/handler"
)

type handlers struct{}

func (handlers) Validate(context.Context, shop.Order) (c shop.Checked, err error)   { return }
func (handlers) Lines(context.Context, shop.Checked) (l []shop.Line, err error)     { return }
func (handlers) Charge(context.Context, shop.Checked) (r shop.Receipt, err error)   { return }
func (handlers) Pack(context.Context, shop.Line) (p shop.Parcel, err error)         { return }
func (handlers) Ship(context.Context, shop.ShipInput) (s shop.Shipment, err error)  { return }
func (handlers) Notify(context.Context, shop.NotifyInput) error                     { return nil }

func Service() handler.Service { return processorder.Serve(handlers{}) }
`
	compile := func(source string) error {
		tree, _, sources := generate(t, shopFiles(t))
		const generated = "example.com/shop/shop/processorder"
		require.NoError(t, tree.Compile(generated, []byte(sources[generated])))
		return tree.Compile("example.com/shop/work", []byte(source))
	}
	require.NoError(t, compile(good))
	for said, change := range map[string][2]string{
		"missing method Ship":        {"func (handlers) Ship(", "func (handlers) Send("},
		"wrong type for method Pack": {"Pack(context.Context, shop.Line)", "Pack(context.Context, shop.Order)"},
		"wrong type for method Notify": {"Notify(context.Context, shop.NotifyInput) error                     { return nil }",
			"Notify(context.Context, shop.NotifyInput) (err1, err2 error) { return }"},
	} {
		t.Run(said, func(t *testing.T) {
			require.ErrorContains(t, compile(strings.Replace(good, change[0], change[1], 1)), said)
		})
	}
}

// TestMistakesAreAnError checks what Generate returns for mistakes.
func TestMistakesAreAnError(t *testing.T) {
	t.Parallel()
	tree, err := loadtest.Load(root, map[string]string{"shop/shop.go": "package shop\n\nimport \"github.com/flowc-dev/flowc/dsl\"\n\ntype f struct{ dsl.Job[int, int] }\n"})
	require.NoError(t, err)
	_, found := check.Packages(tree.Fset, tree.Packages)
	var mistakes *MistakesError
	require.True(t, errors.As(mistakesError(found, root), &mistakes))
	require.Len(t, mistakes.Mistakes, 1)
	m := mistakes.Mistakes[0]
	require.Equal(t, []any{"shop/shop.go", 5, 6}, []any{m.File, m.Line, m.Column})
	require.Equal(t, "hidden-flow", m.Code)
	require.Equal(t, m.Text, mistakes.Error())
	require.True(t, strings.HasPrefix(m.Text, "shop/shop.go:5:6: "+m.Message+" [hidden-flow]\n\tfix: "), m.Text)
}
