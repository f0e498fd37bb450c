package spec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
)

// A Condition ties the pattern of a step to the Go types that it was made from:
// it has a value that meets the condition, so that the names in the pattern can
// be compared with those that the value has in JSON. Generated code makes them.
type Condition struct {
	step    string
	not     bool // it is the step's IfNot
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

func example[Subject any](meet func(*Subject)) func() ([]byte, error) {
	return func() ([]byte, error) {
		var subject Subject
		meet(&subject)
		return json.Marshal(&subject)
	}
}

// At returns what a pointer points to. A nil pointer is made to point to something
// first. Generated code calls it.
func At[T any](p **T) *T {
	if *p == nil {
		*p = new(T)
	}
	return *p
}

// outdated says, for each condition that no longer fits its Go types, why.
func outdated(f Flow) (faults []Fault) {
	for _, c := range f.Conditions {
		key, pattern := "if", json.RawMessage(nil)
		for _, s := range f.Steps {
			if s.Slug == c.step {
				pattern = s.If
				if c.not {
					key, pattern = "if_not", s.IfNot
				}
			}
		}
		written, err := c.example()
		if err != nil {
			faults = append(faults, Fault{c.step, fmt.Sprintf("what its %s looks at cannot be written as JSON any more: %v", key, err)})
			continue
		}
		var want, have any
		if err := decodeNumbers(pattern, &want); err != nil {
			continue // Validate says so
		}
		if err := decodeNumbers(written, &have); err != nil {
			faults = append(faults, Fault{c.step, fmt.Sprintf("what its %s looks at is not JSON: %v", key, err)})
			continue
		}
		if path, ok := contains(have, want, nil); !ok {
			faults = append(faults, Fault{c.step, fmt.Sprintf(
				"its %s looks for %s, but the Go types do not write %s like that any more, so it would never hold: run go generate",
				key, pattern, strings.Join(path, "."))})
		}
	}
	return faults
}

func decodeNumbers(raw []byte, v *any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return d.Decode(v)
}

// contains reports whether a document contains a pattern of objects and plain
// values, as jsonb does, or else the path to what it lacks.
func contains(doc, pattern any, path []string) (lacks []string, ok bool) {
	switch want := pattern.(type) {
	case map[string]any:
		have, _ := doc.(map[string]any)
		for name, value := range want {
			at := append(path[:len(path):len(path)], name)
			member, exists := have[name]
			if !exists {
				return at, false
			}
			if lacks, ok := contains(member, value, at); !ok {
				return lacks, false
			}
		}
		return nil, true
	case json.Number:
		have, isNumber := doc.(json.Number)
		return path, isNumber && sameNumber(have, want)
	}
	return path, doc == pattern
}

func sameNumber(a, b json.Number) bool {
	x, okX := new(big.Rat).SetString(a.String())
	y, okY := new(big.Rat).SetString(b.String())
	return a == b || okX && okY && x.Cmp(y) == 0
}
