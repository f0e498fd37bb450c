// Package jsonlayout lays JSON out for people to read, whatever it is.
package jsonlayout

import (
	"bytes"
	"strings"
)

// Laid out, JSON may be so many times as long as it was, and so many bytes longer.
const (
	maxFactor = 3
	maxExtra  = 64 << 10
)

// unit is what each level is indented by.
const unit = "  "

// Indent returns valid JSON as people read it, each member on a line of its own.
// What is nested so deeply that its indentation would be most of the text stays on one
// line: otherwise 84 kB of brackets become 168 MB of blanks. Strings and numbers stay as
// they are, byte for byte.
func Indent(raw []byte) []byte {
	var b bytes.Buffer
	b.Grow(len(raw) + len(raw)/4)
	depth, levels := 0, levelsToIndent(raw)
	newLine := func(depth int) {
		b.WriteByte('\n')
		b.WriteString(strings.Repeat(unit, depth))
	}
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch c {
		case ' ', '\t', '\r', '\n':
			continue
		case '}', ']':
			if depth <= levels {
				newLine(depth - 1)
			}
			depth--
		case '"':
			end := stringEnd(raw, i)
			b.Write(raw[i:end])
			i = end - 1
			continue
		}
		b.WriteByte(c)
		switch c {
		case '{', '[':
			if next := i + 1 + blanks(raw[i+1:]); next < len(raw) && (raw[next] == '}' || raw[next] == ']') {
				b.WriteByte(raw[next])
				i = next
				continue
			}
			if depth++; depth <= levels {
				newLine(depth)
			}
		case ',':
			if depth <= levels {
				newLine(depth)
			}
		case ':':
			b.WriteByte(' ')
		}
	}
	return b.Bytes()
}

// levelsToIndent returns up to which level of nesting there is room for indentation.
func levelsToIndent(raw []byte) int {
	costs, depth := []int{0}, 0 // what the lines of each level take
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '"':
			i = stringEnd(raw, i) - 1
		case '{', '[':
			if depth++; depth == len(costs) {
				costs = append(costs, 0)
			}
			costs[depth] += 2 + len(unit)*(2*depth-1) // of its first line and of the one behind its last
		case '}', ']':
			depth--
		case ',':
			costs[depth] += 1 + len(unit)*depth
		}
	}
	total := 0
	for level, cost := range costs {
		if total += cost; total > (maxFactor-1)*len(raw)+maxExtra {
			return level - 1
		}
	}
	return len(costs)
}

// stringEnd returns the position after the string that starts at a position.
func stringEnd(raw []byte, begin int) int {
	for i := begin + 1; i < len(raw); i++ {
		switch raw[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(raw)
}

// blanks returns how many blanks a text begins with.
func blanks(raw []byte) int { return len(raw) - len(bytes.TrimLeft(raw, " \t\r\n")) }
