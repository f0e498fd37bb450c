package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

// root is where the repository is, seen from here.
const root = "../.."

// A block is what stands between two fences in a document.
type block struct {
	document string
	line     int
	section  string // the heading before it
	language string
	text     string
}

func (b block) String() string { return fmt.Sprintf("%s:%d", b.document, b.line) }

// TestDocuments does what the README says: every block in it is run, compiled or
// compared with what it shows, in the order in which they come.
func TestDocuments(t *testing.T) {
	t.Parallel()
	own, w := newOwnModule(t), newSnippets(t)
	checkBlocks(t, "README.md", []blockCheck{
		{"flowc", "go", isPartOf("examples/orders/shop/shop.go")},
		{"flowc", "go", w.compiles("pool *pgxpool.Pool, tx pgx.Tx, order shop.Order")},
		{"The smallest program", "go", is("examples/hello/party/party.go")},
		{"The smallest program", "text", isInComment("examples/hello/party/greet/greet.gen.go")},
		{"The smallest program", "go", is("examples/hello/main.go")},
		{"The smallest program", "console", answers},
		{"Try it", "sh", isInMakefile},
		{"Try it", "text", isOutputOf("make", "demo")},
		{"Your own module", "sh", own.runNew},
		{"In a module that you have", "sh", own.run},
		{"In a module that you have", "sh", own.runTheRest},
		{"Declaring", "text", isSaidOfMistake},
		{"Starting and waiting", "go", w.compiles("db *pgxpool.Pool, order shop.Order")},
		{"Working", "go", w.compiles("pool *pgxpool.Pool, handlers *fulfil.Handlers")},
		{"Testing", "go", w.compiles("fakes processorder.Handlers, order shop.Order")},
		{"The command", "console", answers},
	})
	t.Run("build", w.build)
	for _, other := range []string{"CHANGELOG.md", ".github/CONTRIBUTING.md", ".github/SECURITY.md"} {
		require.Empty(t, readBlocks(t, other), "nothing checks the blocks of %s", other)
	}
}

// A blockCheck checks a block, which stands in a section and is in a language.
type blockCheck struct {
	section, language string
	check             func(t *testing.T, b block)
}

// checkBlocks checks the blocks of a document in the order in which they come. One that
// nothing checks fails, and so does a check without its block.
func checkBlocks(t *testing.T, document string, checks []blockCheck) {
	t.Helper()
	blocks := readBlocks(t, document)
	for i, b := range blocks {
		require.Less(t, i, len(checks), "%s: nothing checks this block", b)
		c := checks[i]
		require.Equal(t, []string{c.section, c.language}, []string{b.section, b.language}, "%s: nothing checks this block", b)
		t.Run(fmt.Sprintf("line %d", b.line), func(t *testing.T) { c.check(t, b) })
	}
	require.Len(t, blocks, len(checks), "%s has fewer blocks than are checked", document)
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	require.NoError(t, err)
	return string(text)
}

func readBlocks(t *testing.T, document string) []block {
	t.Helper()
	var all []block
	var open *block
	section := ""
	lines := bufio.NewScanner(strings.NewReader(read(t, document)))
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		fence, isFence := strings.CutPrefix(line, "```")
		switch {
		case isFence && open == nil:
			open = &block{document: document, line: n, section: section, language: fence}
		case isFence:
			all = append(all, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		case strings.HasPrefix(line, "#"):
			section = strings.TrimLeft(line, "# ")
		}
	}
	require.Nil(t, open, "a fence is not closed")
	return all
}

func is(path string) func(*testing.T, block) {
	return func(t *testing.T, b block) { require.Equal(t, read(t, path), b.text) }
}

func isPartOf(path string) func(*testing.T, block) {
	return func(t *testing.T, b block) { require.Contains(t, read(t, path), b.text) }
}

func isInComment(path string) func(*testing.T, block) {
	return func(t *testing.T, b block) {
		comment := "//\t" + strings.ReplaceAll(strings.TrimSpace(b.text), "\n", "\n//\t") + "\n"
		require.Contains(t, read(t, path), comment)
	}
}

