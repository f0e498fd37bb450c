// Package carried holds what an attempt at a task leaves for the next one. Package handler
// reads and writes it for handlers; workers and the test kit take it along.
package carried

import (
	"encoding/json"
	"sync"
)

// Key is the key of a [Value] in the context of a handler.
type Key struct{}

// A Value is what an attempt has from the one before and leaves for the next. It may be
// used concurrently.
type Value struct {
	mu     sync.Mutex
	before json.RawMessage
	next   json.RawMessage
	refuse error
}

// Begin sets what the attempt before has left, nil if it left nothing. If refuse is not nil,
// nothing can be left: it says why.
func (v *Value) Begin(before json.RawMessage, refuse error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.before, v.refuse = before, refuse
}

// Leave leaves JSON for the next attempt, in place of what was left before.
func (v *Value) Leave(raw json.RawMessage) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.refuse == nil {
		v.next = raw
	}
	return v.refuse
}

// Latest returns what was left last, in this attempt or before; nil if nothing was.
func (v *Value) Latest() json.RawMessage {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.next != nil {
		return v.next
	}
	return v.before
}

// Left returns what was left in this attempt, nil if nothing was.
func (v *Value) Left() json.RawMessage {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.next
}
