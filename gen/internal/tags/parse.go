// Package tags reads the struct tags of declarations: which keys there are, where
// they may stand, and what their values mean. Of every value it knows where each
// byte stands in the source, so that a mistake is shown at the word.
package tags

import (
	"go/ast"
	"go/token"
	"regexp"
	"strconv"
	"strings"
)

// A Pair is one key:"value" of a struct tag.
type Pair struct {
	Key    string
	KeyPos token.Pos
	Value  string

	at  []token.Pos // of each byte of the value, and of what follows it
	tag *ast.BasicLit
}

// Pos returns where byte i of the value stands.
func (p *Pair) Pos(i int) token.Pos { return p.at[min(i, len(p.at)-1)] }

// End returns where the value ends.
func (p *Pair) End() token.Pos { return p.at[len(p.at)-1] }

// String returns the pair as it is written.
func (p *Pair) String() string { return p.Key + `:"` + p.Value + `"` }

// Word returns the whole value as a word.
func (p *Pair) Word() Word { return Word{Text: p.Value, Pos: p.Pos(0), End: p.End()} }

// A Fault is what is wrong with the form of a tag.
type Fault struct {
	pos     token.Pos
	message string
	// text is what is wrong, and instead what was probably meant, if that is clear.
	text, instead string
}

// almostPair is a pair that lacks quotes, or has another sign than a colon or a
// space around it.
var almostPair = regexp.MustCompile(`^([a-z_]+) ?[:=] ?(?:"([^"]*)"|([^" ,;]+))(?:[,;] ?|$| )`)

// malformed returns a fault at the start of rest, with what was probably meant.
func malformed(pos token.Pos, rest, message string) *Fault {
	e := &Fault{pos: pos, message: message}
	if m := almostPair.FindStringSubmatch(rest); m != nil {
		e.text = m[0]
		e.instead = m[1] + `:"` + m[2] + m[3] + `"`
		if len(m[0]) < len(rest) {
			e.instead += " "
		}
	}
	return e
}

// Parse splits a struct tag into its pairs, with one space between them, as go vet
// wants it.
func Parse(lit *ast.BasicLit) ([]*Pair, *Fault) {
	if lit == nil {
		return nil, nil
	}
	text, at, ok := unquote(lit.Value, positions(lit.Pos(), len(lit.Value)))
	if !ok {
		return nil, &Fault{pos: lit.Pos(), message: "the tag is not a string"}
	}
	var pairs []*Pair
	for i := 0; i < len(text); {
		if text[i] == ' ' {
			i++
			continue
		}
		if i > 0 && text[i-1] != ' ' {
			fault := &Fault{pos: at[i], message: "the tag needs a space before the next key", instead: " "}
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
			return pairs, &Fault{pos: at[quoted], message: "the value of " + key + " has no closing quote"}
		}
		value, valueAt, ok := unquote(text[quoted:end+1], at[quoted:end+2])
		if !ok {
			return pairs, &Fault{pos: at[quoted], message: "the value of " + key + " is not a Go string"}
		}
		pairs = append(pairs, &Pair{Key: key, KeyPos: at[start], Value: value, at: valueAt, tag: lit})
		i = end + 1
	}
	return pairs, nil
}

// closingQuote returns the index of the quote that ends the string that begins at i.
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

// positions returns those of n bytes from pos, and of what follows them.
func positions(pos token.Pos, n int) []token.Pos {
	at := make([]token.Pos, n+1)
	for i := range at {
		at[i] = pos + token.Pos(i)
	}
	return at
}

// unquote works like strconv.Unquote, but keeps the position of every byte. at holds
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

// A Word is a name in a value.
type Word struct {
	Text     string
	Start    int // the byte of the value where it begins
	Pos, End token.Pos
}

// Words returns the names of a list with commas.
func (p *Pair) Words() (list []Word) {
	start := 0
	for i := 0; i <= len(p.Value); i++ {
		if i < len(p.Value) && p.Value[i] != ',' {
			continue
		}
		from, to := start, i
		for from < to && p.Value[from] == ' ' {
			from++
		}
		for to > from && p.Value[to-1] == ' ' {
			to--
		}
		list = append(list, Word{Text: p.Value[from:to], Start: from, Pos: p.Pos(from), End: p.Pos(to)})
		start = i + 1
	}
	return list
}