// isInMakefile checks that each line is a make of a target that there is.
func isInMakefile(t *testing.T, b block) {
	for _, line := range strings.Split(strings.TrimSpace(b.text), "\n") {
		out, err := command(t, nil, "sh", "-c", line+" --dry-run").CombinedOutput()
		require.NoError(t, err, "%s: %s", line, out)
	}
}

// snippets is a module in which blocks are compiled, each a package of its own: all at once,
// since one build of many packages takes hardly longer than that of one.
type snippets struct{ dir string }

func newSnippets(t *testing.T) *snippets {
	t.Helper()
	w := &snippets{t.TempDir()}
	require.NoError(t, writeModule(w.dir, absolute(t, root)))
	return w
}

// add adds the file of a block, and returns its folder, which tells where the block is.
func (w *snippets) add(t *testing.T, b block, name, source string) string {
	t.Helper()
	document := strings.TrimSuffix(filepath.Base(b.document), ".md")
	dir := filepath.Join(w.dir, fmt.Sprintf("%s_line_%d", document, b.line))
	path := filepath.Join(dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(source), 0o644))
	return dir
}

// build compiles what has been added.
func (w *snippets) build(t *testing.T) { w.run(t, "go build ./...") }

// run runs a line of shell in the module.
func (w *snippets) run(t *testing.T, line string) {
	t.Helper()
	run := command(t, nil, "sh", "-c", line)
	run.Dir = w.dir
	out, err := run.CombinedOutput()
	require.NoError(t, err, "%s: %s", line, out)
}

// compiles adds lines of Go, inside of a function with these parameters.
func (w *snippets) compiles(parameters string) func(*testing.T, block) {
	return func(t *testing.T, b block) {
		use := ""
		for _, m := range regexp.MustCompile(`(?m)^(\w+), err :=`).FindAllStringSubmatch(b.text, -1) {
			use += "_ = " + m[1] + "\n"
		}
		w.add(t, b, "snippet.go", "package shop\n\nimport (\n"+imports(b.text+parameters)+")\n\nfunc _(ctx context.Context, "+parameters+") error {\n"+
			b.text+use+"return err\n}\n")
	}
}

// imports returns the packages that a snippet names.
func imports(text string) string {
	list := "\t\"context\"\n"
	for name, path := range map[string]string{
		"errors": "errors", "fmt": "fmt", "http": "net/http", "log": "log", "strings": "strings", "testing": "testing", "time": "time", "runtime": "github.com/flowc-dev/flowc/runtime",
		"handler": "github.com/flowc-dev/flowc/runtime/handler", "spec": "github.com/flowc-dev/flowc/runtime/spec",
		"album": "github.com/flowc-dev/flowc/examples/web/album", "processphoto": "github.com/flowc-dev/flowc/examples/web/album/processphoto",
		"party": "github.com/flowc-dev/flowc/examples/hello/party", "greet": "github.com/flowc-dev/flowc/examples/hello/party/greet",
		"pgx": "github.com/jackc/pgx/v5", "pgxpool": "github.com/jackc/pgx/v5/pgxpool", "worker": "github.com/flowc-dev/flowc/runtime/worker",
		"expenses": "github.com/flowc-dev/flowc/examples/approval/expenses", "payclaim": "github.com/flowc-dev/flowc/examples/approval/expenses/payclaim",
		"flowtest": "github.com/flowc-dev/flowc/runtime/flowtest", "shards": "github.com/flowc-dev/flowc/runtime/shards",
		"shop": "github.com/flowc-dev/flowc/examples/orders/shop", "fulfil": "github.com/flowc-dev/flowc/examples/orders/fulfil",
		"processorder": "github.com/flowc-dev/flowc/examples/orders/shop/processorder", "sendreceipt": "github.com/flowc-dev/flowc/examples/orders/shop/sendreceipt",
	} {
		code := regexp.MustCompile(`//.*`).ReplaceAllString(text, "")
		if regexp.MustCompile(`\b` + name + `\.`).MatchString(code) {
			list += fmt.Sprintf("\t%q\n", path)
		}
	}
	return list
}

