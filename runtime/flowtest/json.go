package flowtest

import (
	"bytes"
	"encoding/json"
	"math/big"
	"slices"
)

// decode reads JSON with numbers as they are written.
func decode(raw json.RawMessage) (v any) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	_ = d.Decode(&v) // what is stored has been checked
	return v
}

// contains reports whether a contains b as jsonb's operator @> has it, but for the
// exception of an array and a single value, which conditions have no use for: they
// are objects.
func contains(a, b any) bool {
	switch b := b.(type) {
	case map[string]any:
		object, ok := a.(map[string]any)
		if !ok {
			return false
		}
		for key, part := range b {
			if value, ok := object[key]; !ok || !contains(value, part) {
				return false
			}
		}
		return true
	case []any:
		list, ok := a.([]any)
		if !ok {
			return false
		}
		for _, part := range b {
			if !slices.ContainsFunc(list, func(value any) bool { return contains(value, part) }) {
				return false
			}
		}
		return true
	case json.Number:
		number, ok := a.(json.Number)
		return ok && same(number, b)
	default:
		switch a.(type) {
		case map[string]any, []any, json.Number:
			return false
		}
		return a == b
	}
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

// elements are those of an array; ok is false if it is none.
func elements(raw json.RawMessage) (all []json.RawMessage, ok bool) {
	if trimmed := bytes.TrimSpace(raw); len(trimmed) == 0 || trimmed[0] != '[' {
		return nil, false
	}
	return all, json.Unmarshal(raw, &all) == nil
}

// typeOf is what jsonb_typeof says.
func typeOf(raw json.RawMessage) string {
	switch decode(raw).(type) {
	case map[string]any:
		return "object"
	case []any:
		return "array"
	case string:
		return "string"
	case json.Number:
		return "number"
	case bool:
		return "boolean"
	default:
		return "null"
	}
}

// object is a JSON object of values, in the order of its keys.
func object(values map[string]json.RawMessage) json.RawMessage {
	raw, err := json.Marshal(values)
	if err != nil {
		panic(err) // they have been checked
	}
	return raw
}
