package machine

import (
	"bytes"
	"encoding/json"

	"github.com/flowc-dev/flowc/runtime/internal/jsontext"
)

// decode reads JSON with numbers as they are written.
func decode(raw json.RawMessage) any {
	v, _ := jsontext.Decode(raw) // stored values are valid
	return v
}

// elements returns those of an array; ok is false if it is none.
func elements(raw json.RawMessage) (all []json.RawMessage, ok bool) {
	if trimmed := bytes.TrimSpace(raw); len(trimmed) == 0 || trimmed[0] != '[' {
		return nil, false
	}
	return all, json.Unmarshal(raw, &all) == nil
}

// typeOf returns what jsonb_typeof does.
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

// encode writes an array or an object of values that are JSON, objects in the order of
// their keys.
func encode(values any) json.RawMessage {
	raw, err := json.Marshal(values)
	if err != nil {
		panic(err) // they have been checked
	}
	return raw
}
