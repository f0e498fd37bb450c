package spec

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Schema is the JSON Schema of an answer, as far as a form needs it: what generated code
// makes of the Go type. See [Step.Answer].
type Schema struct {
	// Type is object, array, string, integer, number or boolean; empty for any value.
	Type string `json:"type,omitempty"`
	// Title is the name of the type, Description its comment, or that of the field.
	Title       string `json:"title,omitempty"`
	Description string `json:"description,omitempty"`
	// Format is date-time of a string that is a time of RFC 3339, nanoseconds of an integer
	// that is a duration.
	Format string `json:"format,omitempty"`
	// ContentEncoding is base64 of a string that is bytes.
	ContentEncoding string `json:"contentEncoding,omitempty"`
	// Enum are the values that it may have, and EnumNames the names of those that are
	// numbers.
	Enum      []json.RawMessage `json:"enum,omitempty"`
	EnumNames []string          `json:"enumNames,omitempty"`
	// Minimum and Maximum bound a number.
	Minimum *int64 `json:"minimum,omitempty"`
	Maximum *int64 `json:"maximum,omitempty"`
	// Items is an element of an array, MinItems and MaxItems are how many it may have.
	Items    *Schema `json:"items,omitempty"`
	MinItems *int    `json:"minItems,omitempty"`
	MaxItems *int    `json:"maxItems,omitempty"`
	// Properties are the fields of an object, PropertyOrder their names in order, and
	// Required the names of those that are always there.
	Properties    map[string]*Schema `json:"properties,omitempty"`
	PropertyOrder []string           `json:"propertyOrder,omitempty"`
	Required      []string           `json:"required,omitempty"`
	// Additional is a value of a map.
	Additional *Schema `json:"additionalProperties,omitempty"`
}

// A SchemaError says what is wrong with a value, and where.
type SchemaError struct {
	// Path leads to it: "lines[2].text"; empty for the whole value.
	Path string
	// Reason is what is wrong: "it must be a whole number".
	Reason string
}

func (e *SchemaError) Error() string {
	if e.Path == "" {
		return e.Reason
	}
	return e.Path + ": " + e.Reason
}

// AnswerSchema returns the schema of the answer of a step that waits, nil if it has none.
func (s Step) AnswerSchema() (*Schema, error) {
	if len(s.Answer) == 0 || string(s.Answer) == "null" {
		return nil, nil
	}
	var schema Schema
	if err := json.Unmarshal(s.Answer, &schema); err != nil {
		return nil, fmt.Errorf("flowc: the schema of the answer of step %s cannot be read: %w", s.Slug, err)
	}
	return &schema, nil
}

// Check returns a [SchemaError] if a value is not as the schema describes it: if the Go type
// would refuse it, if it lacks what is required, or has a field that the type does not have.
func (s *Schema) Check(value json.RawMessage) error {
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return &SchemaError{Reason: "it is not JSON: " + err.Error()}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return &SchemaError{Reason: "it is more than one value"}
	}
	return s.check("", v)
}

// OneOf returns the values that it may have in words, as its names if it has some.
func (s *Schema) OneOf() []string {
	var words []string
	for i, v := range s.Enum {
		word := string(v)
		if i < len(s.EnumNames) {
			word = s.EnumNames[i]
		} else if text := ""; json.Unmarshal(v, &text) == nil {
			word = text
		}
		words = append(words, word)
	}
	return words
}

func (s *Schema) check(path string, v any) error {
	wrong := func(format string, args ...any) error {
		return &SchemaError{Path: path, Reason: fmt.Sprintf(format, args...)}
	}
	if len(s.Enum) > 0 && !slices.ContainsFunc(s.Enum, func(allowed json.RawMessage) bool { return sameScalar(allowed, v) }) {
		return wrong("it must be one of %s", strings.Join(s.OneOf(), ", "))
	}
	switch s.Type {
	case "object":
		fields, ok := v.(map[string]any)
		if !ok {
			return wrong("it must be an object, as {…}")
		}
		return s.checkObject(path, fields)
	case "array":
		items, ok := v.([]any)
		switch {
		case !ok:
			return wrong("it must be a list, as […]")
		case s.MinItems != nil && len(items) < *s.MinItems, s.MaxItems != nil && len(items) > *s.MaxItems:
			return wrong("it has %d elements, %s", len(items), s.length())
		}
		for i, item := range items {
			if s.Items == nil || item == nil {
				continue
			}
			if err := s.Items.check(path+"["+strconv.Itoa(i)+"]", item); err != nil {
				return err
			}
		}
	case "string":
		text, ok := v.(string)
		if !ok {
			return wrong("it must be a text")
		}
		if reason := s.checkText(text); reason != "" {
			return wrong("%s", reason)
		}
	case "integer", "number":
		n, ok := v.(json.Number)
		if !ok {
			return wrong("it must be a %s", map[bool]string{true: "whole number", false: "number"}[s.Type == "integer"])
		}
		if reason := s.checkNumber(n); reason != "" {
			return wrong("%s", reason)
		}
	case "boolean":
		if _, ok := v.(bool); !ok {
			return wrong("it must be true or false")
		}
	}
	return nil
}

