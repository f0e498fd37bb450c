package main

import (
	"context"
	"encoding/json"
	"go/format"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/flowtest"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A declaring package is what a page declares: the first block is all of it, and the others
// are more declarations in it.
type declaring struct {
	*snippets
	top       string
	generated string // of the last block
}

// generates checks that a block is formatted and generates. It is compiled with the others.
func (d *declaring) generates(t *testing.T, b block) {
	source := b.text
	if d.top == "" {
		d.top = source
	} else {
		source = d.top + "\n" + source
	}
	formatted, err := format.Source([]byte(source))
	require.NoError(t, err, "%s", b)
	require.Equal(t, string(formatted), source, "%s is not formatted", b)
	dir := d.add(t, b, filepath.Join("shop", "shop.go"), source)
	d.run(t, "flowc generate ./"+filepath.Base(dir)+"/...")
	files, err := filepath.Glob(filepath.Join(dir, "shop", "*", "*.gen.go"))
	require.NoError(t, err)
	d.generated = ""
	for _, name := range files {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		d.generated += string(text)
	}
}

// isGenerated checks that the lines of a block are among those that the block before it
// generates.
func (d *declaring) isGenerated(t *testing.T, b block) {
	for line := range strings.Lines(b.text) {
		require.Contains(t, d.generated, line, "%s", b)
	}
}

func declareChecks(w *snippets) []blockCheck {
	d := &declaring{snippets: w}
	const skipped = "What others see of a skipped step"
	return []blockCheck{
		{"How to declare flows", "go", d.generates},
		{"Where a value comes from", "go", d.generates},
		{"Unique runs", "go", d.generates},
		{"Waits", "go", d.generates},
		{"Waits", "go", d.isGenerated},
		{"Limits and turns", "go", d.generates},
		{"Limits and turns", "go", d.generates},
		{"Time", "go", d.generates},
		{"Effects", "go", d.generates},
		{"Effects", "go", d.isGenerated},
		{"Conditions", "text", isInComment("gen/internal/cond/parse.go")},
		{"Conditions", "go", d.generates},
		{skipped, "go", d.generates},
		{skipped, "go", d.isGenerated},
		{"Schedules", "go", d.generates},
	}
}

// TestSkippedSteps holds what the page says that others see of a skipped step, inline and
// in a database.
func TestSkippedSteps(t *testing.T) {
	t.Parallel()
	run := func(t *testing.T, db func(handler.Service) runtime.DB, mode spec.Mode) map[string]string {
		gives := func(step string, out any) handler.Handler {
			return handler.HandleValues(step, func(context.Context, handler.Values) (any, error) { return out, nil })
		}
		def := spec.Flow{Slug: "skipping", Steps: []spec.Step{
			{Slug: "list", If: json.RawMessage(`{"never": true}`), WhenUnmet: mode},
			{Slug: "reads", Deps: []string{"list"}},
			{Slug: "each", Type: spec.TypeMap, Deps: []string{"list"}},
			{Slug: "asks", Deps: []string{"list"}, If: json.RawMessage(`{"list": [1]}`)},
			{Slug: "asks_not", Deps: []string{"list"}, IfNot: json.RawMessage(`{"list": [1]}`)},
			{Slug: "counts", Deps: []string{"each"}},
		}}
		service := handler.Serve(def, []handler.Handler{
			gives("list", []int{1}), gives("each", 1), gives("asks", 1), gives("asks_not", 1),
			handler.Handle("reads", handler.Output[*[]int]("list"), func(_ context.Context, in *[]int) (bool, error) { return in == nil, nil }),
			handler.Handle("counts", handler.Output[[]int]("each"), func(_ context.Context, in []int) (int, error) { return len(in), nil }),
		})
		d := db(service)
		info, err := runtime.StartFlowSync(t.Context(), d, def.Slug, nil)
		require.NoError(t, err)
		info, err = runtime.GetRun(t.Context(), d, info.ID, runtime.WithStates())
		require.NoError(t, err)
		became := map[string]string{}
		for _, s := range info.States {
			became[s.Step] = string(s.Status) + string(s.Output)
		}
		return became
	}
	for name, db := range map[string]func(handler.Service) runtime.DB{
		"inline":   func(s handler.Service) runtime.DB { return flowtest.Inline(s) },
		"database": func(s handler.Service) runtime.DB { return flowtest.Database(t, s) },
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, map[string]string{
				"list": "skipped", "reads": "completedtrue", "each": "completed[]", "asks": "skipped", "asks_not": "completed1", "counts": "completed0",
			}, run(t, db, spec.ModeSkip))
			require.Equal(t, map[string]string{
				"list": "skipped", "reads": "skipped", "each": "skipped", "asks": "skipped", "asks_not": "skipped", "counts": "skipped",
			}, run(t, db, spec.ModeSkipCascade))
		})
	}
}
