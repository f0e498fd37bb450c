package spec_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/stretchr/testify/require"
)

// What conditions look at, as it was when the patterns below were made.
type (
	checked struct {
		Mail  bool `json:"mail"`
		Deep  *deep
		Count *int `json:"count"`
	}
	deep struct {
		Price float64 `json:"price"`
		Text  string  `json:"text,omitempty"`
		Paid  bool    `json:",string"`
	}
)

// The same with other names and forms in JSON.
type (
	renamedChecked struct {
		Mail bool `json:"by_mail"`
		Deep *renamedDeep
	}
	renamedDeep struct {
		Price float64 `json:"price,string"`
		Text  string  `json:"-"`
		Paid  bool
	}
)

// A secretive has a form of its own.
type secretive struct{ Mail bool }

func (secretive) MarshalJSON() ([]byte, error) { return []byte(`"secret"`), nil }

// A broken one has none.
type broken struct{ Mail bool }

func (broken) MarshalJSON() ([]byte, error) { return nil, errors.New("no ink") }

// conditional returns a flow with a step that has conditions.
func conditional(cond, condNot string) spec.Flow {
	send := spec.Step{Slug: "send"} // which looks at the run's input
	if cond != "" {
		send.If = json.RawMessage(cond)
	}
	if condNot != "" {
		send.IfNot = json.RawMessage(condNot)
	}
	steps := []spec.Step{{Slug: "check"}, send}
	return spec.Flow{Slug: "conditional", Steps: steps}
}

func TestConditionsThatFit(t *testing.T) {
	t.Parallel()
	type wire struct {
		Check checked `json:"check"`
	}
	def := conditional(`{"check":{"mail":true,"Deep":{"price":1.50,"text":"it's <ok>"}}}`, `{"check":{"count":0,"Deep":{"Paid":"true"}}}`)
	def.Conditions = []spec.Condition{
		spec.If("send", func(v *wire) {
			v.Check.Mail = true
			spec.At(&v.Check.Deep).Price = 1.5
			spec.At(&v.Check.Deep).Text = "it's <ok>"
		}),
		spec.IfNot("send", func(v *wire) {
			*spec.At(&v.Check.Count) = 0
			spec.At(&v.Check.Deep).Paid = true
		}),
	}
	require.NoError(t, def.Validate())
}

// TestConditionsOfChangedTypes changes JSON names and forms under a condition.
func TestConditionsOfChangedTypes(t *testing.T) {
	t.Parallel()
	validate := func(def spec.Flow, c spec.Condition) error {
		def.Conditions = []spec.Condition{c}
		err := def.Validate()
		var invalid *spec.InvalidFlowError
		require.ErrorAs(t, err, &invalid)
		require.Len(t, invalid.Faults, 1)
		require.Equal(t, "send", invalid.Faults[0].Step)
		return err
	}
	for pattern, c := range map[string]struct {
		lacks string
		meet  spec.Condition
	}{
		`{"mail":true}`:            {"mail", spec.If("send", func(v *renamedChecked) { v.Mail = true })},
		`{"Deep":{"price":3}}`:     {"Deep.price", spec.If("send", func(v *renamedChecked) { spec.At(&v.Deep).Price = 3 })},
		`{"Deep":{"text":"x"}}`:    {"Deep.text", spec.If("send", func(v *renamedChecked) { spec.At(&v.Deep).Text = "x" })},
		`{"Deep":{"Paid":"true"}}`: {"Deep.Paid", spec.If("send", func(v *renamedChecked) { spec.At(&v.Deep).Paid = true })},
		`{"text":""}`:              {"text", spec.If("send", func(v *deep) { v.Text = "" })}, // omitempty leaves it out
		`{"Mail":true}`:            {"Mail", spec.If("send", func(v *secretive) { v.Mail = true })},
	} {
		require.ErrorContains(t, validate(conditional(pattern, ""), c.meet), "its If looks for "+pattern+
			", but the Go types do not write "+c.lacks+" like that any more, so it would never hold: run go generate")
	}
	err := validate(conditional("", `{"Mail":true}`), spec.IfNot("send", func(v *broken) { v.Mail = true }))
	require.ErrorContains(t, err, "the value that its IfNot checks cannot be encoded as JSON any more")
	require.ErrorContains(t, err, "no ink")
}

func TestConditionsWithoutAPattern(t *testing.T) {
	t.Parallel()
	meet := func(v *struct{ A bool }) { v.A = true }
	send := func(s spec.Step, conditions ...spec.Condition) spec.Flow {
		return spec.Flow{Slug: "f", Steps: []spec.Step{{Slug: "check"}, s}, Conditions: conditions}
	}
	pattern := json.RawMessage(`{"A":true}`)
	for name, c := range map[string]struct {
		flow spec.Flow
		want string
	}{
		"of no step":            {send(spec.Step{Slug: "send", If: pattern}, spec.If("gone", meet)), `its Conditions have an If of "gone", which is no step of this flow`},
		"of a step without one": {send(spec.Step{Slug: "send"}, spec.If("send", meet)), "step send: its Conditions have an If of it, but it has none"},
		"of the other kind":     {send(spec.Step{Slug: "send", If: pattern}, spec.IfNot("send", meet)), "step send: its Conditions have an IfNot of it, but it has none"},
		"zero":                  {send(spec.Step{Slug: "send", If: pattern}, spec.Condition{}), "one of its Conditions is the zero value: make them with If and IfNot"},
		"of no dependency":      {send(spec.Step{Slug: "send", Deps: []string{"check"}, If: pattern}), `step send: If looks at "A", which is no step that it waits for`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := faults(t, c.flow)
			require.Len(t, found, 1)
			require.Contains(t, found[0], c.want)
		})
	}
}

// TestPathsOfChangedTypes changes JSON names under the paths of a step.
func TestPathsOfChangedTypes(t *testing.T) {
	t.Parallel()
	type wire struct {
		Check checked `json:"check"`
	}
	timed := func(conditions ...spec.Condition) error {
		return spec.Flow{Slug: "timed", Conditions: conditions, Steps: []spec.Step{
			{Slug: "check"},
			{Slug: "send", Deps: []string{"check"}, StartAt: spec.Path{"check", "Deep", "text"}},
			{Slug: "ask", Type: spec.TypeWait, Key: spec.Path{spec.RunKey, "count"}},
		}}.Validate()
	}
	require.NoError(t, timed(
		spec.Leads("send", "StartAt", func(v *wire) { spec.At(&v.Check.Deep).Text = "x" }),
		spec.Leads("ask", "Key", func(v *checked) { *spec.At(&v.Count) = 1 }),
	))
	require.ErrorContains(t, timed(spec.Leads("send", "StartAt", func(v *struct {
		Check renamedChecked `json:"check"`
	}) {
		spec.At(&v.Check.Deep).Text = "x"
	})), "step send: its StartAt leads to check.Deep.text, but the Go types do not write text any more: run go generate")
	require.ErrorContains(t, timed(spec.Leads("ask", "Key", func(v *secretive) {})), "its Key leads to count, but the Go types do not write count any more")
	require.ErrorContains(t, timed(spec.Leads("ask", "Key", func(v *broken) {})), "the value that its Key looks into cannot be encoded as JSON any more")
	require.NoError(t, timed(spec.Leads("ask", "StartAt", func(v *checked) {})), "which a test may have removed")
	require.ErrorContains(t, timed(spec.Leads("ask", "Timeout", func(v *checked) {})), `its Conditions have a path "Timeout"`)
	require.ErrorContains(t, timed(spec.Leads("none", "Key", func(v *checked) {})), `its Conditions have a Key of "none"`)
}
