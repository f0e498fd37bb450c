package worker

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func sum(limits []int32) (n int) {
	for _, l := range limits {
		n += int(l)
	}
	return n
}

// claim plays a claim against flows that have so much to do.
func (s *shares) claim(free int, backlog map[string]int) map[string]int {
	slugs, limits := s.deal(free)
	got := map[string]int{}
	var rows []claimed
	for i, slug := range slugs {
		for range min(int(limits[i]), backlog[slug]) {
			rows = append(rows, claimed{Flow: slug})
			got[slug]++
			backlog[slug]--
		}
	}
	s.filled(slugs, limits, rows)
	return got
}

func TestSharesNeverExceedTheFreeSlots(t *testing.T) {
	t.Parallel()
	for flows := 1; flows < 40; flows += 3 {
		var slugs []string
		backlog := map[string]int{}
		for i := range flows {
			slug := fmt.Sprintf("f%02d", i)
			slugs = append(slugs, slug)
			if i%3 == 0 {
				backlog[slug] = 500
			}
		}
		s := newShares(slugs)
		for round := range 200 {
			free := 1 + round%16
			slugs, limits := s.deal(free)
			require.LessOrEqual(t, sum(limits), free)
			require.Positive(t, sum(limits))
			require.Len(t, limits, len(slugs))
			var rows []claimed
			for i, slug := range slugs {
				for range min(int(limits[i]), backlog[slug]) {
					rows = append(rows, claimed{Flow: slug})
				}
			}
			s.filled(slugs, limits, rows)
		}
	}
}

// One flow alone gets all slots at once.
func TestSharesOfOne(t *testing.T) {
	t.Parallel()
	s := newShares([]string{"a"})
	require.Equal(t, map[string]int{"a": 16}, s.claim(16, map[string]int{"a": 100}))
	require.Equal(t, map[string]int{"a": 1}, s.claim(1, map[string]int{"a": 100}))
}

// A flow that has work is found within a round, whatever others have.
func TestSharesFindEveryFlow(t *testing.T) {
	t.Parallel()
	var slugs []string
	for i := range 100 {
		slugs = append(slugs, fmt.Sprintf("f%02d", i))
	}
	s := newShares(slugs)
	backlog := map[string]int{"f07": 1 << 30, "f42": 1 << 30}
	for range 20 {
		s.claim(8, backlog)
	}
	backlog["f93"] = 1
	for range 2 * 100 / 4 {
		if s.claim(8, backlog)["f93"] == 1 {
			return
		}
	}
	require.Fail(t, "f93 was not found")
}

// Two flows with a backlog share the slots, also if one slot is free at a time.
func TestSharesAreEqual(t *testing.T) {
	t.Parallel()
	for _, free := range []int{1, 2, 3, 16} {
		s := newShares([]string{"a", "b", "c"})
		backlog := map[string]int{"a": 1 << 30, "c": 1 << 30}
		total := map[string]int{}
		for range 300 {
			for slug, n := range s.claim(free, backlog) {
				total[slug] += n
			}
		}
		require.InDelta(t, total["a"], total["c"], float64(total["a"])/5, "free %d: %v", free, total)
	}
}

func TestSearched(t *testing.T) {
	t.Parallel()
	s := newShares([]string{"a", "b", "c", "d", "e"})
	s.claim(2, nil)
	require.False(t, s.searched())
	s.claim(2, nil)
	require.False(t, s.searched())
	s.claim(2, nil)
	require.True(t, s.searched())
	require.False(t, s.searched(), "the search begins anew")
}
