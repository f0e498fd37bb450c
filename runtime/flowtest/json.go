package flowtest

import (
	"bytes"
	"encoding/json"

	"github.com/flowc-dev/flowc/runtime/internal/jsontext"
)

// decode reads JSON with numbers as they are written.
func decode(raw json.RawMessage) any {
	v, _ := jsontext.Decode(raw) // what is stored has been checked
	return v
}

// contains reports whether a contains b, see [jsontext.Contains].
func contains(a, b any) bool {
	_, ok := jsontext.Contains(a, b)
	return ok
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
