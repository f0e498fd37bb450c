package cond

import (
	"bytes"
	"encoding/json"

	"github.com/flowc-dev/flowc/gen/internal/jsonform"
)

// An object is a JSON object whose members keep their order: objects or values.
type object struct {
	keys    []string
	members map[string]any
}

// set puts a value at a path; false if there is one already.
func (o *object) set(keys []string, value json.RawMessage) bool {
	if o.members == nil {
		o.members = map[string]any{}
	}
	key := keys[0]
	old, exists := o.members[key]
	if !exists {
		o.keys = append(o.keys, key)
	}
	if len(keys) == 1 {
		o.members[key] = value
		return !exists
	}
	if !exists {
		old = &object{}
		o.members[key] = old
	}
	inner, ok := old.(*object)
	return ok && inner.set(keys[1:], value)
}

func (o *object) json() []byte {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, key := range o.keys {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(jsonform.Quote(key))
		b.WriteByte(':')
		switch m := o.members[key].(type) {
		case *object:
			b.Write(m.json())
		case json.RawMessage:
			b.Write(m)
		}
	}
	b.WriteByte('}')
	return b.Bytes()
}