// isOutputOf runs a program and compares its output, without figures that differ
// each time; a line with an ellipsis stands for any lines.
func isOutputOf(program string, args ...string) func(*testing.T, block) {
	return func(t *testing.T, b block) {
		run := command(t, []string{"DATABASE_URL=" + databaseURL(t)}, program, args...)
		out, err := run.Output()
		require.NoError(t, err, "%s", out)
		rest := masked(string(out))
		for _, part := range strings.Split(masked(b.text), "…\n") {
			_, after, found := strings.Cut(rest, part)
			require.True(t, found, "%s: %s does not print\n%s\nbut\n%s", b, program, part, rest)
			rest = after
		}
		require.Empty(t, strings.TrimSpace(rest))
	}
}

// masks are what differs from one run to the next.
var masks = []struct {
	pattern *regexp.Regexp
	mask    string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`), "<id>"},
	{regexp.MustCompile(`TRK-[0-9A-F]{8}`), "<tracking>"},
	{regexp.MustCompile(`\b(now|\d+[smhd] ago)\b`), "<ago>"},
	{regexp.MustCompile(`\b\d+(\.\d+)?(ms|s|m|h| s)\b`), "<time>"},
	{regexp.MustCompile(` +`), " "},
}

func masked(text string) string {
	for _, m := range masks {
		text = m.pattern.ReplaceAllString(text, m.mask)
	}
	return text
}

// answers runs what comes after a dollar, with a database of the block's own, and
// compares what it prints.
func answers(t *testing.T, b block) {
	env := []string{"DATABASE_URL=" + databaseURL(t)}
	for _, session := range strings.Split("\n"+b.text, "\n$ ")[1:] {
		line, want, _ := strings.Cut(session, "\n")
		run := command(t, env, "sh", "-c", line)
		var faults strings.Builder
		run.Stderr = &faults
		out, err := run.Output()
		require.NoError(t, err, "%s: %s: %s", b, line, faults.String())
		require.Equal(t, strings.TrimSpace(masked(want)), strings.TrimSpace(masked(string(out))), "%s: %s", b, line)
	}
}

// isSaidOfMistake checks what flowc says of the mistake that the block is about, in
// a copy of the shop.
func isSaidOfMistake(t *testing.T, b block) {
	dir := t.TempDir()
	require.NoError(t, writeModule(dir, absolute(t, root)))
	shop := strings.Replace(read(t, "examples/orders/shop/shop.go"), "`max_attempts:\"5\"", "`max_atempts:\"5\"", 1)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "examples/orders/shop"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "examples/orders/shop/shop.go"), []byte(shop), 0o644))
	vet := command(t, nil, "flowc", "vet", "./...")
	vet.Dir = dir
	out, err := vet.CombinedOutput()
	require.Error(t, err)
	require.Equal(t, b.text, string(out))
}

// An ownModule is the folder of somebody who follows the README.
type ownModule struct{ dir string }

// newOwnModule creates an empty folder beside a clone of this repository.
func newOwnModule(t *testing.T) *ownModule {
	t.Helper()
	parent := t.TempDir()
	require.NoError(t, os.Symlink(absolute(t, root), filepath.Join(parent, "flowc")))
	dir := filepath.Join(parent, "hello")
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module example.com/hello\n\ngo 1.25.0\n"), 0o644))
	return &ownModule{dir}
}

// runNew runs lines that make a module beside the clone, in the clone.
func (m *ownModule) runNew(t *testing.T, b block) {
	b.text = strings.ReplaceAll(b.text, "../weather", filepath.Join(filepath.Dir(m.dir), "weather"))
	clone := &ownModule{absolute(t, root)}
	require.Contains(t, clone.output(t, b), "Lisbon is the warmest: 16 degrees\n")
}

