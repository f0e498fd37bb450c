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

// flows are lanes without limits.
func flows(slugs ...string) (lanes []lane) {
	for _, slug := range slugs {
		lanes = append(lanes, lane{name: slug, flow: slug})
	}
	return lanes
}

// claim plays a claim against lanes that have so much to do.
func (s *shares) claim(free int, backlog map[string]int) map[string]int {
	return s.claimInto(free, backlog, nil)
}

func (s *shares) claimInto(free int, backlog map[string]int, room room) map[string]int {
	d := s.deal(free, room)
	got := map[string]int{}
	for i, name := range d.names {
		n := min(int(d.limits[i]), backlog[name])
		got[name] += n
		backlog[name] -= n
	}
	s.filled(d, got)
	return got
}

func TestSharesNeverExceedTheFreeSlots(t *testing.T) {
	t.Parallel()
	for n := 1; n < 40; n += 3 {
		var slugs []string
		backlog := map[string]int{}
		for i := range n {
			slug := fmt.Sprintf("f%02d", i)
			slugs = append(slugs, slug)
			if i%3 == 0 {
				backlog[slug] = 500
			}
		}
		s := newShares(flows(slugs...))
		for round := range 200 {
			free := 1 + round%16
			d := s.deal(free, nil)
			require.LessOrEqual(t, sum(d.limits), free)
			require.Positive(t, sum(d.limits))
			require.Len(t, d.limits, len(d.names))
			got := map[string]int{}
			for i, slug := range d.names {
				got[slug] = min(int(d.limits[i]), backlog[slug])
			}
			s.filled(d, got)
		}
	}
}

// One flow alone gets all slots at once.
func TestSharesOfOne(t *testing.T) {
	t.Parallel()
	s := newShares(flows("a"))
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
	s := newShares(flows(slugs...))
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
		s := newShares(flows("a", "b", "c"))
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
	s := newShares(flows("a", "b", "c", "d", "e"))
	s.claim(2, map[string]int{})
	require.False(t, s.searched(nil))
	s.claim(2, map[string]int{})
	require.False(t, s.searched(nil))
	s.claim(2, map[string]int{})
	require.True(t, s.searched(nil))
	require.False(t, s.searched(nil), "the search begins anew")
}

// limited are the lanes of two flows: a may run three at once, of which its step
// slow may be one; b is as usual.
func limited() *lanes {
	l := newLanes()
	l.add("a", []string{"slow", "quick", "other"}, []string{"slow", "quick"}, func(step string) int {
		return map[string]int{"": 3, "slow": 1}[step]
	})
	l.add("b", []string{"b"}, []string{"b"}, func(string) int { return 0 })
	l.sort()
	return l
}

func TestLanes(t *testing.T) {
	t.Parallel()
	l := limited()
	require.Equal(t, []lane{{"a", "a", 0}, {"a.slow", "a", 1}, {"b", "b", 0}}, l.all)
	require.Equal(t, []string{"a.other", "a.slow"}, l.except)
	require.Equal(t, "a.slow", l.of(claimed{Flow: "a", Step: "slow"}))
	require.Equal(t, "a", l.of(claimed{Flow: "a", Step: "quick"}))

	slow := &task{claimed: claimed{Flow: "a", Step: "slow"}}
	l.enter(slow)
	require.Equal(t, room{"a": 2, "a.slow": 0}, l.room())
	l.enter(&task{claimed: claimed{Flow: "a", Step: "quick"}})
	l.enter(&task{claimed: claimed{Flow: "b", Step: "b"}})
	require.Equal(t, room{"a": 1, "a.slow": 0}, l.room())
	l.leave(slow)
	require.Equal(t, room{"a": 2, "a.slow": 1}, l.room())
}

// What is full is not claimed, and leaves its share to the others.
func TestSharesKeepLimits(t *testing.T) {
	t.Parallel()
	l := limited()
	s := newShares(l.all)
	backlog := map[string]int{"a": 1 << 30, "a.slow": 1 << 30, "b": 1 << 30}
	for range 3 {
		s.claimInto(16, backlog, l.room())
	}
	got := s.claimInto(16, backlog, l.room())
	require.Equal(t, 16, got["a"]+got["a.slow"]+got["b"], "%v", got)
	require.Equal(t, 3, got["a"]+got["a.slow"])
	require.LessOrEqual(t, got["a.slow"], 1)

	for range 3 {
		l.enter(&task{claimed: claimed{Flow: "a", Step: "quick"}})
	}
	require.Equal(t, map[string]int{"b": 16}, s.claimInto(16, backlog, l.room()))
	require.Empty(t, newShares(l.all[:2]).deal(16, l.room()).names)
	require.True(t, newShares(l.all[:2]).searched(l.room()), "there is nothing to look for")
}
