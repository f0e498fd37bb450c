package runtime

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// Values is what the database knows of a run that a step can take: each part is
// JSON, or nil if there is none.
type Values struct {
	// Input reads the run's input.
	Input json.RawMessage
	// Outputs is an object: the outputs of the steps that this one waits for,
	// by slug. A step that was skipped is absent.
	Outputs json.RawMessage
	// Item reads the element that a task of a map step works on.
	Item json.RawMessage

	leaves json.RawMessage // the run's output as the database keeps it, or its result
	result json.RawMessage // what the definition says that the run gave
	strict bool            // whether a field that a type does not have is an error
}

// A Source reads a T from the values of a run.
type Source[T any] struct {
	steps  []string // whose outputs are read
	input  bool     // whether the run's input is read
	leaves bool     // whether the run's output is read
	read   func(Values) (T, error)
}

// ofVersion is the source of the same in a run of another version of the flow, whose
// definition says what its result is made of. What does not fit is an error: it may be
// of another type there.
func (s Source[T]) ofVersion(flow string) Source[T] {
	return Source[T]{leaves: true, read: func(v Values) (T, error) {
		var none T
		if _, nothing := any(none).(None); nothing {
			return none, nil
		}
		if raw, untyped := any(v.leaves).(T); untyped {
			return raw, nil
		}
		if v.result == nil {
			return none, fmt.Errorf("it is a run of %s, whose definition does not say what it gives: read it with runtime.GetRun", flow)
		}
		v.strict = true
		out, err := decode[T](v, v.result, "the result of "+flow+", another version of the flow,")
		if err != nil {
			err = fmt.Errorf("%w: read it with runtime.GetRun", err)
		}
		return out, err
	}}
}

// None stands for no value, where a type argument wants one.
type None struct{}

// Nothing is the source of a step that takes nothing, and of the result of a
// flow that gives nothing.
var Nothing = Source[None]{read: func(Values) (None, error) { return None{}, nil }}

// Input reads the run's input.
func Input[T any]() Source[T] {
	return Source[T]{input: true, read: func(v Values) (T, error) {
		return decode[T](v, v.Input, "the run's input")
	}}
}

// Output reads the output of a step; the zero T if the step was skipped.
func Output[T any](step string) Source[T] {
	return Source[T]{steps: []string{step}, read: func(v Values) (T, error) {
		var outputs map[string]json.RawMessage
		if len(v.Outputs) > 0 {
			if err := json.Unmarshal(v.Outputs, &outputs); err != nil {
				return *new(T), fmt.Errorf("outputs of the steps: %w", err)
			}
		}
		return decode[T](v, outputs[step], "the output of "+step)
	}}
}

// Item reads the element that a task of a map step works on.
func Item[T any]() Source[T] {
	return Source[T]{read: func(v Values) (T, error) {
		return decode[T](v, v.Item, "the item")
	}}
}

// RunKey is the key of the run's input among the outputs of steps, which no
// step can have as its slug.
const RunKey = "run"

// Join reads several values into one struct. Wire has a field for each, whose JSON
// name is the slug of a step or [RunKey]; keys are those names; from makes a T of it.
func Join[Wire, T any](from func(Wire) T, keys ...string) Source[T] {
	s := Source[T]{}
	for _, key := range keys {
		if key == RunKey {
			s.input = true
		} else {
			s.steps = append(s.steps, key)
		}
	}
	s.read = func(v Values) (T, error) {
		doc := v.Outputs
		if s.input {
			doc = withRun(v)
		}
		if v.strict {
			doc = only(doc, keys)
		}
		wire, err := decode[Wire](v, doc, "the values that the step waits for")
		if err != nil {
			return *new(T), err
		}
		return from(wire), nil
	}
	return s
}

// only is an object without the members that are not wanted: a step may wait for others
// than those whose outputs it takes.
func only(doc json.RawMessage, keys []string) json.RawMessage {
	var all, wanted map[string]json.RawMessage
	if json.Unmarshal(doc, &all) != nil {
		return doc // which reading it says better
	}
	wanted = map[string]json.RawMessage{}
	for _, key := range keys {
		if value, there := all[key]; there {
			wanted[key] = value
		}
	}
	raw, err := json.Marshal(wanted)
	if err != nil {
		return doc
	}
	return raw
}

// withRun is the object of outputs with the run's input as one more member.
func withRun(v Values) json.RawMessage {
	input := v.Input
	if len(input) == 0 {
		input = json.RawMessage("null")
	}
	var doc bytes.Buffer
	doc.WriteString(`{"` + RunKey + `":`)
	doc.Write(input)
	members := bytes.TrimSpace(v.Outputs)
	if len(members) > 0 {
		members = bytes.TrimSpace(members[1:]) // past the brace
	}
	if len(members) > 0 && members[0] != '}' {
		doc.WriteByte(',')
		doc.Write(members)
	} else {
		doc.WriteByte('}')
	}
	return doc.Bytes()
}

// decode reads a T; what is absent or null is the zero T.
func decode[T any](values Values, raw json.RawMessage, what string) (T, error) {
	var v T
	if len(raw) == 0 {
		return v, nil
	}
	err := json.Unmarshal(raw, &v)
	if err == nil && values.strict {
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		v = *new(T)
		err = d.Decode(&v)
	}
	if err != nil {
		return *new(T), fmt.Errorf("%s is not %s: %w", what, withArticle(reflect.TypeFor[T]().String()), err)
	}
	return v, nil
}

// withArticle is the name of a type as one says it: an invoices.Batch, a uint.
func withArticle(name string) string {
	if strings.ContainsAny(name[:1], "aeio") || strings.HasPrefix(name, "up") || strings.HasPrefix(name, "un") && !strings.HasPrefix(name, "uni") {
		return "an " + name
	}
	return "a " + name
}
