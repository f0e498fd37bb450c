// Package cond reads the conditions and paths in tags and compiles them: conditions to the
// JSON object that the database looks for, paths to the names that it follows.
package cond

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A condition is a conjunction of terms:
//
//	condition = term { "&&" term }
//	term      = path [ "==" literal ]
//	path      = name { "." name }
//	literal   = "true" | "false" | number | "'" text "'"
//
// In a text, two quotes stand for one. A term without a literal is a bool that
// has to be true.
type condition []term

// A term compares what stands at a path.
type term struct {
	path    []segment
	literal literal
}

// A segment is one name of a path, and where it stands in the condition.
type segment struct {
	name       string
	start, end int
}

// A literal is what a path is compared with.
type literal struct {
	kind       literalKind
	text       string // the text, or the number or bool as written
	start, end int
}

type literalKind string

const (
	absent     literalKind = "" // a bare bool
	boolean    literalKind = "a bool"
	number     literalKind = "a number"
	stringKind literalKind = "a text"
)

// A syntaxError says what is wrong with the form of a condition.
type syntaxError struct {
	start, end   int
	message, fix string
	// replacement is what to write instead, if that is all there is to do.
	replacement string
}

// parse reads a condition.
func parse(source string) (condition, *syntaxError) {
	p := &parser{source: source}
	var cond condition
	for {
		t, err := p.term()
		if err != nil {
			return nil, err
		}
		cond = append(cond, t)
		p.space()
		if p.i == len(source) {
			return cond, nil
		}
		if !p.take("&&") {
			return nil, p.unexpected("&&")
		}
	}
}

type parser struct {
	source string
	i      int
}

func (p *parser) space() {
	for p.i < len(p.source) && (p.source[p.i] == ' ' || p.source[p.i] == '\t') {
		p.i++
	}
}

func (p *parser) take(token string) bool {
	if strings.HasPrefix(p.source[p.i:], token) {
		p.i += len(token)
		return true
	}
	return false
}

func (p *parser) term() (t term, err *syntaxError) {
	p.space()
	for {
		start := p.i
		name := p.name()
		if name == "" {
			return t, p.unexpected("the name of a step or a field")
		}
		t.path = append(t.path, segment{name, start, p.i})
		if !p.take(".") {
			break
		}
	}
	p.space()
	if !p.take("==") {
		return t, nil
	}
	p.space()
	t.literal, err = p.literal()
	return t, err
}

// name reads a Go identifier.
func (p *parser) name() string {
	start := p.i
	for p.i < len(p.source) {
		r, size := utf8.DecodeRuneInString(p.source[p.i:])
		if r != '_' && !unicode.IsLetter(r) && (p.i == start || !unicode.IsDigit(r)) {
			break
		}
		p.i += size
	}
	return p.source[start:p.i]
}

func (p *parser) literal() (literal, *syntaxError) {
	start := p.i
	if p.take("'") {
		return p.text(start)
	}
	for p.i < len(p.source) && !strings.ContainsRune(" \t&=|", rune(p.source[p.i])) {
		p.i++
	}
	l := literal{text: p.source[start:p.i], start: start, end: p.i}
	switch {
	case l.text == "":
		return l, p.unexpected("a value")
	case l.text == "true" || l.text == "false":
		l.kind = boolean
	case isNumber(l.text):
		l.kind = number
	default:
		e := &syntaxError{start: start, end: p.i, message: fmt.Sprintf("%s is not true, false, a number or a text", l.text)}
		if n, err := strconv.ParseInt(l.text, 0, 64); err == nil {
			e.replacement = strconv.FormatInt(n, 10)
			e.fix = "write " + e.replacement + ": numbers are written as in JSON"
		} else {
			e.replacement = "'" + strings.ReplaceAll(strings.Trim(l.text, `"'`), "'", "''") + "'"
			e.fix = e.replacement + ", if a text is meant"
		}
		return l, e
	}
	return l, nil
}

// text reads a text after its first quote.
func (p *parser) text(start int) (literal, *syntaxError) {
	var b strings.Builder
	for p.i < len(p.source) {
		if p.take("''") {
			b.WriteByte('\'')
			continue
		}
		if p.take("'") {
			return literal{stringKind, b.String(), start, p.i}, nil
		}
		b.WriteByte(p.source[p.i])
		p.i++
	}
	return literal{}, &syntaxError{start: start, end: p.i, message: "the text has no closing quote", fix: "end it with a '"}
}

// isNumber reports whether a literal is a number as JSON writes it.
func isNumber(s string) bool {
	digits := strings.TrimPrefix(s, "-")
	if digits == "" || digits[0] < '0' || digits[0] > '9' || len(digits) > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9' {
		return false
	}
	if strings.ContainsAny(digits, "xXoObBpP_") || strings.HasSuffix(digits, ".") || strings.Contains(digits, ".e") || strings.Contains(digits, ".E") {
		return false
	}
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}

// joins returns what stands at the start of a text for &&, or "".
func joins(s string) string {
	for _, word := range []string{",", ";", "and ", "AND ", "& "} {
		if strings.HasPrefix(s, word) {
			return strings.TrimSpace(word)
		}
	}
	return ""
}

// unexpected says what stands where something else should.
func (p *parser) unexpected(wanted string) *syntaxError {
	rest := p.source[p.i:]
	e := &syntaxError{start: p.i, end: p.i}
	switch {
	case rest == "":
		e.message, e.fix = "the condition ends where "+wanted+" should follow", "complete it, or remove what hangs"
	case strings.HasPrefix(rest, "||"):
		e.end += len("||")
		e.message = "a condition knows no ||"
		e.fix = "let the step before give a bool that says it, and look at that"
	case strings.HasPrefix(rest, "!="):
		e.end += len("!=")
		e.message = "a condition knows no !=, only =="
		e.fix = "write ==, in an if_not"
	case strings.HasPrefix(rest, "!"):
		e.end++
		e.message = "a condition knows no !"
		e.fix = "say it with if_not"
	case strings.HasPrefix(rest, "<"), strings.HasPrefix(rest, ">"):
		e.end++
		e.message = "a condition knows no " + rest[:1] + ", only =="
		e.fix = "let the step before give a bool that says it, and look at that"
	case strings.HasPrefix(rest, "="):
		e.end++
		e.message, e.fix = "a condition compares with ==", "write =="
		e.replacement = "=="
	case wanted == "&&" && joins(rest) != "":
		e.end += len(joins(rest))
		e.message, e.fix = "a condition joins its terms with &&", "write &&"
		e.replacement = " &&"
	default:
		r, size := utf8.DecodeRuneInString(rest)
		e.end += size
		what := fmt.Sprintf("%q", r)
		if r == ' ' {
			what = "a space"
		}
		e.message = fmt.Sprintf("%s stands where %s should", what, wanted)
		e.fix = "write it like X.Field, or X.Field == 'text' && X.Other == 3"
	}
	return e
}
