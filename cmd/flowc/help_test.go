package main

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// TestHelpPages holds that every topic is listed and printed, and that every section
// can be asked for by a heading that no other has.
func TestHelpPages(t *testing.T) {
	t.Parallel()
	var list bytes.Buffer
	require.Zero(t, run([]string{"help"}, nil, &list, &list))
	seen := map[string]bool{}
	for _, p := range helpPages() {
		require.NotEmpty(t, p.title, p.topic)
		require.NotContains(t, p.title, "\n", p.topic)
		require.Contains(t, list.String(), "  "+p.topic+" ")
		require.Contains(t, list.String(), p.title)
		names := []string{p.topic}
		for _, s := range p.sections {
			require.NotEmpty(t, s.text, s.heading)
			require.Regexp(t, `[.:]$`, strings.SplitN(s.text, "\n\n", 2)[0], s.heading)
			names = append(names, s.heading)
		}
		for _, name := range names {
			require.False(t, seen[name], name)
			seen[name] = true
			_, _, err := newRoot().Find([]string{name})
			require.Error(t, err, "%s is a command, which hides the topic", name)
			var out bytes.Buffer
			require.Zero(t, run(append([]string{"help"}, strings.Fields(name)...), nil, &out, &out))
			require.NotContains(t, out.String(), "```")
			require.NotContains(t, out.String(), "](")
			require.NotContains(t, out.String(), "|---|")
			require.NotRegexp(t, `(?m)^#`, out.String())
		}
	}
}

// TestHelpBlocks does what the pages of help say: every block in them is run, compiled or
// compared. The blocks of codes are for package gen, which knows them.
func TestHelpBlocks(t *testing.T) {
	t.Parallel()
	w := newSnippets(t)
	checks := map[string][]blockCheck{
		"database": {
			{"Which database the commands use", "sh", func(t *testing.T, b block) {
				url, ok := strings.CutPrefix(strings.TrimSpace(b.text), "export DATABASE_URL=")
				require.True(t, ok)
				config, err := pgx.ParseConfig(url)
				require.NoError(t, err)
				require.Equal(t, []string{"shop", "secret", "localhost", "shop"}, []string{config.User, config.Password, config.Host, config.Database})
			}},
			{"Which database the commands use", "sh", func(t *testing.T, b block) {
				list := regexp.MustCompile(`^export FLOWC_SHARDS='(.*)'\n$`).FindStringSubmatch(b.text)
				require.NotNil(t, list, "%s", b)
				servers, err := parseShards(list[1])
				require.NoError(t, err)
				require.Len(t, servers, 2)
				for i, s := range servers {
					config, err := pgx.ParseConfig(s.url)
					require.NoError(t, err)
					require.Equal(t, []string{[]string{"a", "b"}[i], fmt.Sprintf("db%d", i+1)}, []string{s.name, config.Host})
				}
			}},
		},
		"declare": declareChecks(w),
		"exit-codes": {
			{"What the exit status means", "text", func(t *testing.T, b block) {
				var listed []string
				for _, m := range regexp.MustCompile(`(?m)^(\d+) `).FindAllStringSubmatch(b.text, -1) {
					listed = append(listed, m[1])
				}
				var all []string
				for _, status := range []int{exitOK, exitFailed, exitFound, exitRunFailed, exitTimeout, exitInterrupted} {
					all = append(all, fmt.Sprint(status))
				}
				require.Equal(t, all, listed)
			}},
		},
		"operate":  operateChecks(w),
		"scale":    scaleChecks(t, w),
		"testing":  testingChecks(),
		"versions": versionsChecks(),
		"waiting":  waitingChecks(w),
		"web": {
			{"Starting in your own transaction", "go", isPartOf("examples/web/server.go")},
			{"A request that comes twice", "go", w.compiles("pool *pgxpool.Pool, photo album.Photo, requestID string")},
			{"Showing progress", "go", isPartOf("examples/web/server.go")},
			{"Idempotent handlers", "go", isPartOf("examples/web/handlers.go")},
			{"Idempotent handlers", "go", isPartOf("examples/web/handlers.go")},
			{"Who asked", "go", w.compiles("pool *pgxpool.Pool, photo album.Photo, user string")},
			{"Who asked", "go", w.compiles("err error")},
			{"The worker beside the server", "go", isPartOf("examples/web/main.go")},
		},
	}
	for _, p := range helpPages() {
		if p.topic != "codes" {
			t.Run(p.topic, func(t *testing.T) { checkBlocks(t, "cmd/flowc/help/"+p.topic+".md", checks[p.topic]) })
		}
	}
	t.Run("build", w.build)
}

// TestAlignTable holds that tables are columns, whose text is folded between words.
func TestAlignTable(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("word ", 20)
	require.Equal(t, "a      b\n`x|y`  "+strings.TrimSpace(strings.Repeat("word ", 16))+"\n       word word word word\n",
		alignTable([]string{"| a | b |\n", "|---|---|\n", "| `x\\|y` | " + long + "|\n"}))
	unbroken := strings.Repeat("x", 100)
	require.Equal(t, "a\n"+unbroken+"\n", alignTable([]string{"| a |", "|---|", "| " + unbroken + " |"}))
	require.Empty(t, alignTable(nil))
}

// TestGlossaryIsSorted holds that words are found where one looks for them.
func TestGlossaryIsSorted(t *testing.T) {
	t.Parallel()
	for _, p := range helpPages() {
		if p.topic != "glossary" {
			continue
		}
		for i, s := range p.sections[1:] {
			require.Less(t, p.sections[i].heading, s.heading)
		}
	}
}
