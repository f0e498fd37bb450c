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
	option  string // If, IfNot, StartAt, StartDelayFrom, Key or Unique
	n       int    // which path of Unique, from 0
	example func() ([]byte, error)
}

// If returns the [Step.If] of a step; meet makes a subject meet it. Generated
// code calls it.
func If[Subject any](step string, meet func(*Subject)) Condition {
	return Condition{step: step, option: "If", example: example(meet)}
}

// IfNot returns the [Step.IfNot] of a step; meet makes a subject contain it.
// Generated code calls it.
func IfNot[Subject any](step string, meet func(*Subject)) Condition {
	return Condition{step: step, option: "IfNot", example: example(meet)}
}

// Leads returns what ties a path of a step to the Go types that it was generated from: the
// option is StartAt, StartDelayFrom or Key, or without a step [Flow.Key]; set sets the value
// that the path leads to.
// Generated code calls it.
func Leads[Subject any](step, option string, set func(*Subject)) Condition {
	return Condition{step: step, option: option, example: example(set)}
}

// UniqueBy returns what ties the n-th path of [Flow.Unique], from 0, to the Go type of the
// input; set sets the value that it leads to. Generated code calls it.
func UniqueBy[In any](n int, set func(*In)) Condition {
	return Condition{option: "Unique", n: n, example: example(set)}
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
		step := f.Step(c.step)
		switch {
		case c.option == "Unique":
			if f.Unique != nil && c.n < len(f.Unique.By) {
				faults = append(faults, c.lostPath("", f.Unique.By[c.n])...)
			}
		case c.option == "Key" && c.step == "":
			if f.Key != nil {
				faults = append(faults, c.lostPath("", f.Key)...)
			}
		case c.example == nil:
			faults = append(faults, Fault{c.step, "one of its Conditions is the zero value: make them with If and IfNot"})
		case step == nil:
			article := "a"
			if strings.HasPrefix(c.option, "If") {
				article = "an"
			}
			faults = append(faults, Fault{"", fmt.Sprintf("its Conditions have %s %s of %q, which is no step of this flow", article, c.option, c.step)})
		case c.option == "If":
			faults = append(faults, c.unmet(step.If)...)
		case c.option == "IfNot":
			faults = append(faults, c.unmet(step.IfNot)...)
		default:
			faults = append(faults, c.lost(step)...)
		}
	}
	return faults
}

// unmet returns a fault if what the Go types write does not meet the pattern of a step any
// more.
func (c Condition) unmet(pattern json.RawMessage) []Fault {
	if pattern == nil {
		return []Fault{{c.step, fmt.Sprintf("its Conditions have an %s of it, but it has none", c.option)}}
	}
	written, err := c.example()
	if err != nil {
		return []Fault{{c.step, fmt.Sprintf("the value that its %s checks cannot be encoded as JSON any more: %v", c.option, err)}}
	}
	want, err := jsontext.Decode(pattern)
	if err != nil {
		return nil // Validate says so
	}
	have, err := jsontext.Decode(written)
	if err != nil {
		return []Fault{{c.step, fmt.Sprintf("the value that its %s checks is not JSON: %v", c.option, err)}}
	}
	if path, ok := jsontext.Contains(have, want); !ok {
		return []Fault{{c.step, fmt.Sprintf(
			"its %s looks for %s, but the Go types do not write %s like that any more, so it would never hold: run go generate",
			c.option, pattern, strings.Join(path, "."))}}
	}
	return nil
}

// lost returns a fault if a path of a step no longer leads to what its Go types write.
func (c Condition) lost(step *Step) []Fault {
	path, known := map[string]Path{"StartAt": step.StartAt, "StartDelayFrom": step.StartDelayFrom, "Key": step.Key}[c.option]
	switch {
	case !known:
		return []Fault{{c.step, fmt.Sprintf("its Conditions have a path %q: StartAt, StartDelayFrom and Key are paths", c.option)}}
	case len(path) == 0:
		return nil // whoever took it away, as a test does with delays, may do that
	}
	return c.lostPath(c.step, path)
}

// lostPath returns a fault if a path no longer leads to what the Go types write.
func (c Condition) lostPath(step string, path Path) []Fault {
	written, err := c.example()
	if err != nil {
		return []Fault{{step, fmt.Sprintf("the value that its %s looks into cannot be encoded as JSON any more: %v", c.option, err)}}
	}
	if path[0] == RunKey {
		path = path[1:]
	}
	for _, name := range path {
		var members map[string]json.RawMessage
		if json.Unmarshal(written, &members) != nil || members[name] == nil || string(members[name]) == "null" {
			return []Fault{{step, fmt.Sprintf("its %s leads to %s, but the Go types do not write %s any more: run go generate", c.option, path, name)}}
		}
		written = members[name]
	}
	return nil
}
