// Package nearest finds what was probably meant by a misspelt name.
package nearest

import "strings"

// Name returns the one of names that was probably meant by name, or "".
func Name(name string, names []string) string {
	best, least := "", len(name)/3+2 // a third of the letters may be wrong
	for _, candidate := range names {
		a, b := strings.ToLower(name), strings.ToLower(candidate)
		d := Distance(a, b)
		if len(a) >= 3 && (strings.HasPrefix(a, b) || strings.HasPrefix(b, a)) {
			d = 1
		}
		if d < least {
			best, least = candidate, d
		}
	}
	return best
}

// Distance counts the letters to insert, drop, replace or swap with a
// neighbour to get from a to b.
func Distance(a, b string) int {
	s, t := []rune(a), []rune(b)
	before, last, row := make([]int, len(t)+1), make([]int, len(t)+1), make([]int, len(t)+1)
	for j := range last {
		last[j] = j
	}
	for i := range s {
		row[0] = i + 1
		for j := range t {
			change := last[j]
			if s[i] != t[j] {
				change++
			}
			row[j+1] = min(change, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && s[i] == t[j-1] && s[i-1] == t[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(t)]
}
