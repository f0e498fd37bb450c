package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"text/template"

	"github.com/flowc-dev/flowc/runtime/handler"
)

// actions are what a tenant's step can do. Each takes the fields that are known so far and
// returns those that it adds or changes.
var actions = map[string]func(s step, known map[string]any) (map[string]any, error){
	"require": requireFields,
	"lower":   lowerFields,
	"sum":     sumFields,
	"text":    writeText,
}

// do handles a step: all it knows is the form, and the outputs of the steps before it.
func (s step) do(_ context.Context, v handler.Values) (any, error) {
	known := map[string]any{}
	if err := json.Unmarshal(v.Input, &known); err != nil {
		return nil, handler.Permanent(err)
	}
	outputs := map[string]map[string]any{}
	if len(v.Outputs) > 0 {
		if err := json.Unmarshal(v.Outputs, &outputs); err != nil {
			return nil, handler.Permanent(err)
		}
	}
	for _, before := range s.After {
		for field, value := range outputs[before] { // none, if that step was skipped
			known[field] = value
		}
	}
	fields, err := actions[s.Action](s, known)
	if err != nil {
		return nil, handler.Permanent(err) // the same form gives the same error
	}
	return fields, nil
}

// requireFields refuses a form without one of the fields. Its output is the whole form, for
// the steps after it.
func requireFields(s step, known map[string]any) (map[string]any, error) {
	for _, field := range s.Fields {
		if known[field] == nil || known[field] == "" {
			return nil, fmt.Errorf("%s is missing", field)
		}
	}
	return known, nil
}

func lowerFields(s step, known map[string]any) (map[string]any, error) {
	changed := map[string]any{}
	for _, field := range s.Fields {
		if text, ok := known[field].(string); ok {
			changed[field] = strings.ToLower(text)
		}
	}
	return changed, nil
}

func sumFields(s step, known map[string]any) (map[string]any, error) {
	total := 0.0
	for _, field := range s.Fields {
		number, ok := known[field].(float64)
		if !ok {
			return nil, fmt.Errorf("%s is not a number", field)
		}
		total += number
	}
	return map[string]any{s.Name: total, "large": total >= 1000}, nil
}

func writeText(s step, known map[string]any) (map[string]any, error) {
	t, err := template.New(s.Name).Option("missingkey=error").Parse(s.Text)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	if err := t.Execute(&b, known); err != nil {
		return nil, err
	}
	return map[string]any{s.Name: b.String()}, nil
}
