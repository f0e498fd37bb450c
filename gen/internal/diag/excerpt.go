package diag

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Source gives the contents of a file, or nil if it cannot.
type Source func(filename string) []byte

// Excerpts are longer than this only if what is wrong is.
const excerptWidth = 100

// excerpt returns the line that a mistake stands in, with the offending word marked
// below it:
//
//	| Charge dsl.Step[Order, Receipt]
//	|                 ^^^^^
//
// It is empty if there is no such line.
func (d Diagnostic) excerpt(source Source) string {
	if source == nil || d.At.Filename == "" || d.At.Line < 1 || d.At.Column < 1 {
		return ""
	}
	line, ok := lineOf(source(d.At.Filename), d.At.Line)
	start := d.At.Column - 1
	if !ok || start > len(line) || !utf8.Valid(line) {
		return ""
	}
	end := min(start+int(d.End-d.Pos), len(line))
	if end <= start {
		end = start + wordLength(line[start:])
	}

	before, word, after := show(line[:start]), show(line[start:end]), show(line[end:])
	before = before[len(before)-len(bytes.TrimLeft(line[:start], " \t")):] // without indentation
	b, w, a := []rune(before), []rune(word), []rune(strings.TrimRight(after, " "))
	if extra := len(b) + len(w) + len(a) - excerptWidth; extra > 0 {
		if cut := min(extra, len(a)-min(len(a), excerptWidth/4)); cut > 0 {
			a = append(a[:len(a)-cut:len(a)-cut], '…')
			extra -= cut
		}
		if cut := min(extra, len(b)); cut > 0 {
			b = append([]rune{'…'}, b[cut:]...)
		}
	}
	return "\n\t| " + string(b) + string(w) + string(a) +
		"\n\t| " + strings.Repeat(" ", len(b)) + strings.Repeat("^", max(len(w), 1))
}

// lineOf returns a line of a file, counted from 1.
func lineOf(contents []byte, n int) (line []byte, ok bool) {
	for ; n > 1; n-- {
		i := bytes.IndexByte(contents, '\n')
		if i < 0 {
			return nil, false
		}
		contents = contents[i+1:]
	}
	line, _, _ = bytes.Cut(contents, []byte("\n"))
	return bytes.TrimRight(line, "\r"), len(line) > 0
}

// wordLength returns how long the name is that a text begins with, of which a
// compiler gives only the start.
func wordLength(text []byte) (n int) {
	for n < len(text) {
		r, size := utf8.DecodeRune(text[n:])
		if r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			break
		}
		n += size
	}
	return n
}

// show returns a part of a line with a cell for each rune.
func show(part []byte) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, string(part))
}
