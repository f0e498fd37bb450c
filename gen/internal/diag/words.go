package diag

import "strings"

// Enumerate joins words: a, b and c.
func Enumerate(words []string, last string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	n := len(words) - 1
	return strings.Join(words[:n], ", ") + " " + last + " " + words[n]
}

// Plural returns the word for one thing or for several.
func Plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
