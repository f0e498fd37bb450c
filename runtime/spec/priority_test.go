package spec_test

import (
	"testing"

	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/stretchr/testify/require"
)

func TestPriorities(t *testing.T) {
	t.Parallel()
	def := spec.Flow{Slug: "f", Priority: spec.PriorityLow, Steps: []spec.Step{
		{Slug: "a", Priority: spec.PriorityHigh}, {Slug: "b"},
	}}
	require.NoError(t, def.Validate())
	payload, err := def.Payload()
	require.NoError(t, err)
	require.Contains(t, string(payload), `"settings":{"priority":"low"}`)
	parsed, err := spec.Parse("f", payload)
	require.NoError(t, err)
	require.Empty(t, spec.Compare(def, parsed))

	other := spec.Flow{Slug: "f", Steps: []spec.Step{{Slug: "a"}, {Slug: "b", Priority: spec.PriorityNormal}}}
	differences := spec.Compare(def, other)
	require.Equal(t, []spec.Difference{
		{What: "priority", From: "low", To: "normal"},
		{Step: "a", What: "priority", From: "high", To: "the flow's"},
		{Step: "b", What: "priority", From: "the flow's", To: "normal"},
	}, differences)
	for _, d := range differences {
		require.True(t, d.InPlace())
	}

	def.Priority, def.Steps[1] = "1", spec.Step{Slug: "b", Type: spec.TypeWait, Priority: spec.PriorityHigh}
	require.Equal(t, []string{
		`Priority is "1", it must be "high", "normal" or "low"`,
		`step b: Priority is not for a wait, which nobody attempts`,
	}, faults(t, def))
}
