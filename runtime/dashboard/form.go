package dashboard

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowc-dev/flowc/runtime/spec"
)

// An answerForm asks for the answer to a step, with a field for each field of its type.
type answerForm struct {
	Fields []formField
	// Buttons is set if the only field is a choice of two, which are the buttons then.
	Buttons bool
	// Problem is what is wrong with the answer as a whole.
	Problem string
}

// A formField asks for one value.
type formField struct {
	Name  string // in the form
	Label string
	Hint  string
	// Kind is text, json, choice (of two) or select.
	Kind     string
	Mode     string // the keyboard of a phone: numeric, decimal
	Sample   string // how it is written
	Options  []formOption
	Required bool
	Value    string
	Problem  string

	schema *spec.Schema
	key    string // in the answer; empty for the answer itself
}

// A formOption is a value to choose.
type formOption struct{ Value, Word string }

// answerName is the name of the field of a form that holds the answer; fields of the answer
// follow behind a dot.
const answerName = "answer"

// newForm makes a form of the schema of an answer. Without a schema the answer is empty, and
// the form has no field.
func newForm(schema *spec.Schema) answerForm {
	switch {
	case schema == nil:
		return answerForm{}
	case schema.Type != "object" || len(schema.Properties) == 0:
		f := newField(schema, "", true)
		return answerForm{Fields: []formField{f}, Buttons: f.Kind == "choice"}
	}
	var form answerForm
	for _, name := range schema.Names() {
		form.Fields = append(form.Fields, newField(schema.Properties[name], name, slices.Contains(schema.Required, name)))
	}
	form.Buttons = len(form.Fields) == 1 && form.Fields[0].Kind == "choice"
	return form
}

func newField(s *spec.Schema, key string, required bool) formField {
	f := formField{Name: answerName, Label: "Answer", Hint: s.Description, Kind: "json", Required: required, schema: s, key: key}
	if key != "" {
		f.Name, f.Label = answerName+"."+key, key
	}
	switch {
	case len(s.Enum) > 0:
		f.Kind = "select"
		for i, word := range s.OneOf() {
			f.Options = append(f.Options, formOption{string(s.Enum[i]), word})
		}
	case s.Type == "boolean":
		f.Kind, f.Options = "choice", []formOption{{"true", "Yes"}, {"false", "No"}}
	case s.Type == "integer" && s.Format == "nanoseconds":
		f.Kind, f.Sample = "text", "1h30m"
	case s.Type == "integer":
		f.Kind, f.Mode = "text", "numeric"
		if s.Minimum == nil || *s.Minimum < 0 {
			f.Mode = "" // the numeric keyboard of some phones has no minus
		}
	case s.Type == "number":
		f.Kind, f.Sample = "text", "1.5"
	case s.Type == "string":
		f.Kind = "text"
		if s.Format == "date-time" {
			f.Sample = "2030-01-31T08:00:00Z"
		}
		if s.ContentEncoding == "base64" {
			f.Hint = strings.TrimSpace(f.Hint + " In base64.")
		}
	default:
		f.Hint = strings.TrimSpace(f.Hint + " " + map[string]string{"array": "A list, as JSON.", "object": "An object, as JSON."}[s.Type])
		if s.Type == "" {
			f.Hint = strings.TrimSpace(f.Hint + " As JSON.")
		}
	}
	return f
}

// read reads the answer from what was sent. If there is something wrong with it, ok is false,
// and the form says what, with what was written.
func (form *answerForm) read(schema *spec.Schema, sent url.Values) (answer json.RawMessage, ok bool) {
	if schema == nil {
		return json.RawMessage("null"), true
	}
	ok = true
	var object bytes.Buffer
	for i := range form.Fields {
		f := &form.Fields[i]
		f.Value = sent.Get(f.Name)
		raw := f.json()
		switch {
		case raw == nil && f.Required:
			f.Problem = "it is required"
		case raw != nil:
			var wrong *spec.SchemaError
			if err := f.schema.Check(raw); errors.As(err, &wrong) {
				f.Problem = wrong.Error()
			}
		}
		if f.Problem != "" {
			ok = false
			continue
		}
		if f.key == "" {
			return raw, ok
		}
		if raw != nil {
			name, _ := json.Marshal(f.key) // a text always has a form
			object.WriteByte("{,"[min(object.Len(), 1)])
			object.Write(append(append(name, ':'), raw...))
		}
	}
	if object.Len() == 0 {
		object.WriteByte('{')
	}
	object.WriteByte('}')
	if !ok || form.Fields[0].key == "" {
		return nil, false
	}
	if err := schema.Check(object.Bytes()); err != nil {
		form.Problem = err.Error()
		return nil, false
	}
	return object.Bytes(), true
}

// json returns what was written in a field as JSON, nil if it was left empty. What the type
// refuses is refused by the schema.
func (f *formField) json() json.RawMessage {
	text := strings.TrimSpace(f.Value)
	quoted := func(s string) json.RawMessage {
		raw, _ := json.Marshal(s) // a text always has a form
		return raw
	}
	switch {
	case len(f.schema.Enum) == 0 && f.schema.Type == "string" && (f.Value != "" || f.key == ""):
		if f.schema.Format == "" && f.schema.ContentEncoding == "" {
			return quoted(f.Value)
		}
		return quoted(text)
	case text == "":
		return nil
	case f.schema.Format == "nanoseconds":
		if d, err := time.ParseDuration(text); err == nil {
			return json.RawMessage(strconv.FormatInt(int64(d), 10))
		}
	}
	if f.Kind != "json" && !json.Valid([]byte(text)) {
		return quoted(f.Value)
	}
	return json.RawMessage(text)
}
