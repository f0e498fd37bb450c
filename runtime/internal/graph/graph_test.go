package graph

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestSort(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before       [][]int
		order, cycle []int
	}{
		"empty":            {},
		"as given":         {before: [][]int{{}, {}, {0}}, order: []int{0, 1, 2}},
		"late first":       {before: [][]int{{2}, {}, {}}, order: []int{1, 2, 0}},
		"twice":            {before: [][]int{{1, 1}, {}}, order: []int{1, 0}},
		"itself":           {before: [][]int{{}, {1}}, cycle: []int{1}},
		"a cycle":          {before: [][]int{{}, {3}, {1}, {2, 0}}, cycle: []int{1, 3, 2}},
		"behind a cycle":   {before: [][]int{{1}, {2}, {1}}, cycle: []int{1, 2}},
		"two cycles":       {before: [][]int{{1}, {0}, {3}, {2}}, cycle: []int{0, 1}},
		"sorted stays put": {before: [][]int{{}, {0}, {0}, {1, 2}}, order: []int{0, 1, 2, 3}},
	} {
		t.Run(name, func(t *testing.T) {
			order, cycle := Sort(c.before)
			require.Equal(t, c.order, order)
			require.Equal(t, c.cycle, cycle)
		})
	}
}

// TestSortOfAny holds that what is returned is an order, or a cycle.
func TestSortOfAny(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "n")
		before := make([][]int, n)
		for v := range before {
			before[v] = rapid.SliceOfN(rapid.IntRange(0, n-1), 0, 2).Draw(t, "before")
		}
		order, cycle := Sort(before)
		if cycle == nil {
			require.Len(t, order, n)
			for i, v := range order {
				for _, u := range before[v] {
					require.Contains(t, order[:i], u)
				}
			}
			return
		}
		require.Nil(t, order)
		require.Equal(t, cycle[0], slices.Min(cycle))
		for i, v := range cycle {
			require.Contains(t, before[v], cycle[(i+1)%len(cycle)])
		}
	})
}