// run runs lines of shell in the folder, and gives what they print.
func (m *ownModule) run(t *testing.T, b block) { m.output(t, b) }

func (m *ownModule) output(t *testing.T, b block) string {
	t.Helper()
	run := command(t, []string{"GOFLAGS=", "DATABASE_URL=" + databaseURL(t)}, "sh", "-ec", b.text)
	run.Dir = m.dir
	var faults strings.Builder
	run.Stderr = &faults
	out, err := run.Output()
	require.NoError(t, err, "%s: %s", b, faults.String())
	return string(out)
}

// runTheRest puts the files of the example there first, as the README says.
func (m *ownModule) runTheRest(t *testing.T, b block) {
	for path, name := range map[string]string{"examples/hello/party/party.go": "party/party.go", "examples/hello/main.go": "main.go"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(m.dir, name)), 0o755))
		text := strings.ReplaceAll(read(t, path), "github.com/flowc-dev/flowc/examples/hello", "example.com/hello")
		require.NoError(t, os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o644))
	}
	require.Equal(t, "wrote greet/greet.gen.go\nhello earth, hello moon, hello sun\n", m.output(t, b))
}

func databaseURL(t *testing.T) string {
	t.Helper()
	url, err := createDatabase(t.Context(), true)
	require.NoError(t, err)
	return url
}

// command returns a program that runs at the root of the repository.
func command(t *testing.T, env []string, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "MAKELEVEL=", "MAKEFLAGS=") // make says more where make runs the tests
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	require.NoError(t, err)
	return path
}

// TestDocumentsNameCommands holds that commands which documents name are there, with
// their flags, and that the README names them all.
func TestDocumentsNameCommands(t *testing.T) {
	t.Parallel()
	named := map[string]bool{}
	words := regexp.MustCompile("`(?:go tool )?flowc ([^`]+)`")
	documents := []string{"README.md", "CHANGELOG.md", ".github/CONTRIBUTING.md", ".github/SECURITY.md"}
	for _, p := range helpPages() {
		documents = append(documents, "cmd/flowc/help/"+p.topic+".md")
	}
	for _, document := range documents {
		text := read(t, document)
		for _, m := range words.FindAllStringSubmatch(text, -1) {
			checkCommand(t, document, strings.Fields(m[1]))
		}
	}
	readme := read(t, "README.md")
	table := readme[strings.Index(readme, "| command | does |"):]
	table = table[:strings.Index(table, "\n\n")]
	for _, row := range strings.Split(table, "\n")[2:] {
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(strings.Split(row, " | ")[0], -1) {
			all := strings.Fields(m[1])
			named[all[0]] = true
			if len(all) > 1 && strings.Contains(all[1], `\|`) {
				for _, sub := range strings.Split(all[1], `\|`) {
					checkCommand(t, "README.md", []string{all[0], sub})
					named[all[0]+" "+sub] = true
				}
				continue
			}
			checkCommand(t, "README.md", all)
		}
	}
	for _, cmd := range newRoot().Commands() {
		if cmd.GroupID == "" {
			continue // help, completion, version
		}
		require.True(t, named[cmd.Name()], "the README does not name flowc %s", cmd.Name())
		for _, sub := range cmd.Commands() {
			require.True(t, named[cmd.Name()+" "+sub.Name()], "the README does not name flowc %s %s", cmd.Name(), sub.Name())
		}
	}
}

// TestDocumentsLinkToPages holds that the README leads to every page of help.
func TestDocumentsLinkToPages(t *testing.T) {
	t.Parallel()
	readme := read(t, "README.md")
	for _, p := range helpPages() {
		require.Contains(t, readme, "["+p.topic+"](cmd/flowc/help/"+p.topic+".md)")
	}
}

