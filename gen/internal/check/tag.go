package check

import (
	"fmt"
	"go/ast"
	"go/token"
	"regexp"
	"strconv"
	"strings"

	"github.com/flowc-dev/flowc/gen/internal/diag"
)

// A pair is one key:"value" of a struct tag. It knows where each byte of its
// value stands in the source, so that a mistake can be shown at the word.
type pair struct {
	key    string
	keyPos token.Pos
	value  string
	at     []token.Pos // of each byte of value, and of what follows it
	tag    *ast.BasicLit
}

// pos is where byte i of the value stands.
func (p *pair) pos(i int) token.Pos { return p.at[min(i, len(p.at)-1)] }

// end is where the value ends.
func (p *pair) end() token.Pos { return p.at[len(p.at)-1] }

// A tagError is what is wrong with the form of a tag.
type tagError struct {
	pos     token.Pos
	message string
	// text is what is wrong, and instead what was probably meant, if that is clear.
	text, instead string
}

// almostPair is a pair that lacks quotes, or has another sign than a colon or a
// space around it.
var almostPair = regexp.MustCompile(`^([a-z_]+) ?[:=] ?(?:"([^"]*)"|([^" ,;]+))(?:[,;] ?|$| )`)

// malformed is a fault that begins with a text.
func malformed(pos token.Pos, rest, message string) *tagError {
	e := &tagError{pos: pos, message: message}
	if m := almostPair.FindStringSubmatch(rest); m != nil {
		e.text = m[0]
		e.instead = m[1] + `:"` + m[2] + m[3] + `"`
		if len(m[0]) < len(rest) {
			e.instead += " "
		}
	}
	return e
}

// parseTag takes a struct tag apart: pairs with one space between them, as go
// vet wants it.
func parseTag(lit *ast.BasicLit) ([]*pair, *tagError) {
	if lit == nil {
		return nil, nil
	}
	text, at, ok := unquote(lit.Value, positions(lit.Pos(), len(lit.Value)))
	if !ok {
		return nil, &tagError{pos: lit.Pos(), message: "the tag is not a string"}
	}
	var pairs []*pair
	for i := 0; i < len(text); {
		if text[i] == ' ' {
			i++
			continue
		}
		if i > 0 && text[i-1] != ' ' {
			fault := &tagError{pos: at[i], message: "the tag needs a space before the next key", instead: " "}
			if text[i] == ',' || text[i] == ';' {
				fault.message, fault.text = "the tag has "+strconv.Quote(text[i:i+1])+" where a space should be", text[i:i+1]
			}
			return pairs, fault
		}
		start := i
		for i < len(text) && text[i] > ' ' && text[i] != ':' && text[i] != '"' && text[i] != 0x7f {
			i++
		}
		key := text[start:i]
		if key == "" || i+1 >= len(text) || text[i] != ':' || text[i+1] != '"' {
			return pairs, malformed(at[start], text[start:], `the tag is not made of key:"value" pairs`)
		}
		quoted := i + 1
		end := closingQuote(text, quoted)
		if end < 0 {
			return pairs, &tagError{pos: at[quoted], message: "the value of " + key + " has no closing quote"}
		}
		value, valueAt, ok := unquote(text[quoted:end+1], at[quoted:end+2])
		if !ok {
			return pairs, &tagError{pos: at[quoted], message: "the value of " + key + " is not a Go string"}
		}
		pairs = append(pairs, &pair{key: key, keyPos: at[start], value: value, at: valueAt, tag: lit})
		i = end + 1
	}
	return pairs, nil
}

// closingQuote is the index of the quote that ends the string that begins at i.
func closingQuote(text string, i int) int {
	for i++; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}

// positions are those of n bytes from pos, and of what follows them.
func positions(pos token.Pos, n int) []token.Pos {
	at := make([]token.Pos, n+1)
	for i := range at {
		at[i] = pos + token.Pos(i)
	}
	return at
}

// unquote is strconv.Unquote that keeps the position of every byte. at holds
// one for each byte of text.
func unquote(text string, at []token.Pos) (value string, valueAt []token.Pos, ok bool) {
	if len(text) < 2 {
		return "", nil, false
	}
	last := len(text) - 1
	if text[0] == '`' {
		return text[1:last], at[1 : last+1], text[last] == '`'
	}
	if text[0] != '"' || text[last] != '"' || strings.Contains(text, "\n") {
		return "", nil, false
	}
	var b strings.Builder
	for i := 1; i < last; {
		r, multibyte, tail, err := strconv.UnquoteChar(text[i:last], '"')
		if err != nil {
			return "", nil, false
		}
		before := b.Len()
		if multibyte {
			b.WriteRune(r)
		} else {
			b.WriteByte(byte(r))
		}
		next := last - len(tail)
		for k := range b.Len() - before {
			if next-i == b.Len()-before { // not an escape: byte for byte
				valueAt = append(valueAt, at[i+k])
			} else {
				valueAt = append(valueAt, at[i])
			}
		}
		i = next
	}
	return b.String(), append(valueAt, at[last]), true
}

// A word is a name in a list.
type word struct {
	text     string
	pos, end token.Pos
}

// words are the names of a list with commas.
func (p *pair) words() (list []word) {
	start := 0
	for i := 0; i <= len(p.value); i++ {
		if i < len(p.value) && p.value[i] != ',' {
			continue
		}
		from, to := start, i
		for from < to && p.value[from] == ' ' {
			from++
		}
		for to > from && p.value[to-1] == ' ' {
			to--
		}
		list = append(list, word{text: p.value[from:to], pos: p.pos(from), end: p.pos(to)})
		start = i + 1
	}
	return list
}

// fixByTag makes it the fix of a mistake to tag a field.
func (c *checker) fixByTag(b *diag.Builder, field *ast.Field, key, value string) {
	b.Fix(`tag it %s:"%s"`, key, value)
	switch {
	case field == nil || len(field.Names) > 1: // the tag would be that of several
	case field.Tag == nil:
		b.Edit(field.Type.End(), field.Type.End(), fmt.Sprintf(" `%s:\"%s\"`", key, value))
	case field.Tag.Value[0] == '`':
		b.Edit(field.Tag.End()-1, field.Tag.End()-1, fmt.Sprintf(` %s:"%s"`, key, value))
	}
}
