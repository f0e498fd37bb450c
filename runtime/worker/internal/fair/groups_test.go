package fair

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// limited returns the groups of two flows: three tasks of a may run at once, one of them
// of its step slow; b has no limits.
func limited() *Groups {
	g := NewGroups()
	g.Add("a", []string{"slow", "quick", "other"}, []string{"slow", "quick"}, nil, func(step string) int {
		return map[string]int{"": 3, "slow": 1}[step]
	})
	g.Add("b", []string{"b"}, []string{"b"}, nil, func(string) int { return 0 })
	g.Sort()
	return g
}

func TestGroups(t *testing.T) {
	t.Parallel()
	g := limited()
	require.True(t, g.Limited())
	require.Equal(t, []Group{{"a", "a", 0}, {"a.slow", "a", 1}, {"b", "b", 0}}, g.All())
	require.Equal(t, []string{"a.other", "a.slow"}, g.Except())
	require.Equal(t, "a.slow", g.Of("a", "slow"))
	require.Equal(t, "a", g.Of("a", "quick"))
	require.Equal(t, Allocation{Groups: []string{"a", "a.slow", "b"}, Limits: []int32{3, 1, 8}}, g.Each(8))

	g.Begin("a", "slow")
	require.Equal(t, Capacity{"a": 2, "a.slow": 0}, g.Capacity())
	require.Equal(t, Allocation{Groups: []string{"a", "b"}, Limits: []int32{2, 8}}, g.Each(8))
	g.Begin("a", "quick")
	g.Begin("b", "b")
	require.Equal(t, Capacity{"a": 1, "a.slow": 0}, g.Capacity())
	require.True(t, g.End("a", "slow"))
	require.False(t, g.End("b", "b"), "it has no limit")
	require.Equal(t, Capacity{"a": 2, "a.slow": 1}, g.Capacity())
}
