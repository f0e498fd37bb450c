// A model of random flows, which says how their runs must end.

package engine_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"
)

// A graph is a random flow together with what its handlers do, from which follows
// what must become of a run: see [graph.outcome].
type graph struct {
	Input    string // JSON
	Steps    []graphStep
	Attempts int // the flow's max_attempts
}

type graphStep struct {
	Slug          string
	Map           bool
	Deps          []int
	Attempts      *int
	Required      map[string]any
	Forbidden     map[string]any
	WhenUnmet     string
	WhenExhausted string

	// What the handler does: how often the task of an index fails, and what it
	// gives in the end.
	Failures []int
	Outputs  []string // JSON; "" is SQL NULL
}

// perTask gives the element for a task, of a list that is shorter than the tasks.
func perTask[T any](list []T, index int) T { return list[index%len(list)] }

func (s graphStep) fails(index, attempt int) bool { return attempt <= perTask(s.Failures, index) }

func (s graphStep) output(index int) string { return perTask(s.Outputs, index) }

var modes = []string{"fail", "skip", "skip-cascade"}

// graphs generates graphs. Failures of runs are kept rare enough for most steps
// of most runs to be reached.
func graphs() *rapid.Generator[graph] {
	return rapid.Custom(func(t *rapid.T) graph {
		g := graph{Attempts: rapid.IntRange(1, 3).Draw(t, "attempts")}
		count := rapid.IntRange(1, 8).Draw(t, "steps")
		rootMap, mapOver := false, map[int]bool{}
		for i := range count {
			s := graphStep{Slug: fmt.Sprintf("%c%d", 'z'-rune(i), i)} // names sort against the order
			s.Map = rapid.IntRange(0, 2).Draw(t, "map") == 0
			if i > 0 && rapid.IntRange(0, 4).Draw(t, "root") > 0 {
				limit := min(i, 3)
				if s.Map {
					limit = 1
				}
				s.Deps = rapid.SliceOfNDistinct(rapid.IntRange(0, i-1), 1, limit, rapid.ID).Draw(t, "deps")
				slices.Sort(s.Deps)
			}
			if s.Map && len(s.Deps) == 0 {
				rootMap = true
			} else if s.Map {
				mapOver[s.Deps[0]] = true
			}
			if rapid.Bool().Draw(t, "own attempts") {
				attempts := rapid.IntRange(0, 3).Draw(t, "step attempts")
				s.Attempts = &attempts
			}
			s.WhenExhausted = rapid.SampledFrom(modes).Draw(t, "when_exhausted")
			s.WhenUnmet = rapid.SampledFrom([]string{"skip", "skip", "skip-cascade", "skip-cascade", "fail"}).Draw(t, "when_unmet")
			g.Steps = append(g.Steps, s)
		}
		if rootMap {
			g.Input = rapid.SampledFrom([]string{`[]`, `[1]`, `[null, {"k": 1}]`, `["x", [1], 3]`}).Draw(t, "input")
		} else {
			g.Input = rapid.SampledFrom([]string{`{"k": 1}`, `{"k": 2}`, `null`, `"x"`}).Draw(t, "input")
		}
		for i := range g.Steps {
			s := &g.Steps[i]
			if rapid.IntRange(0, 2).Draw(t, "condition") == 0 {
				s.Required, s.Forbidden = g.conditions(t, s.Deps)
			}
			s.Failures = rapid.SliceOfN(rapid.SampledFrom([]int{0, 0, 0, 0, 1, 2, 9}), 1, 3).Draw(t, "failures")
			kinds := []string{`1`, `{"k": 1}`, `{"k": 2}`, `null`, `[]`, ``}
			if mapOver[i] && !s.Map {
				kinds = []string{`[]`, `[1]`, `[2, null]`, `[[1], {"k": 1}, "x"]`, `[1]`, `[3, 4]`, `{"k": 1}`}
			}
			s.Outputs = rapid.SliceOfN(rapid.SampledFrom(kinds), 1, 3).Draw(t, "outputs")
		}
		return g
	})
}

func (g graph) conditions(t *rapid.T, deps []int) (required, forbidden map[string]any) {
	pattern := func(name string) map[string]any {
		value := rapid.SampledFrom([]any{float64(1), map[string]any{"k": float64(1)}, []any{}, nil}).Draw(t, name)
		if len(deps) == 0 {
			return map[string]any{"k": value}
		}
		return map[string]any{g.Steps[rapid.SampledFrom(deps).Draw(t, name+" of")].Slug: value}
	}
	if rapid.Bool().Draw(t, "required") {
		required = pattern("required pattern")
	}
	if rapid.Bool().Draw(t, "forbidden") {
		forbidden = pattern("forbidden pattern")
	}
	return required, forbidden
}

