package main

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
)

func TestTable(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	tab := table{header: []string{"RUN", "WHY"}}
	tab.add("1", "two\nlines\tand \x1b[31mcolour\u202e")
	tab.add("a long one", "")
	require.NoError(t, tab.print(&b))
	require.Equal(t, "RUN         WHY\n1           two lines and \ufffd[31mcolour\ufffd\na long one  -\n", b.String())
}

// TestNothingSteersTheTerminal: neither in errors nor in JSON, which stays the same value.
func TestNothingSteersTheTerminal(t *testing.T) {
	t.Parallel()
	const hostile = "a\x1b]0;title\x07b\u009b31mc\u202ed\x7fe\rf"
	steers := func(s string) bool {
		return strings.ContainsFunc(s, func(r rune) bool { return r != '\n' && r != '\t' && printableRune(r) != r })
	}
	require.False(t, steers(printable(hostile)))
	require.False(t, steers(printableLines("one\n\t"+hostile)))
	require.True(t, strings.HasPrefix(printableLines("one\n\ttwo"), "one\n\ttwo"))
	for _, print := range []func(w io.Writer, v any) error{printJSON, printLine} {
		var b strings.Builder
		require.NoError(t, print(&b, map[string]string{hostile: hostile}))
		require.False(t, steers(b.String()), "%q", b.String())
		var same map[string]string
		require.NoError(t, json.Unmarshal([]byte(b.String()), &same))
		require.Equal(t, map[string]string{hostile: hostile}, same)
	}
	require.Equal(t, `"\u009b\u202e\u007f"`, string(escaped([]byte("\"\u009b\u202e\x7f\""))))
}

func TestTimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		require.Equal(t, "", ago(time.Time{}))
		require.Equal(t, "now", ago(time.Now()))
		require.Equal(t, "59s ago", ago(time.Now().Add(-59*time.Second)))
		require.Equal(t, "in 3h", ago(time.Now().Add(3*time.Hour+time.Minute)))
		require.Equal(t, "9d ago", ago(time.Now().Add(-220*time.Hour)))
	})
	require.Equal(t, "12ms", lasting(12345*time.Microsecond))
	require.Equal(t, "1.23s", lasting(1234*time.Millisecond))
	require.Equal(t, "2m3s", lasting(2*time.Minute+3400*time.Millisecond))
	require.Equal(t, "", took(time.Now(), time.Time{}))
}

func TestShorten(t *testing.T) {
	t.Parallel()
	require.Equal(t, "äöü", shorten("äöü", 3))
	require.Equal(t, "äö…", shorten("äöüß", 3))
}

// TestPrintJSON checks that JSON is laid out as usual, except what would be many times
// as long.
func TestPrintJSON(t *testing.T) {
	t.Parallel()
	deep := json.RawMessage(strings.Repeat("[", 2000) + strings.Repeat("0,", 40_000) + "0" + strings.Repeat("]", 2000))
	var b strings.Builder
	require.NoError(t, printJSON(&b, map[string]any{"a": []any{1, "<&>", map[string]int{}, []int{}}, "b": map[string]bool{"c": true}}))
	require.Equal(t, "{\n  \"a\": [\n    1,\n    \"<&>\",\n    {},\n    []\n  ],\n  \"b\": {\n    \"c\": true\n  }\n}\n", b.String())
	b.Reset()
	require.NoError(t, printJSON(&b, shownRun{RunInfo: &runtime.RunInfo{ID: "1", Input: deep, Output: deep}}))
	require.Less(t, b.Len(), 1<<20, "in full it would be 336 MB")
	require.Contains(t, b.String(), "{\n  \"id\": \"1\",\n", "what is around it is laid out")
	require.True(t, json.Valid([]byte(b.String())))
}

// TestProgress checks that what is quick says nothing, and what is not says how
// far it is.
func TestProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b strings.Builder
		p := startProgress(&b, "pruning")
		time.Sleep(9900 * time.Millisecond)
		p.done()
		require.Empty(t, b.String())

		p = startProgress(&b, "pruning")
		p.set("%d runs so far", 1000)
		time.Sleep(22 * time.Second)
		p.done()
		require.Equal(t, "pruning: 1000 runs so far (10s)\npruning: 1000 runs so far (20s)\n", b.String())
	})
}
