// Package jsontext checks which JSON texts the database can store.
package jsontext

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"unicode/utf8"
)

// MaxBytes is the longest text that can be stored, in bytes: jsonb counts the
// length of what it holds in 28 bits.
const MaxBytes = 1<<28 - 1

// PostgreSQL writes numbers without exponents: 1e131071 has 8 characters, and 131,072
// each time it is read. These are far beyond what a float64 needs, which is 1,075
// digits if all of them are written, and 309 as programs write it.
const (
	// MaxDigits is how many digits a number with an exponent may have without it.
	MaxDigits = 1100
	// MaxGrowth is how many bytes the numbers of a text may grow by together.
	MaxGrowth = 32 << 20
)

// Reasons to refuse a text.
var (
	ErrNUL         = errors.New(`it contains the character \u0000, which PostgreSQL cannot store`)
	ErrInvalidUTF8 = errors.New("it contains a string that is not valid UTF-8")
	ErrTooLong     = fmt.Errorf("it is longer than the %d bytes that PostgreSQL can store", MaxBytes)
	ErrLongNumbers = fmt.Errorf("it contains numbers that are too long where they are written without exponents, as PostgreSQL does: "+
		"each may have %d digits then, and all together may grow by %d bytes", MaxDigits, MaxGrowth)
)

// marshal writes v as JSON. What is JSON already may be large, and is not copied:
// to jsonb, unlike to json.Marshal, it is all the same how it is written.
func marshal(v any) (json.RawMessage, error) {
	if raw, ok := v.(json.RawMessage); ok && json.Valid(raw) {
		return raw, nil
	}
	return json.Marshal(v) // which says what is wrong
}

// Encode writes v as JSON that can be stored. A json.RawMessage is returned itself. A
// nil slice is the empty list, since a map over it has to find a list.
func Encode(v any) (json.RawMessage, error) {
	if nilList(v) {
		return json.RawMessage("[]"), nil
	}
	raw, err := marshal(v)
	if err != nil {
		return nil, err
	}
	if err := Check(raw); err != nil {
		return nil, err
	}
	// encoding/json writes a byte that is not UTF-8 as this escape, and the
	// character U+FFFD itself without one. Only JSON that was written elsewhere
	// may use the escape for the character.
	if n := escapes(raw, replacement); n > 0 && n != written(reflect.ValueOf(v)) {
		return nil, ErrInvalidUTF8
	}
	return raw, nil
}

// nilList reports whether v is a nil slice of a type that is a list in JSON.
func nilList(v any) bool {
	switch v.(type) {
	case json.Marshaler, encoding.TextMarshaler:
		return false // its own affair; json.RawMessage is one of these
	}
	r := reflect.ValueOf(v)
	return r.Kind() == reflect.Slice && r.IsNil() && r.Type().Elem().Kind() != reflect.Uint8
}

// Check reports why a JSON text cannot be stored, nil if it can.
func Check(raw []byte) error {
	switch {
	case len(raw) > MaxBytes:
		return ErrTooLong
	case !utf8.Valid(raw):
		return ErrInvalidUTF8
	case escapes(raw, `\u0000`) > 0:
		return ErrNUL
	case growth(raw) > MaxGrowth:
		return ErrLongNumbers
	}
	return nil
}

// growth returns how many bytes the numbers of a JSON text grow by when they are written
// without exponents, more than MaxGrowth if one of them is too long. Apart from the
// exponents it looks at each byte once, and not at those of strings.
func growth(raw []byte) (total int) {
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '"':
			i = stringEnd(raw, i)
		case 'e', 'E': // also of true and false
			if i > 0 && isDigit(raw[i-1]) {
				if total += longer(raw, i); total > MaxGrowth {
					return total
				}
			}
		}
	}
	return total
}

// stringEnd returns the position of the quote that closes the string which starts at a
// position.
func stringEnd(raw []byte, begin int) int {
	for i := begin + 1; ; i++ {
		n := bytes.IndexAny(raw[min(i, len(raw)):], `"\`)
		if n < 0 {
			return len(raw)
		}
		if i += n; raw[i] == '"' {
			return i
		}
		i++ // what is escaped
	}
}

// longer returns how many bytes the number with its exponent at a place grows by.
func longer(raw []byte, exponent int) int {
	whole, fraction, begin := 0, 0, exponent // digits before and behind the point
	for begin > 0 && (isDigit(raw[begin-1]) || raw[begin-1] == '.') {
		begin--
	}
	whole = exponent - begin
	if point := bytes.IndexByte(raw[begin:exponent], '.'); point >= 0 {
		whole, fraction = point, exponent-begin-point-1
	}
	end, negative, by := exponent+1, false, 0
	if end < len(raw) && (raw[end] == '+' || raw[end] == '-') {
		negative = raw[end] == '-'
		end++
	}
	for ; end < len(raw) && isDigit(raw[end]); end++ {
		by = min(10*by+int(raw[end]-'0'), MaxBytes)
	}
	if negative {
		by = -by
	}
	digits := max(whole+by, 1) + max(fraction-by, 0)
	if digits > MaxDigits {
		return MaxGrowth + 1
	}
	return max(digits-(end-begin), 0)
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// escapes counts an escape sequence in raw; the same letters after an escaped
// backslash are not one.
func escapes(raw []byte, seq string) (n int) {
	for from := 0; ; {
		i := bytes.Index(raw[from:], []byte(seq))
		if i < 0 {
			return n
		}
		at := from + i
		slashes := 0
		for at-slashes > 0 && raw[at-slashes-1] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			n++
		}
		from = at + 1
	}
}

const replacement = `\ufffd`

// written counts the escapes of U+FFFD in what is JSON already, anywhere in a value.
func written(v reflect.Value) (n int) {
	switch v.Kind() {
	case reflect.Interface, reflect.Pointer:
		if !v.IsNil() {
			n = written(v.Elem())
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			if v.Type().Implements(marshaler) || reflect.PointerTo(v.Type()).Implements(marshaler) {
				n = escapes(v.Bytes(), replacement)
			}
			return n
		}
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			n += written(v.Index(i))
		}
	case reflect.Map:
		for entry := v.MapRange(); entry.Next(); {
			n += written(entry.Value())
		}
	case reflect.Struct:
		own := v.Type().Implements(marshaler) || reflect.PointerTo(v.Type()).Implements(marshaler) // may write any field
		for i := range v.NumField() {
			if f := v.Type().Field(i); own || (f.IsExported() || f.Anonymous) && f.Tag.Get("json") != "-" {
				n += written(v.Field(i))
			}
		}
	}
	return n
}

var marshaler = reflect.TypeFor[json.Marshaler]()
