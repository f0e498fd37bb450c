package main

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// offline is what npm says when it cannot reach its registry.
var offline = regexp.MustCompile(`ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ENETUNREACH|ETIMEDOUT`)

// TestPolyglot runs the example. Where there is no node, or no way to its packages,
// it is skipped, unless FLOWC_NODE is "required".
func TestPolyglot(t *testing.T) {
	var out strings.Builder
	err := run(t.Context(), &out)
	if os.Getenv("FLOWC_NODE") != "required" && (errors.Is(err, errNoNode) || err != nil && offline.MatchString(err.Error())) {
		t.Skip(err)
	}
	require.NoError(t, err)
	require.Equal(t, `published "Of flows": 163 bytes, 19 words, about Steps and Workers
not published: render: the article has no title
`, out.String())
}

// TestLock holds that the lock file leaves it to each user where packages come
// from: npm install --package-lock-only --omit-lockfile-registry-resolved.
func TestLock(t *testing.T) {
	lock, err := typesetter.ReadFile("typesetter/package-lock.json")
	require.NoError(t, err)
	require.Contains(t, string(lock), `"integrity"`)
	require.NotContains(t, string(lock), `"resolved"`)
}
