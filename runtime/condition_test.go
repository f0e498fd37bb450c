package runtime_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
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

// conditional is a flow with a step that has conditions.
func conditional(cond, condNot string) runtime.Definition {
	send := runtime.StepOptions{Slug: "send", Deps: []string{"check"}}
	if cond != "" {
		send.If = json.RawMessage(cond)
	}
	if condNot != "" {
		send.IfNot = json.RawMessage(condNot)
	}
	steps := []runtime.StepOptions{{Slug: "check"}, send}
	return runtime.Definition{Slug: "conditional", FlowOptions: runtime.FlowOptions{Steps: steps}}
}

// TestConditions upserts a flow whose conditions fit the types.
func TestConditions(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	type wire struct {
		Check checked `json:"check"`
	}
	def := conditional(`{"check":{"mail":true,"Deep":{"price":1.50,"text":"it's <ok>"}}}`, `{"check":{"count":0,"Deep":{"Paid":"true"}}}`)
	flow := runtime.NewFlow[runtime.None](def, runtime.Nothing,
		runtime.If("send", func(v *wire) {
			v.Check.Mail = true
			runtime.At(&v.Check.Deep).Price = 1.5
			runtime.At(&v.Check.Deep).Text = "it's <ok>"
		}),
		runtime.IfNot("send", func(v *wire) {
			*runtime.At(&v.Check.Count) = 0
			runtime.At(&v.Check.Deep).Paid = true
		}),
	)
	result, err := flow.Upsert(ctx, pool)
	require.NoError(t, err)
	require.Equal(t, runtime.FlowCompiled, result.Status)
}

// TestConditionsOfChangedTypes changes JSON names and forms under a condition. It
// is refused before anything reaches the database, of which there is none.
func TestConditionsOfChangedTypes(t *testing.T) {
	t.Parallel()
	upsert := func(def runtime.Definition, c runtime.Condition) error {
		_, err := runtime.NewFlow[runtime.None](def, runtime.Nothing, c).Upsert(t.Context(), nil)
		var invalid *runtime.InvalidFlowError
		require.ErrorAs(t, err, &invalid)
		require.Len(t, invalid.Faults, 1)
		require.Equal(t, "send", invalid.Faults[0].Step)
		return err
	}
	for pattern, c := range map[string]struct {
		lacks string
		meet  runtime.Condition
	}{
		`{"mail":true}`:            {"mail", runtime.If("send", func(v *renamedChecked) { v.Mail = true })},
		`{"Deep":{"price":3}}`:     {"Deep.price", runtime.If("send", func(v *renamedChecked) { runtime.At(&v.Deep).Price = 3 })},
		`{"Deep":{"text":"x"}}`:    {"Deep.text", runtime.If("send", func(v *renamedChecked) { runtime.At(&v.Deep).Text = "x" })},
		`{"Deep":{"Paid":"true"}}`: {"Deep.Paid", runtime.If("send", func(v *renamedChecked) { runtime.At(&v.Deep).Paid = true })},
		`{"text":""}`:              {"text", runtime.If("send", func(v *deep) { v.Text = "" })}, // omitempty leaves it out
		`{"Mail":true}`:            {"Mail", runtime.If("send", func(v *secretive) { v.Mail = true })},
	} {
		require.ErrorContains(t, upsert(conditional(pattern, ""), c.meet), "its if looks for "+pattern+
			", but the Go types do not write "+c.lacks+" like that any more, so it would never hold: run go generate")
	}
	err := upsert(conditional("", `{"Mail":true}`), runtime.IfNot("send", func(v *broken) { v.Mail = true }))
	require.ErrorContains(t, err, "what its if_not looks at cannot be written as JSON any more")
	require.ErrorContains(t, err, "no ink")
}
