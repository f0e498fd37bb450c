package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func Example() {
	main()
	// Output: hello earth, hello moon, hello sun
}

// The README shows this program; it must show it as it is.
func TestReadmeShowsTheProgram(t *testing.T) {
	t.Parallel()
	readme := read(t, "../../README.md")
	start := strings.Index(readme, "## A complete example")
	end := strings.Index(readme, "### In a module of your own")
	require.Positive(t, start)
	require.Greater(t, end, start)
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(readme[start:end], -1)
	require.Len(t, blocks, 3, "the declaration, the handlers and the program")
	require.Equal(t, read(t, "party/party.go"), blocks[0][1])
	for _, block := range blocks[1:] {
		require.Contains(t, read(t, "main.go"), block[1])
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}
