package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// says returns a check that applies edits to the flow of the README, whose first form is in
// a database, and compares what a command prints then with a block.
func says(edits ...[2]string) func(*testing.T, block) {
	return func(t *testing.T, b block) {
		dir := t.TempDir()
		require.NoError(t, writeModule(dir, absolute(t, root)))
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "party"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "party", "party.go"), []byte(read(t, "examples/hello/party/party.go")), 0o644))
		env := []string{"DATABASE_URL=" + databaseURL(t)}
		flowc := func(line string) string {
			run := command(t, env, "sh", "-c", line)
			run.Dir = dir
			out, _ := run.CombinedOutput() // some end with a status of their own
			return string(out)
		}
		require.Contains(t, flowc("flowc generate ./... && flowc flows upsert ./..."), "created")
		name := filepath.Join(dir, "party", "party.go")
		for _, edit := range edits {
			source, err := os.ReadFile(name)
			require.NoError(t, err)
			require.Contains(t, string(source), edit[0])
			require.NoError(t, os.WriteFile(name, []byte(strings.ReplaceAll(string(source), edit[0], edit[1])), 0o644))
		}
		line, want, ok := strings.Cut(strings.TrimPrefix(b.text, "$ "), "\n")
		require.True(t, ok)
		require.Equal(t, want, flowc(line), "%s", b)
	}
}

func versionsChecks() []blockCheck {
	shape := [][2]string{
		{"Toast dsl.Step[[]Greeting, Toast]", "Toast dsl.Step[[]Greeting, Toast] `when_exhausted:\"skip\"`"},
		{"dsl.Flow[List, Toast]", "dsl.Flow[List, *Toast]"},
	}
	return []blockCheck{
		{"Options", "console", says([2]string{"Hello dsl.Map[Guest, Greeting]", "Hello dsl.Map[Guest, Greeting] `max_attempts:\"5\"`"})},
		{"A new shape", "console", says(shape...)},
		{"A new shape", "console", says(append(shape, [2]string{"`max_attempts:\"3\"", "`version:\"2\" max_attempts:\"3\""})...)},
		{"A new shape", "go", func(t *testing.T, b block) {
			b.text = strings.ReplaceAll(b.text, "greetv1", "greet") // as they are generated alike
			compiles("pool *pgxpool.Pool, h greet.Handlers")(t, b)
		}},
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
