package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/flowtest"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A changing module has the flow of the README, and changes it.
type changing struct {
	dir string
	env []string
}

// newChanging makes the module. The first form of its flow is in a database.
func newChanging(t *testing.T) *changing {
	c := &changing{t.TempDir(), []string{"DATABASE_URL=" + databaseURL(t)}}
	require.NoError(t, writeModule(c.dir, absolute(t, root)))
	require.NoError(t, os.Mkdir(filepath.Join(c.dir, "party"), 0o755))
	require.NoError(t, os.WriteFile(c.declaration(), []byte(read(t, "examples/hello/party/party.go")), 0o644))
	require.Contains(t, c.run(t, "flowc generate ./... && flowc flows upsert ./..."), "created")
	return c
}

func (c *changing) declaration() string { return filepath.Join(c.dir, "party", "party.go") }

// run returns what a line of shell prints. Some end with a status of their own.
func (c *changing) run(t *testing.T, line string) string {
	run := command(t, c.env, "sh", "-c", line)
	run.Dir = c.dir
	out, _ := run.CombinedOutput()
	return string(out)
}

// edit replaces texts in the declaration.
func (c *changing) edit(t *testing.T, edits ...[2]string) {
	source, err := os.ReadFile(c.declaration())
	require.NoError(t, err)
	text := string(source)
	for _, edit := range edits {
		require.Contains(t, text, edit[0])
		text = strings.ReplaceAll(text, edit[0], edit[1])
	}
	require.NoError(t, os.WriteFile(c.declaration(), []byte(text), 0o644))
}

// says returns a check that changes the declaration, and compares what a command prints
// then with a block.
func says(edits ...[2]string) func(*testing.T, block) {
	return func(t *testing.T, b block) {
		c := newChanging(t)
		c.edit(t, edits...)
		line, want, ok := strings.Cut(strings.TrimPrefix(b.text, "$ "), "\n")
		require.True(t, ok)
		require.Equal(t, want, c.run(t, line), "%s", b)
	}
}

// servesBoth returns a check that changes the declaration, pastes the line that generate
// prints then, and compiles a block with what is generated.
func servesBoth(edits ...[2]string) func(*testing.T, block) {
	return func(t *testing.T, b block) {
		c := newChanging(t)
		c.edit(t, edits...)
		line := regexp.MustCompile(`(?m)^\t(type \w+V1 struct .*)$`).FindStringSubmatch(c.run(t, "flowc generate ./..."))
		require.NotNil(t, line)
		c.edit(t, [2]string{"type (\n", line[1] + "\n\ntype (\n"})
		require.Equal(t, "wrote party/greetv1/greetv1.gen.go\n", c.run(t, "flowc generate ./..."))
		program := "package main\n\nimport (\n\t\"example.com/shop/party/greet\"\n\t\"example.com/shop/party/greetv1\"\n" +
			imports("pgxpool. worker.") + ")\n\ntype handlers interface {\n\tgreet.Handlers\n}\n\n" +
			"func serve(_ context.Context, pool *pgxpool.Pool, h handlers) (*worker.Worker, error) {\n" + b.text + "return w, err\n}\n\nfunc main() { _ = serve }\n"
		require.NoError(t, os.WriteFile(filepath.Join(c.dir, "main.go"), []byte(program), 0o644))
		require.Empty(t, c.run(t, "go vet ."))
	}
}

func versionsChecks() []blockCheck {
	shape := [][2]string{
		{"Toast dsl.Step[[]Greeting, Toast]", "Toast dsl.Step[[]Greeting, Toast] `when_exhausted:\"skip\"`"},
		{"dsl.Flow[List, Toast]", "dsl.Flow[List, *Toast]"},
	}
	second := append(shape, [2]string{"`max_attempts:\"3\"", "`version:\"2\" max_attempts:\"3\""})
	return []blockCheck{
		{"Options", "console", says([2]string{"Hello dsl.Map[Guest, Greeting]", "Hello dsl.Map[Guest, Greeting] `max_attempts:\"5\"`"})},
		{"A new shape", "console", says(shape...)},
		{"A new shape", "console", says(second...)},
		{"A new shape", "go", servesBoth(second...)},
		{"A type", "console", says([2]string{"Name string", "Full string"})},
	}
}

// A testFile is made of the blocks of a page.
type testFile struct{ text string }

// add checks that a block, with those before it, is a test file whose tests pass.
func (f *testFile) add(t *testing.T, b block) {
	f.text += b.text + "\n"
	dir := t.TempDir()
	require.NoError(t, writeModule(dir, absolute(t, root)))
	source := "package party_test\n\nimport (\n" + imports(f.text) + ")\n\n" + f.text
	require.NoError(t, os.WriteFile(filepath.Join(dir, "party_test.go"), []byte(source), 0o644))
	test := command(t, []string{"DATABASE_URL=" + databaseURL(t)}, "go", "test", "-v", ".")
	test.Dir = dir
	out, err := test.CombinedOutput()
	require.NoError(t, err, "%s: %s", b, out)
	for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)`).FindAllStringSubmatch(f.text, -1) {
		require.Contains(t, string(out), "--- PASS: "+m[1])
	}
}

func testingChecks() []blockCheck {
	f := new(testFile)
	collect := func(_ *testing.T, b block) { f.text += b.text + "\n" } // the last block runs them all
	return []blockCheck{
		{"Handlers alone", "go", collect},
		{"Inline", "go", collect},
		{"A database", "go", collect},
		{"Ticks of a schedule", "go", f.add},
	}
}

// TestInlineCannot holds what the page says that an inline database cannot do.
func TestInlineCannot(t *testing.T) {
	t.Parallel()
	def := spec.Flow{Slug: "one", Steps: []spec.Step{{Slug: "one"}}}
	db := flowtest.Inline(handler.Serve(def, []handler.Handler{
		handler.HandleValues("one", func(context.Context, handler.Values) (any, error) { return 1, nil }),
	}))
	run, err := runtime.StartFlow(t.Context(), db, "one", nil)
	require.NoError(t, err)
	for name, call := range map[string]func() error{
		"list":       func() error { _, err := ops.ListRuns(t.Context(), db, ops.RunFilter{}); return err },
		"pause":      func() error { _, err := ops.PauseFlow(t.Context(), db, "one", ""); return err },
		"reschedule": func() error { return runtime.RescheduleRun(t.Context(), db, run.ID(), time.Now()) },
		"delete":     func() error { _, err := runtime.DeleteFlow(t.Context(), db, "one"); return err },
	} {
		require.ErrorIs(t, call(), runtime.ErrNeedsEngine, name)
	}
	require.ErrorIs(t, runtime.RetryRun(t.Context(), db, run.ID()), runtime.ErrWrongStatus)
	require.ErrorIs(t, runtime.CancelRun(t.Context(), db, run.ID(), ""), runtime.ErrWrongStatus)
	existed, err := runtime.DeleteRun(t.Context(), db, run.ID())
	require.NoError(t, err)
	require.True(t, existed)
}
