package spec

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/flowc-dev/flowc/runtime/internal/jsontext"
)

// A Condition ties the pattern of a step, or a path of it, to the Go types that it was
// generated from: it has a value that meets the condition, so that the names in the pattern
// can be compared with those of the value in JSON. Generated code has them.
type Condition struct {
	step    string
	unique  int    // it is that of a path of Unique, the first being 1
	not     bool   // it is the step's IfNot
	path    string // it is that of a path of the step, and which
	example func() ([]byte, error)
}

// If returns the [Step.If] of a step; meet makes a subject meet it. Generated
// code calls it.
func If[Subject any](step string, meet func(*Subject)) Condition {
	return Condition{step: step, example: example(meet)}
}

// IfNot returns the [Step.IfNot] of a step; meet makes a subject contain it.
// Generated code calls it.
func IfNot[Subject any](step string, meet func(*Subject)) Condition {
	return Condition{step: step, not: true, example: example(meet)}
}

// Leads returns what ties a path of a step to the Go types that it was generated from: the
// option is StartAt, StartDelayFrom or Key; set sets the value that the path leads to.
// Generated code calls it.
func Leads[Subject any](step, option string, set func(*Subject)) Condition {
	return Condition{step: step, path: option, example: example(set)}
}

// UniqueBy returns what ties the n-th path of [Flow.Unique], from 0, to the Go type of the
// input; set sets the value that it leads to. Generated code calls it.
func UniqueBy[In any](n int, set func(*In)) Condition {
	return Condition{unique: n + 1, path: "Unique", example: example(set)}
}

func example[Subject any](meet func(*Subject)) func() ([]byte, error) {
	return func() ([]byte, error) {
		var subject Subject
		meet(&subject)
		return json.Marshal(&subject)
	}
}

// At returns what a pointer points to, after pointing a nil pointer to a new value.
// Generated code calls it.
func At[T any](p **T) *T {
	if *p == nil {
		*p = new(T)
	}
	return *p
}

// outdated returns a fault for each condition that no longer fits its Go types.
func outdated(f Flow) (faults []Fault) {
	for _, c := range f.Conditions {
		key, article := "If", "an"
		if c.not {
			key = "IfNot"
		}
		if c.path != "" {
			key, article = c.path, "a"
		}
		if c.unique > 0 {
			if f.Unique != nil && c.unique <= len(f.Unique.By) {
				faults = append(faults, c.lostPath("", f.Unique.By[c.unique-1])...)
			}
			continue
		}
		step := f.Step(c.step)
		switch {
		case c.example == nil:
			faults = append(faults, Fault{c.step, "one of its Conditions is the zero value: make them with If and IfNot"})
			continue
		case step == nil:
			faults = append(faults, Fault{"", fmt.Sprintf("its Conditions have %s %s of %q, which is no step of this flow", article, key, c.step)})
			continue
		}
		if c.path != "" {
			faults = append(faults, c.lost(step)...)
			continue
		}
		pattern := step.If
		if c.not {
			pattern = step.IfNot
		}
		if pattern == nil {
			faults = append(faults, Fault{c.step, fmt.Sprintf("its Conditions have an %s of it, but it has none", key)})
			continue
		}
		written, err := c.example()
		if err != nil {
			faults = append(faults, Fault{c.step, fmt.Sprintf("the value that its %s checks cannot be encoded as JSON any more: %v", key, err)})
			continue
		}
		want, err := jsontext.Decode(pattern)
		if err != nil {
			continue // Validate says so
		}
		have, err := jsontext.Decode(written)
		if err != nil {
			faults = append(faults, Fault{c.step, fmt.Sprintf("the value that its %s checks is not JSON: %v", key, err)})
			continue
		}
		if path, ok := jsontext.Contains(have, want); !ok {
			faults = append(faults, Fault{c.step, fmt.Sprintf(
				"its %s looks for %s, but the Go types do not write %s like that any more, so it would never hold: run go generate",
				key, pattern, strings.Join(path, "."))})
		}
	}
	return faults
}

// lost returns a fault if a path of a step no longer leads to what its Go types write.
func (c Condition) lost(step *Step) []Fault {
	path, known := map[string]Path{"StartAt": step.StartAt, "StartDelayFrom": step.StartDelayFrom, "Key": step.Key}[c.path]
	switch {
	case !known:
		return []Fault{{c.step, fmt.Sprintf("its Conditions have a path %q: StartAt, StartDelayFrom and Key are paths", c.path)}}
	case len(path) == 0:
		return nil // whoever took it away, as a test does with delays, may do that
	}
	return c.lostPath(c.step, path)
}

// lostPath returns a fault if a path no longer leads to what the Go types write.
func (c Condition) lostPath(step string, path Path) []Fault {
	written, err := c.example()
	if err != nil {
		return []Fault{{step, fmt.Sprintf("the value that its %s looks into cannot be encoded as JSON any more: %v", c.path, err)}}
	}
	if path[0] == RunKey {
		path = path[1:]
	}
	for _, name := range path {
		var members map[string]json.RawMessage
		if json.Unmarshal(written, &members) != nil || members[name] == nil || string(members[name]) == "null" {
			return []Fault{{step, fmt.Sprintf("its %s leads to %s, but the Go types do not write %s any more: run go generate", c.path, path, name)}}
		}
		written = members[name]
	}
	return nil
}
