package handler

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/flowc-dev/flowc/dsl"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// Values holds what a step can take of a run: each part is JSON, or nil if there is none.
type Values struct {
	// Input is the run's input.
	Input json.RawMessage
	// Outputs is an object with the outputs of the steps that this one waits for, by slug.
	// Skipped steps are absent.
	Outputs json.RawMessage
	// Item is the element that a task of a map step works on.
	Item json.RawMessage
	// Tx is the transaction of a step with [spec.Step.Tx]: a pgx.Tx or a *sql.Tx.
	Tx any
	// Strict makes a field that a Go type does not have an error.
	Strict bool
}

// A Source reads a T from the values of a run.
type Source[T any] struct {
	// Steps are the slugs of the steps whose outputs are read.
	Steps []string
	// Input reports whether the run's input is read.
	Input bool
	// Read reads the T.
	Read func(Values) (T, error)
}

// Nothing returns the source of a step without an input, and of a flow without a result.
func Nothing() Source[dsl.None] {
	return Source[dsl.None]{Read: func(Values) (dsl.None, error) { return dsl.None{}, nil }}
}

// Input returns the source that reads the run's input.
func Input[T any]() Source[T] {
	return Source[T]{Input: true, Read: func(v Values) (T, error) {
		return Decode[T](v.Input, v.Strict, "the run's input")
	}}
}

// Output reads the output of a step; the zero T if the step was skipped.
func Output[T any](step string) Source[T] {
	return Source[T]{Steps: []string{step}, Read: func(v Values) (T, error) {
		var outputs map[string]json.RawMessage
		if len(v.Outputs) > 0 {
			if err := json.Unmarshal(v.Outputs, &outputs); err != nil {
				return *new(T), fmt.Errorf("outputs of the steps: %w", err)
			}
		}
		return Decode[T](outputs[step], v.Strict, "the output of "+step)
	}}
}

// Item reads the element that a task of a map step works on.
func Item[T any]() Source[T] {
	return Source[T]{Read: func(v Values) (T, error) {
		return Decode[T](v.Item, v.Strict, "the item")
	}}
}

// Join reads several values into one struct. Wire has a field for each, whose JSON name is
// the slug of a step or [spec.RunKey]; keys are those names; from converts it to a T.
func Join[Wire, T any](from func(Wire) T, keys ...string) Source[T] {
	s := Source[T]{}
	for _, key := range keys {
		if key == spec.RunKey {
			s.Input = true
		} else {
			s.Steps = append(s.Steps, key)
		}
	}
	s.Read = func(v Values) (T, error) {
		doc := v.Outputs
		if s.Input {
			doc = withRun(v)
		}
		if v.Strict {
			doc = only(doc, keys)
		}
		wire, err := Decode[Wire](doc, v.Strict, "the values that the step waits for")
		if err != nil {
			return *new(T), err
		}
		return from(wire), nil
	}
	return s
}

// only removes unwanted members from an object: a step may wait for more steps than it
// takes outputs from.
func only(doc json.RawMessage, keys []string) json.RawMessage {
	var all, wanted map[string]json.RawMessage
	if json.Unmarshal(doc, &all) != nil {
		return doc // decoding it reports the error
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

// withRun adds the run's input to an object of outputs as one more member.
func withRun(v Values) json.RawMessage {
	input := v.Input
	if len(input) == 0 {
		input = json.RawMessage("null")
	}
	var doc bytes.Buffer
	doc.WriteString(`{"` + spec.RunKey + `":`)
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

// Decode decodes a T from JSON; absent and null values are the zero T. what names the value
// in errors; with strict, a field that the type lacks is an error.
func Decode[T any](raw json.RawMessage, strict bool, what string) (T, error) {
	var v T
	if len(raw) == 0 {
		return v, nil
	}
	err := json.Unmarshal(raw, &v)
	if err == nil && strict {
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

// withArticle returns the name of a type with its article: an invoices.Batch, a uint.
func withArticle(name string) string {
	if strings.ContainsAny(name[:1], "aeio") || strings.HasPrefix(name, "up") || strings.HasPrefix(name, "un") && !strings.HasPrefix(name, "uni") {
		return "an " + name
	}
	return "a " + name
}
