// Package diag holds what the compiler has to say about a declaration: what is
// wrong, where, what else is involved, and what to do.
package diag

import (
	"cmp"
	"fmt"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
)

// A Diagnostic is one mistake.
type Diagnostic struct {
	// Code is the kind of mistake.
	Code Code
	// Pos and End are the offending word. Pos is invalid for what the go
	// command reports without a syntax tree; At then says where.
	Pos, End token.Pos
	// At is Pos in words. A mistake with no place of its own has a zero At.
	At token.Position
	// Message says what is wrong.
	Message string
	// Notes are facts and other places involved.
	Notes []Note
	// Fix says what to do, as it can be followed; empty if the message says it.
	Fix string
	// Edits are Fix as changes to the source, if it is mechanical.
	Edits []Edit
}

// A Note is a fact that explains a mistake.
type Note struct {
	Pos     token.Pos      // if the note has a place
	At      token.Position // Pos in words
	Message string
}

// An Edit replaces the source between Pos and End by New.
type Edit struct {
	Pos, End token.Pos
	New      string
}

// A List collects the mistakes of one run.
type List struct {
	Fset  *token.FileSet
	items []*Diagnostic
}

// Add adds a mistake at the source between pos and end, which may be
// [token.NoPos], and returns it for notes and a fix.
func (l *List) Add(code Code, pos, end token.Pos, format string, args ...any) *Builder {
	d := &Diagnostic{Code: code, Pos: pos, End: end, At: l.Fset.Position(pos), Message: fmt.Sprintf(format, args...)}
	if !end.IsValid() {
		d.End = pos
	}
	l.items = append(l.items, d)
	return &Builder{list: l, d: d}
}

// AddAt adds a mistake that the go command reported at a place.
func (l *List) AddAt(code Code, at token.Position, format string, args ...any) *Builder {
	d := &Diagnostic{Code: code, At: at, Message: fmt.Sprintf(format, args...)}
	l.items = append(l.items, d)
	return &Builder{list: l, d: d}
}

// Len returns how many mistakes were added.
func (l *List) Len() int { return len(l.items) }

// Sorted returns the mistakes in the order of files and lines, each once.
func (l *List) Sorted() []Diagnostic {
	type said struct {
		at      token.Position
		message string
	}
	seen := map[said]bool{}
	var items []Diagnostic
	for _, d := range l.items {
		if key := (said{d.At, d.Message}); !seen[key] {
			seen[key] = true
			items = append(items, *d)
		}
	}
	slices.SortStableFunc(items, func(a, b Diagnostic) int {
		return cmp.Or(
			cmp.Compare(a.At.Filename, b.At.Filename),
			cmp.Compare(a.At.Line, b.At.Line),
			cmp.Compare(a.At.Column, b.At.Column),
		)
	})
	return items
}

// A Builder completes a mistake.
type Builder struct {
	list *List
	d    *Diagnostic
}

// Note adds a fact.
func (b *Builder) Note(format string, args ...any) *Builder {
	return b.NoteAt(token.NoPos, format, args...)
}

// NoteAt adds a fact about another place.
func (b *Builder) NoteAt(pos token.Pos, format string, args ...any) *Builder {
	b.d.Notes = append(b.d.Notes, Note{Pos: pos, At: b.list.Fset.Position(pos), Message: fmt.Sprintf(format, args...)})
	return b
}

// Fix says what to do.
func (b *Builder) Fix(format string, args ...any) *Builder {
	b.d.Fix = fmt.Sprintf(format, args...)
	return b
}

// Edit makes the fix mechanical. It may be called more than once.
func (b *Builder) Edit(pos, end token.Pos, replacement string) *Builder {
	b.d.Edits = append(b.d.Edits, Edit{Pos: pos, End: end, New: replacement})
	return b
}

// Text returns the mistake as it is printed, paths relative to dir:
//
//	file:line:col: what is wrong [code]
//		| the line of the source
//		|     ^^^^
//		file:line:col: note
//		fix: what to do
func (d Diagnostic) Text(dir string, source Source) string {
	return place(d.At, dir) + d.Headline() + d.excerpt(source) + d.Explanation(dir)
}

// Headline returns what is wrong, with the code at the end of the first line.
func (d Diagnostic) Headline() string {
	line, rest, several := strings.Cut(d.Message, "\n")
	line += " [" + string(d.Code) + "]"
	if several {
		line += "\n" + rest
	}
	return line
}

// Explanation returns what follows the source in Text: the notes and the fix.
func (d Diagnostic) Explanation(dir string) string {
	var b strings.Builder
	for _, n := range d.Notes {
		b.WriteString("\n\t" + place(n.At, dir) + n.Message)
	}
	if d.Fix != "" {
		b.WriteString("\n\tfix: " + d.Fix)
	}
	return b.String()
}

func place(at token.Position, dir string) string {
	if at.Filename == "" {
		return ""
	}
	at.Filename = Relative(at.Filename, dir)
	if !at.IsValid() {
		return at.Filename + ": "
	}
	return at.String() + ": "
}

// Relative returns the path of a file as seen from dir, if it is below or near it.
func Relative(file, dir string) string {
	if dir == "" || !filepath.IsAbs(file) {
		return file
	}
	rel, err := filepath.Rel(dir, file)
	if err != nil || strings.HasPrefix(rel, filepath.Join("..", "..", "..")) {
		return file
	}
	return filepath.ToSlash(rel)
}
