package dashboard

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/flowc-dev/flowc/runtime"
)

// drift says how a flow in the database differs from what the program declares.
// known is false if the program does not declare it, and there is nothing to say.
func (h *Handler) drift(stored runtime.Definition) (differences []string, known bool) {
	for _, declared := range h.config.Definitions {
		if declared.Slug == stored.Slug {
			return compare(declared, stored), true
		}
	}
	return nil, false
}

// compare lists what is different in two definitions of a flow, in words.
func compare(declared, stored runtime.Definition) []string {
	var all []string
	note := func(where, what, want, have string) {
		if want != have {
			all = append(all, where+what+" is "+want+" in the program and "+have+" in the database")
		}
	}
	theirs := map[string]stepOptions{}
	for _, s := range effective(stored) {
		theirs[s.Slug] = s
	}
	for _, want := range effective(declared) {
		where := "step " + want.Slug + ": "
		have, ok := theirs[want.Slug]
		if !ok {
			all = append(all, "step "+want.Slug+" is not in the database")
			continue
		}
		delete(theirs, want.Slug)
		note(where, "the type", kind(want.Map), kind(have.Map))
		note(where, "what it waits for", list(want.Deps), list(have.Deps))
		note(where, "the condition if", pattern(want.If), pattern(have.If))
		note(where, "the condition if_not", pattern(want.IfNot), pattern(have.IfNot))
		if want.If != "" || want.IfNot != "" {
			note(where, "when_unmet", mode(want.WhenUnmet, runtime.SkipStep), mode(have.WhenUnmet, runtime.SkipStep))
		}
		note(where, "when_exhausted", string(want.WhenExhausted), string(have.WhenExhausted))
		note(where, "max_attempts", strconv.Itoa(want.Tries), strconv.Itoa(have.Tries))
		note(where, "base_delay", want.Delay.String(), have.Delay.String())
		note(where, "timeout", want.Timeout.String(), have.Timeout.String())
		note(where, "start_delay", want.After.String(), have.After.String())
	}
	for _, s := range effective(stored) {
		if _, left := theirs[s.Slug]; left {
			all = append(all, "step "+s.Slug+" is not in the program")
		}
	}
	return all
}

func kind(isMap bool) string {
	if isMap {
		return string(runtime.MapStep)
	}
	return string(runtime.SingleStep)
}

// list is what a step waits for, in any order.
func list(slugs []string) string {
	if len(slugs) == 0 {
		return "nothing"
	}
	sorted := slices.Clone(slugs)
	slices.Sort(sorted)
	return strings.Join(sorted, ", ")
}

// pattern is a condition in the one form that both sides have.
func pattern(text string) string {
	if text == "" {
		return "none"
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var value any
	if d.Decode(&value) != nil {
		return text
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(value) != nil {
		return text
	}
	return strings.TrimSpace(b.String())
}

func mode(m, otherwise runtime.Mode) string {
	if m == "" {
		m = otherwise
	}
	return string(m)
}