// definition is the graph as flowc.upsert_flow takes it.
func (g graph) definition() string {
	pattern := func(p map[string]any) map[string]any {
		if p == nil {
			return map[string]any{"defined": false}
		}
		return map[string]any{"defined": true, "value": p}
	}
	steps := []any{}
	for _, s := range g.Steps {
		deps, options, kind := []string{}, map[string]any{}, "single"
		for _, d := range s.Deps {
			deps = append(deps, g.Steps[d].Slug)
		}
		slices.Sort(deps)
		if s.Attempts != nil {
			options["maxAttempts"] = *s.Attempts
		}
		if s.Map {
			kind = "map"
		}
		steps = append(steps, map[string]any{"slug": s.Slug, "stepType": kind, "dependencies": deps, "whenUnmet": s.WhenUnmet,
			"whenExhausted": s.WhenExhausted, "requiredInputPattern": pattern(s.Required), "forbiddenInputPattern": pattern(s.Forbidden), "options": options})
	}
	return encode(map[string]any{"options": map[string]any{"maxAttempts": g.Attempts, "baseDelay": 0, "timeout": 60}, "steps": steps})
}

func (g graph) step(slug string) graphStep {
	return g.Steps[slices.IndexFunc(g.Steps, func(s graphStep) bool { return s.Slug == slug })]
}

// An outcome is what must become of a run, whatever the order in which its tasks
// are done. Of a run that fails only that is certain, and what of it completes
// gives what it would have.
type outcome struct {
	Fails  bool
	Steps  []stepOutcome // as in the graph
	Output any           // nil: SQL NULL
}

type stepOutcome struct {
	Status     string // "", if it depends on a failed step
	SkipReason string
	Tasks      int
	Output     any
	Input      any // of the step's handlers; of a map, what it runs over
}

// outcome computes what must become of a run by the rules of the contract.
func (g graph) outcome() outcome {
	o := outcome{Steps: make([]stepOutcome, len(g.Steps))}
	input := decode(g.Input)
	for i, s := range g.Steps {
		o.Steps[i] = g.stepOutcome(s, o.Steps, input)
		o.Fails = o.Fails || o.Steps[i].Status == "failed"
	}
	leaves := map[string]any{}
	for i, s := range g.Steps {
		leaf := !slices.ContainsFunc(g.Steps, func(c graphStep) bool { return slices.Contains(c.Deps, i) })
		if leaf && o.Steps[i].Status == "completed" {
			leaves[s.Slug] = o.Steps[i].Output
		}
	}
	if len(leaves) > 0 {
		o.Output = leaves
	}
	return o
}

func (g graph) stepOutcome(s graphStep, before []stepOutcome, input any) stepOutcome {
	for _, d := range s.Deps {
		if before[d].Status == "skipped" && before[d].SkipReason != "plain" {
			return stepOutcome{Status: "skipped", SkipReason: "dependency_skipped"}
		}
	}
	inputs := map[string]any{}
	for _, d := range s.Deps {
		switch dep := before[d]; {
		case dep.Status == "failed" || dep.Status == "":
			return stepOutcome{}
		case dep.Status == "completed":
			inputs[g.Steps[d].Slug] = dep.Output
		}
	}
	var subject any = inputs
	if len(s.Deps) == 0 {
		subject = input
	}
	if s.Required != nil && !contains(subject, s.Required) || s.Forbidden != nil && contains(subject, s.Forbidden) {
		return skipOrFail(s.WhenUnmet)
	}

	out := stepOutcome{Status: "completed", Tasks: 1, Input: subject}
	if s.Map {
		list, _ := input.([]any)
		if len(s.Deps) > 0 {
			list, _ = inputs[g.Steps[s.Deps[0]].Slug].([]any) // none, if that was skipped
		}
		out.Tasks, out.Input = len(list), list
	}
	results := []any{}
	for i := range out.Tasks {
		attempts := g.Attempts
		if s.Attempts != nil {
			attempts = *s.Attempts
		}
		if s.fails(i, max(attempts, 1)) {
			skipped := skipOrFail(s.WhenExhausted)
			skipped.Tasks, skipped.Input = out.Tasks, out.Input
			return skipped
		}
		results = append(results, decode(s.output(i)))
	}
	if s.Map {
		out.Output = results
		return out
	}
	out.Output = results[0]
	if _, list := out.Output.([]any); !list {
		for _, c := range g.Steps {
			if c.Map && len(c.Deps) == 1 && g.Steps[c.Deps[0]].Slug == s.Slug {
				return stepOutcome{Status: "failed", Tasks: 1, Input: out.Input}
			}
		}
	}
	return out
}

// skipOrFail is how a step ends whose condition or attempts came to nothing. The
// reason of a skip that others go on without is given as plain.
func skipOrFail(mode string) stepOutcome {
	switch mode {
	case "fail":
		return stepOutcome{Status: "failed"}
	case "skip":
		return stepOutcome{Status: "skipped", SkipReason: "plain"}
	default:
		return stepOutcome{Status: "skipped", SkipReason: "cascade"}
	}
}

// contains is jsonb's @>.
func contains(a, b any) bool {
	switch b := b.(type) {
	case map[string]any:
		object, ok := a.(map[string]any)
		if !ok {
			return false
		}
		for k, v := range b {
			if w, ok := object[k]; !ok || !contains(w, v) {
				return false
			}
		}
		return true
	case []any:
		list, ok := a.([]any)
		if !ok {
			return false
		}
		for _, v := range b {
			if !slices.ContainsFunc(list, func(w any) bool { return contains(w, v) }) {
				return false
			}
		}
		return true
	default:
		return a == b
	}
}

func decode(text string) any {
	if text == "" {
		return nil
	}
	var v any
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&v); err != nil {
		panic(err)
	}
	return v
}

func encode(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}
