package spec_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/spec"
)

func TestOrder(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		steps        []spec.Step
		order, cycle []string
	}{
		"as given":    {steps: []spec.Step{{Slug: "b"}, {Slug: "a"}}, order: []string{"b", "a"}},
		"after":       {steps: []spec.Step{{Slug: "a", Deps: []string{"c"}}, {Slug: "b"}, {Slug: "c"}}, order: []string{"b", "c", "a"}},
		"cycle":       {steps: []spec.Step{{Slug: "x"}, {Slug: "a", Deps: []string{"b"}}, {Slug: "b", Deps: []string{"x", "a"}}}, cycle: []string{"a", "b"}},
		"not there":   {steps: []spec.Step{{Slug: "a", Deps: []string{"zzz"}}}, order: []string{"a"}},
		"waits alone": {steps: []spec.Step{{Slug: "a", Deps: []string{"a"}}}, order: []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			steps, cycle := spec.Flow{Steps: c.steps}.Order()
			var order []string
			for _, s := range steps {
				order = append(order, s.Slug)
			}
			require.Equal(t, c.order, order)
			require.Equal(t, c.cycle, cycle)
		})
	}
}

func TestLongChain(t *testing.T) {
	t.Parallel()
	require.Nil(t, chain(spec.MaxChain).LongChain())
	long := chain(spec.MaxChain + 2).LongChain()
	require.Len(t, long, spec.MaxChain+1)
	require.Equal(t, []string{"s1", "s2", "s50"}, []string{long[0], long[1], long[spec.MaxChain]})

	mixed := chain(spec.MaxChain + 1)
	for i := range mixed.Steps {
		if i%2 == 0 {
			mixed.Steps[i].If, mixed.Steps[i].Type = nil, spec.TypeMap
		}
	}
	require.Len(t, mixed.LongChain(), spec.MaxChain+1, "maps and conditions are in one row")
	mixed.Steps[20].Type = spec.TypeSingle
	require.Nil(t, mixed.LongChain(), "a plain step ends the row")
	mixed.Steps[20].IfNot = json.RawMessage("{}")
	require.NotNil(t, mixed.LongChain())
}
