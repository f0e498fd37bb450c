package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

func scaleChecks(t *testing.T, w *snippets) []blockCheck {
	urls := map[string]string{} // of the databases that the page names, for all of its commands
	urlOf := func(name string) string {
		if urls[name] == "" {
			urls[name] = databaseURL(t)
		}
		return urls[name]
	}
	return []blockCheck{
		{"Several databases", "go", w.compiles("poolA, poolB *pgxpool.Pool, order shop.Order, handlers *fulfil.Handlers")},
		{"Several databases", "sh", runsOnShards(urlOf)},
		{"Adding and draining a database", "sh", runsOnShards(urlOf)},
		{"Temporal", "go", isInGoDoc("runtime/temporalflow/doc.go")},
	}
}

// runsOnShards runs commands on databases of their own in place of those that FLOWC_SHARDS
// names.
func runsOnShards(urlOf func(name string) string) func(*testing.T, block) {
	return func(t *testing.T, b block) {
		address := regexp.MustCompile(`\b([a-z])=(postgres://[^ ']+)`)
		script := address.ReplaceAllStringFunc(b.text, func(pair string) string {
			m := address.FindStringSubmatch(pair)
			_, err := pgx.ParseConfig(m[2])
			require.NoError(t, err)
			return m[1] + "=" + urlOf(m[1])
		})
		require.NotContains(t, script, "@db", "%s", b)
		out, err := command(t, nil, "sh", "-ec", script).CombinedOutput()
		require.NoError(t, err, "%s: %s", b, out)
	}
}

// isInGoDoc checks that each line is in the comment of a package.
func isInGoDoc(path string) func(*testing.T, block) {
	return func(t *testing.T, b block) {
		comment := read(t, path)
		for _, line := range strings.Split(strings.TrimSpace(b.text), "\n") {
			require.Contains(t, comment, line, "%s", b)
		}
	}
}
