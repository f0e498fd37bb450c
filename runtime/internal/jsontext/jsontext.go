// Package jsontext says which JSON texts the database can store.
package jsontext

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// MaxBytes is the longest text that can be stored, in bytes: jsonb counts the
// length of what it holds in 28 bits.
const MaxBytes = 1<<28 - 1

// What a text can be refused for.
var (
	ErrNUL         = errors.New(`it contains the character \u0000, which PostgreSQL cannot store`)
	ErrInvalidUTF8 = errors.New("it contains a string that is not valid UTF-8")
	ErrTooLong     = fmt.Errorf("it is longer than the %d bytes that PostgreSQL can store", MaxBytes)
)

// marshal writes v as JSON. What is JSON already may be large, and is not copied:
// to jsonb, unlike to json.Marshal, it is all the same how it is written.
func marshal(v any) (json.RawMessage, error) {
	if raw, ok := v.(json.RawMessage); ok && json.Valid(raw) {
		return raw, nil
	}
	return json.Marshal(v) // which says what is wrong
}

// Encode writes v as JSON that can be stored. A json.RawMessage is returned itself.
func Encode(v any) (json.RawMessage, error) {
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
	if !isRaw(v) && escape(raw, `\ufffd`) {
		return nil, ErrInvalidUTF8
	}
	return raw, nil
}

// Check reports why a JSON text cannot be stored, nil if it can.
func Check(raw []byte) error {
	switch {
	case len(raw) > MaxBytes:
		return ErrTooLong
	case !utf8.Valid(raw):
		return ErrInvalidUTF8
	case escape(raw, `\u0000`):
		return ErrNUL
	}
	return nil
}

// escape reports whether raw has the given escape sequence; the same letters
// after an escaped backslash are not one.
func escape(raw []byte, seq string) bool {
	for from := 0; ; {
		i := bytes.Index(raw[from:], []byte(seq))
		if i < 0 {
			return false
		}
		at := from + i
		slashes := 0
		for at-slashes > 0 && raw[at-slashes-1] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return true
		}
		from = at + 1
	}
}

func isRaw(v any) bool {
	switch v.(type) {
	case json.RawMessage, *json.RawMessage:
		return true
	}
	return false
}
