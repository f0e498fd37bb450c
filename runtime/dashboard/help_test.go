package dashboard

import (
	"net/http"
	"os"
	"regexp"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
)

// TestMarkdown holds what is made of each thing that pages of help have.
func TestMarkdown(t *testing.T) {
	t.Parallel()
	pages, err := readHelp(fstest.MapFS{
		"one.md": {Data: []byte("# The first page\n\nSome *text* & `code <x>`,\nsee `flowc help two` or [there](two.md), not [here](../x.go).\n\n## What `it` is: all\n\n" +
			"- one\n  and more\n- two\n\n1. first\n2. **second**\n\n| a | b |\n|---|---|\n| `x\\|y` | <b> |\n\n```go\nif a < b {\n\n```\n\n### Less\n\nA lone ` backtick.\n")},
		"two.md": {Data: []byte("# The second\n\nText.\n")},
	}, "/admin")
	require.NoError(t, err)
	require.Equal(t, []string{"one", "two"}, []string{pages[0].Topic, pages[1].Topic})
	require.Equal(t, "The first page", pages[0].Title)
	require.Equal(t, []helpSection{{"what-it-is-all", "What `it` is: all"}}, pages[0].Sections)
	require.Equal(t, `<p>Some *text* &amp; <code>code &lt;x&gt;</code>, see <a href="/admin/help/two"><code>flowc help two</code></a> or <a href="/admin/help/two">there</a>, not here.</p>
<h2 id="what-it-is-all">What <code>it</code> is: all</h2>
<ul>
<li>one and more</li>
<li>two</li>
</ul>
<ol>
<li>first</li>
<li><b>second</b></li>
</ol>
<div class="card flush"><p class="scroll-note">more to the right</p><div class="scroll-x" tabindex="0" role="group"><table class="table"><tr><th>a</th><th>b</th></tr>
<tr><td><code>x|y</code></td><td>&lt;b&gt;</td></tr>
</table></div></div>
<pre><code>if a &lt; b {

</code></pre>
<h3>Less</h3>
<p>A lone  backtick.</p>
`, string(pages[0].Body))
}

// TestHelp holds that ? leads to the pages that there are, and to none without them.
func TestHelp(t *testing.T) {
	t.Parallel()
	pages := os.DirFS("../../cmd/flowc/help")
	s := newSite(t, Config{Prefix: "/admin", Help: pages})
	require.Contains(t, s.get("/admin/runs"), `<a class="button" href="/admin/help/troubleshoot">What to do when something is wrong</a>`)
	for section, topic := range helpTopics {
		require.NotNil(t, findHelp(s.h.help, topic), section)
	}
	list := s.get("/admin/help")
	for _, p := range s.h.help {
		require.Contains(t, list, "/admin/help/"+p.Topic)
		body := s.get("/admin/help/" + p.Topic)
		require.Empty(t, inline.FindString(body), p.Topic)
		require.NotRegexp(t, "\n#|```|\\*\\*|\\|--", body, p.Topic)
		seen := map[string]bool{}
		for _, section := range p.Sections {
			require.False(t, seen[section.Anchor], section.Anchor)
			seen[section.Anchor] = true
			require.Contains(t, body, `id="`+section.Anchor+`"`)
		}
	}
	s.refused(http.StatusNotFound, "/admin/help/nothing")

	without := newSite(t, Config{})
	require.NotContains(t, without.get("/runs"), "/help")
	without.refused(http.StatusNotFound, "/help")
	without.refused(http.StatusNotFound, "/help/declare")

	_, err := New(new(pgxpool.Pool), Config{Help: os.DirFS("../../cmd/flowc/help/declare.md")})
	require.NoError(t, err, "a folder without pages")
}

// TestTips holds that every status that the help explains has a tooltip, and that pages ask
// for terms that there are.
func TestTips(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../cmd/flowc/help/troubleshoot.md")
	require.NoError(t, err)
	rows := regexp.MustCompile("(?m)^\\| (run|step|task|worker) \\| `([a-z]+)` \\|").FindAllStringSubmatch(string(page), -1)
	require.Len(t, rows, len(runTips)+len(stepTips)+len(taskTips)+len(workerTips))
	for _, row := range rows {
		status := map[string]any{"run": runtime.RunStatus(row[2]), "step": runtime.StepStatus(row[2]), "task": ops.TaskStatus(row[2]), "worker": ops.WorkerStatus(row[2])}[row[1]]
		require.NotEmpty(t, statusTip(status), row[0])
	}
	require.Empty(t, statusTip("replaced"))
	used := map[string]bool{}
	files, err := templateFiles.ReadDir("templates")
	require.NoError(t, err)
	for _, file := range files {
		text, err := templateFiles.ReadFile("templates/" + file.Name())
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`\{\{term "([^"]+)"`).FindAllStringSubmatch(string(text), -1) {
			require.Contains(t, terms, m[1], file.Name())
			used[m[1]] = true
		}
	}
	require.Len(t, used, len(terms), "a term is not used")
	_, err = explain("nothing", "nothing")
	require.Error(t, err)
}
