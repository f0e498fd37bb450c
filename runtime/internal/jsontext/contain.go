package jsontext

import (
	"bytes"
	"encoding/json"
	"math/big"
	"slices"
)

// Decode decodes JSON with numbers as they are written.
func Decode(raw []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}

// Contains reports whether one decoded value contains another as jsonb's operator @>
// has it, but for the exception of an array and a single value, which conditions have
// no use for: they are objects. If it does not, path leads to what it lacks, as far as
// that is in objects.
func Contains(a, b any) (path []string, ok bool) {
	switch b := b.(type) {
	case map[string]any:
		object, isObject := a.(map[string]any)
		if !isObject && len(b) == 0 {
			return nil, false
		}
		for key, part := range b {
			value, exists := object[key]
			if !exists {
				return []string{key}, false
			}
			if path, ok := Contains(value, part); !ok {
				return append([]string{key}, path...), false
			}
		}
		return nil, true
	case []any:
		list, ok := a.([]any)
		return nil, ok && !slices.ContainsFunc(b, func(part any) bool {
			return !slices.ContainsFunc(list, func(value any) bool {
				_, ok := Contains(value, part)
				return ok
			})
		})
	case json.Number:
		number, ok := a.(json.Number)
		return nil, ok && same(number, b)
	}
	switch a.(type) {
	case map[string]any, []any, json.Number:
		return nil, false
	}
	return nil, a == b
}

// same reports whether two numbers are equal, however they are written.
func same(a, b json.Number) bool {
	if a == b {
		return true
	}
	x, _, errX := big.ParseFloat(a.String(), 10, 2048, big.ToNearestEven)
	y, _, errY := big.ParseFloat(b.String(), 10, 2048, big.ToNearestEven)
	return errX == nil && errY == nil && x.Cmp(y) == 0
}