func (s *Schema) checkObject(path string, fields map[string]any) error {
	if path != "" {
		path += "."
	}
	for _, name := range s.Required {
		if fields[name] == nil {
			return &SchemaError{path + name, "it is required"}
		}
	}
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		field := s.Properties[name]
		if field == nil {
			if field = s.Additional; field == nil && s.Properties != nil {
				return &SchemaError{path + name, "there is no such field, only " + strings.Join(s.Names(), ", ")}
			}
		}
		if field == nil || fields[name] == nil { // null leaves a field as it is
			continue
		}
		if err := field.check(path+name, fields[name]); err != nil {
			return err
		}
	}
	return nil
}

// Names returns the names of the fields of an object in the order of the declaration.
func (s *Schema) Names() []string {
	names := slices.DeleteFunc(slices.Clone(s.PropertyOrder), func(name string) bool { return s.Properties[name] == nil })
	var others []string
	for name := range s.Properties {
		if !slices.Contains(names, name) {
			others = append(others, name)
		}
	}
	slices.Sort(others)
	return append(names, others...)
}

// length says how many elements a list may have.
func (s *Schema) length() string {
	switch {
	case s.MinItems == nil:
		return fmt.Sprintf("it must have at most %d", *s.MaxItems)
	case s.MaxItems == nil:
		return fmt.Sprintf("it must have at least %d", *s.MinItems)
	case *s.MinItems == *s.MaxItems:
		return fmt.Sprintf("it must have %d", *s.MinItems)
	}
	return fmt.Sprintf("it must have %d to %d", *s.MinItems, *s.MaxItems)
}

// checkText returns what is wrong with a text.
func (s *Schema) checkText(text string) string {
	switch {
	case strings.ContainsRune(text, 0):
		return "it has a zero byte, which PostgreSQL cannot store"
	case s.Format == "date-time":
		if _, err := time.Parse(time.RFC3339, text); err != nil {
			return "it must be a time such as 2030-01-31T08:00:00Z"
		}
	case s.ContentEncoding == "base64":
		if _, err := base64.StdEncoding.DecodeString(text); err != nil {
			return "it must be bytes in base64"
		}
	}
	return ""
}

// checkNumber returns what is wrong with a number.
func (s *Schema) checkNumber(n json.Number) string {
	if s.Type == "number" {
		f, err := n.Float64()
		switch {
		case err != nil || math.IsInf(f, 0):
			return "it is too large"
		case s.Minimum != nil && f < float64(*s.Minimum), s.Maximum != nil && f > float64(*s.Maximum):
			return s.bounds()
		}
		return ""
	}
	whole, err := strconv.ParseInt(n.String(), 10, 64)
	if err != nil {
		// A number of 64 bits without a sign may be larger.
		if _, unsigned := strconv.ParseUint(n.String(), 10, 64); unsigned == nil && s.Minimum != nil && *s.Minimum == 0 && s.Maximum == nil {
			return ""
		}
		if errors.Is(err, strconv.ErrRange) {
			return "it is too large"
		}
		return "it must be a whole number"
	}
	if s.Minimum != nil && whole < *s.Minimum || s.Maximum != nil && whole > *s.Maximum {
		return s.bounds()
	}
	return ""
}

// bounds says between which numbers it must be.
func (s *Schema) bounds() string {
	switch {
	case s.Minimum == nil:
		return fmt.Sprintf("it must be at most %d", *s.Maximum)
	case s.Maximum == nil:
		return fmt.Sprintf("it must be at least %d", *s.Minimum)
	}
	return fmt.Sprintf("it must be %d to %d", *s.Minimum, *s.Maximum)
}

// sameScalar reports whether a value that was decoded is the same as one of an enum.
func sameScalar(allowed json.RawMessage, v any) bool {
	d := json.NewDecoder(bytes.NewReader(allowed))
	d.UseNumber()
	var want any
	if d.Decode(&want) != nil {
		return false
	}
	switch want.(type) {
	case string, json.Number, bool:
		return want == v
	}
	return false
}