// checkCommand checks that there is a command with these flags.
func checkCommand(t *testing.T, document string, args []string) {
	t.Helper()
	if args[0] == "completion" {
		return
	}
	if args[0] == "help" {
		require.Zero(t, run(args, nil, io.Discard, io.Discard), "%s: flowc %s", document, strings.Join(args, " "))
		return
	}
	cmd, rest, err := newRoot().Find(args)
	require.NoError(t, err, "%s: flowc %s", document, strings.Join(args, " "))
	require.NotEqual(t, "flowc", cmd.Name(), "%s: flowc %s", document, strings.Join(args, " "))
	for _, word := range rest {
		if name, ok := strings.CutPrefix(strings.Trim(word, "[]"), "--"); ok && name != "" {
			require.True(t, hasFlag(cmd, name), "%s: flowc %s has no flag --%s", document, cmd.Name(), name)
		}
	}
}

func hasFlag(cmd *cobra.Command, name string) bool {
	found := false
	cmd.Flags().VisitAll(func(f *pflag.Flag) { found = found || f.Name == name })
	return found
}

// TestDocumentsNameTargets holds that the targets of make which documents name are
// there, and that CONTRIBUTING names them all.
func TestDocumentsNameTargets(t *testing.T) {
	t.Parallel()
	targets := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z-]+):.*## `).FindAllStringSubmatch(read(t, "Makefile"), -1) {
		targets[m[1]] = true
	}
	named := map[string]bool{}
	for _, document := range []string{"README.md", "CHANGELOG.md", ".github/CONTRIBUTING.md", ".github/ARCHITECTURE.md", ".github/SECURITY.md"} {
		for _, m := range regexp.MustCompile("`make ([a-z-]+)").FindAllStringSubmatch(read(t, document), -1) {
			require.True(t, targets[m[1]], "%s: there is no make %s", document, m[1])
			named[m[1]] = true
		}
	}
	for target := range targets {
		require.True(t, named[target] || target == "help", "no document names make %s", target)
	}
}

// TestDocumentsLinkToFiles holds that what documents link to in this repository is there,
// and that the README has every example and every folder.
func TestDocumentsLinkToFiles(t *testing.T) {
	t.Parallel()
	documents := []string{"README.md", "CHANGELOG.md", ".github/CONTRIBUTING.md", ".github/ARCHITECTURE.md", ".github/SECURITY.md"}
	for _, p := range helpPages() {
		documents = append(documents, "cmd/flowc/help/"+p.topic+".md")
	}
	for _, document := range documents {
		links := regexp.MustCompile(`\]\(([^)#:]+)\)|src="([^":]+)"`).FindAllStringSubmatch(read(t, document), -1)
		for _, m := range links {
			_, err := os.Stat(filepath.Join(root, filepath.Dir(document), m[1]+m[2]))
			require.NoError(t, err, document)
		}
	}
	readme := read(t, "README.md")
	examples, err := os.ReadDir(filepath.Join(root, "examples"))
	require.NoError(t, err)
	for _, example := range examples {
		require.Contains(t, readme, "`go run ./examples/"+example.Name()+"`")
	}
	for _, m := range regexp.MustCompile("(?m)^\\| (`[a-z/]+`(?:, `[a-z/]+`)*) \\|").FindAllStringSubmatch(readme[strings.Index(readme, "## Where things are"):], -1) {
		for _, folder := range strings.Split(m[1], ", ") {
			info, err := os.Stat(filepath.Join(root, strings.Trim(folder, "`")))
			require.NoError(t, err)
			require.True(t, info.IsDir())
		}
	}
}

// TestPictureOfGraph holds that the picture in the README is what flowc draws.
func TestPictureOfGraph(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	out, err := command(t, nil, "flowc", "graph", "--format", "svg", "--dir", dir, "--flow", "ProcessOrder", "./examples/orders/shop").CombinedOutput()
	require.NoError(t, err, "%s", out)
	drawn, err := os.ReadFile(filepath.Join(dir, "process_order.svg"))
	require.NoError(t, err)
	require.Equal(t, string(drawn), read(t, "examples/orders/process_order.svg"), "draw it again: go run ./cmd/flowc graph --format svg --dir examples/orders --flow ProcessOrder ./examples/orders/shop")
}
