package gen

import (
	"fmt"
	"go/token"
	"go/types"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/gen/internal/check"
	"github.com/flowc-dev/flowc/gen/internal/emit"
	"github.com/flowc-dev/flowc/gen/internal/loadtest"
)

// compiles generates from files and compiles what comes out.
func compiles(t *testing.T, files map[string]string) (sources string) {
	t.Helper()
	tree, err := loadtest.Load(root, files)
	require.NoError(t, err)
	for _, p := range tree.Packages {
		require.Empty(t, p.Problems)
	}
	flows, found := check.Packages(tree.Fset, tree.Packages)
	require.Empty(t, texts(found, files))
	require.NotEmpty(t, flows)
	for _, flow := range flows {
		source, err := emit.File(flow)
		require.NoError(t, err)
		require.NoError(t, tree.Compile(flow.Path(), source), "%s", source)
		sources += string(source)
	}
	return sources
}

// usedNames returns names that a generated file uses for itself, or that mean
// something in every file.
func usedNames() []string {
	names := []string{
		"context", "json", "time", "runtime", "dsl",
		"ctx", "db", "in", "ins", "n", "opts", "id", "h", "fn", "delay", "at", "v", "w", "slug", "item", "err",
		"runID", "key", "answer", "filter", "askInput", "SignalDoAsk", "SignalDoAskBy", "WaitingDoAsk",
		"flow", "output", "goGenerateIsDue", "joinInput", "doInput",
		"Slug", "Definition", "Handlers", "Handler", "Serve", "ServeAs",
		"StartDo", "StartDoSync", "StartManyDo", "GetDo", "UpsertDo", "DeleteDo", "DoExists",
		"EnqueueMail", "EnqueueMailIn", "EnqueueMailAt", "EnqueueManyMail", "MailExists",
		"do", "mail", "Input", "Order",
	}
	for _, name := range types.Universe.Names() {
		if !token.IsKeyword(name) {
			names = append(names, name)
		}
	}
	return names
}

// TestPackageNames declares flows over the types of packages that have the
// names that generated code uses, and in such packages.
func TestPackageNames(t *testing.T) {
	t.Parallel()
	for _, name := range usedNames() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			value := fmt.Sprintf("package %s\n\ntype Value struct{ A int }\n", name)
			sources := compiles(t, map[string]string{
				"deep/" + name + "/value.go":        value,
				"deep/other/" + name + "/value.go":  value,
				"deep/1-more/" + name + "/value.go": value,
				"declared/" + name + "/flows.go": fmt.Sprintf(`package %[1]s

import (
	"github.com/flowc-dev/flowc/dsl"
	a "example.com/shop/deep/%[1]s"
	b "example.com/shop/deep/other/%[1]s"
	c "example.com/shop/deep/1-more/%[1]s"
)

type DoFlow struct {
	dsl.Flow[a.Value, Result] `+"`timeout:\"1m\"`"+`

	Do   dsl.Step[a.Value, b.Value]
	List dsl.Step[b.Value, []c.Value] `+"`if:\"Do.A == 1\"`"+`
	Each dsl.Map[c.Value, *a.Value]
	Join dsl.Step[JoinInput, dsl.None]
	Ask  dsl.Wait[AskInput, map[string]a.Value] `+"`key:\"Input.A\"`"+`
	Tell dsl.Step[dsl.None, dsl.None] `+"`after:\"Ask\"`"+`
}

type AskInput struct {
	Input a.Value
	Do    b.Value
}

type JoinInput struct {
	Input a.Value
	Do    b.Value
	Each  []*a.Value
}

type Result struct {
	Each []*a.Value
	Do   b.Value
}

type Mailed struct{ OK bool }

type MailJob struct {
	dsl.Job[Mailed, *b.Value] `+"`base_delay:\"1h\" if:\"Input.OK\"`"+`
}
`, name),
			})
			require.Contains(t, sources, "package doflow")
		})
	}
}

// TestStepNames declares flows and steps that have the names that generated
// code uses.
func TestStepNames(t *testing.T) {
	t.Parallel()
	for i, name := range append(usedNames(), "URL", "Url", "Flow", "Job", "StartFlow", "ServeJob", "Type", "Func", "Main", "Test") {
		name = strings.ToUpper(name[:1]) + name[1:]
		if !token.IsExported(name) || name == "Input" || name == "Flow" { // which the embedded dsl.Flow takes
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			compiles(t, map[string]string{"flows/flows.go": fmt.Sprintf(`package flows

import "github.com/flowc-dev/flowc/dsl"

type %[1]s struct {
	dsl.Flow[int, Both] `+"`package:\"p%[2]d\"`"+`

	%[1]s dsl.Step[int, string]
	URL_  dsl.Step[Both, bool]   `+"`slug:\"one\"`"+`
	Url_  dsl.Step[Both, []bool] `+"`slug:\"two\"`"+`
	URLInput_ dsl.Step[Both, float64] `+"`slug:\"three\"`"+`
}

type Both struct {
	Input int
	%[1]s string
}

type Z%[1]sJob struct {
	dsl.Job[dsl.None, dsl.None] `+"`package:\"z%[2]d\" slug:\"z\"`"+`
}
`, name, i)})
		})
	}
}
