package fair

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func sum(limits []int32) (n int) {
	for _, l := range limits {
		n += int(l)
	}
	return n
}

// flows returns groups without limits.
func flows(slugs ...string) (groups []Group) {
	for _, slug := range slugs {
		groups = append(groups, Group{Name: slug, Flow: slug})
	}
	return groups
}

// claim allocates slots and claims from a backlog what they allow.
func (s *Scheduler) claim(free int, backlog map[string]int, capacity Capacity) map[string]int {
	a := s.Allocate(free, capacity)
	claimed, tasks := map[string]Claimed{}, map[string]int{}
	for i, name := range a.Groups {
		n := min(int(a.Limits[i]), backlog[name])
		claimed[name] = Claimed{Count: n}
		tasks[name] = n
		backlog[name] -= n
	}
	s.Record(a, claimed)
	return tasks
}

func TestAllocationNeverExceedsTheFreeSlots(t *testing.T) {
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
		s := NewScheduler(flows(slugs...))
		for round := range 200 {
			free := 1 + round%16
			a := s.Allocate(free, nil)
			require.LessOrEqual(t, sum(a.Limits), free)
			require.Positive(t, sum(a.Limits))
			require.Len(t, a.Limits, len(a.Groups))
			claimed := map[string]Claimed{}
			for i, slug := range a.Groups {
				claimed[slug] = Claimed{Count: min(int(a.Limits[i]), backlog[slug])}
			}
			s.Record(a, claimed)
		}
	}
}

func TestSingleFlowGetsAllSlots(t *testing.T) {
	t.Parallel()
	s := NewScheduler(flows("a"))
	require.Equal(t, map[string]int{"a": 16}, s.claim(16, map[string]int{"a": 100}, nil))
	require.Equal(t, map[string]int{"a": 1}, s.claim(1, map[string]int{"a": 100}, nil))
}

// A flow that gets work is found within one round, however much the others have.
func TestEveryFlowIsProbed(t *testing.T) {
	t.Parallel()
	var slugs []string
	for i := range 100 {
		slugs = append(slugs, fmt.Sprintf("f%02d", i))
	}
	s := NewScheduler(flows(slugs...))
	backlog := map[string]int{"f07": 1 << 30, "f42": 1 << 30}
	for range 20 {
		s.claim(8, backlog, nil)
	}
	backlog["f93"] = 1
	for range 2 * 100 / 4 {
		if s.claim(8, backlog, nil)["f93"] == 1 {
			return
		}
	}
	require.Fail(t, "f93 was not found")
}

// Two backlogged flows share the slots, even if only one slot is free at a time.
func TestBackloggedFlowsShareEqually(t *testing.T) {
	t.Parallel()
	for _, free := range []int{1, 2, 3, 16} {
		t.Run(fmt.Sprintf("%d free", free), func(t *testing.T) {
			t.Parallel()
			s := NewScheduler(flows("a", "b", "c"))
			backlog := map[string]int{"a": 1 << 30, "c": 1 << 30}
			total := map[string]int{}
			for range 300 {
				for slug, n := range s.claim(free, backlog, nil) {
					total[slug] += n
				}
			}
			require.InDelta(t, total["a"], total["c"], float64(total["a"])/5, "%v", total)
		})
	}
}

// A claim of a backlogged group begins where the last one did, until that comes short, and
// once a second at the beginning, whatever other claims are in flight then.
func TestClaimsBeginWhereTheLastDid(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewScheduler(flows("a"))
		allocate := func() Allocation { return s.Allocate(8, nil) }
		record := func(a Allocation, n int, first int64) bool {
			return s.Record(a, map[string]Claimed{"a": {Count: n, First: first}})
		}
		a := allocate()
		require.Nil(t, a.First)
		require.False(t, record(a, 8, 100))
		a = allocate()
		require.Equal(t, []int64{100}, a.First)
		require.False(t, record(a, 8, 120))
		a = allocate()
		require.Equal(t, []int64{120}, a.First)
		require.True(t, record(a, 7, 140), "there may be some before the first")
		require.False(t, s.Drained(nil))
		a = allocate()
		require.Nil(t, a.First)
		require.False(t, record(a, 7, 90))
		require.True(t, s.Drained(nil))

		s.Expect("a")
		require.False(t, record(allocate(), 8, 200))
		late := allocate()
		time.Sleep(lookInterval + 1)
		a = allocate()
		require.Nil(t, a.First)
		require.False(t, record(late, 8, 220))
		require.Nil(t, allocate().First, "one that began before the look says nothing")
		require.False(t, record(a, 8, 150))
		require.Equal(t, []int64{150}, allocate().First)
	})
}

func TestDrained(t *testing.T) {
	t.Parallel()
	s := NewScheduler(flows("a", "b", "c", "d", "e"))
	s.claim(2, map[string]int{}, nil)
	require.False(t, s.Drained(nil))
	s.claim(2, map[string]int{}, nil)
	require.False(t, s.Drained(nil))
	s.claim(2, map[string]int{}, nil)
	require.True(t, s.Drained(nil))
	require.Empty(t, s.Allocate(2, nil).Groups, "nothing may have work")
	s.ExpectAll()
	require.False(t, s.Drained(nil))
	require.Len(t, s.Allocate(8, nil).Groups, 5)
}

// Only what may have work is claimed, and once more if it was expected meanwhile.
func TestExpect(t *testing.T) {
	t.Parallel()
	g := limited()
	s := NewScheduler(g.All())
	nothing := map[string]Claimed{}
	s.Record(s.Allocate(16, nil), nothing)
	require.True(t, s.Drained(nil))

	s.Expect("a", "unknown")
	a := s.Allocate(16, nil)
	require.Equal(t, []string{"a", "a.slow"}, a.Groups)
	require.Equal(t, 16, sum(a.Limits))
	s.Expect("b")
	s.Record(a, nothing)
	a = s.Allocate(16, nil)
	require.Equal(t, []string{"b"}, a.Groups)
	s.Expect("b")
	s.Record(a, nothing)
	require.False(t, s.Drained(nil), "its task may have come after the claim")
	s.Record(s.Allocate(16, nil), nothing)
	require.True(t, s.Drained(nil))

	// While one has a backlog, the others are looked at in turn: they are not announced.
	s.Expect("b")
	s.Record(s.Allocate(4, nil), map[string]Claimed{"b": {Count: 4}})
	require.ElementsMatch(t, []string{"a", "a.slow", "b"}, s.Allocate(4, nil).Groups)
}

// What has no capacity is not claimed, and leaves its share to the others.
func TestAllocationKeepsLimits(t *testing.T) {
	t.Parallel()
	g := limited()
	s := NewScheduler(g.All())
	backlog := map[string]int{"a": 1 << 30, "a.slow": 1 << 30, "b": 1 << 30}
	for range 3 {
		s.claim(16, backlog, g.Capacity())
	}
	claimed := s.claim(16, backlog, g.Capacity())
	require.Equal(t, 16, claimed["a"]+claimed["a.slow"]+claimed["b"], "%v", claimed)
	require.Equal(t, 3, claimed["a"]+claimed["a.slow"])
	require.LessOrEqual(t, claimed["a.slow"], 1)

	for range 3 {
		g.Begin("a", "quick")
	}
	require.Equal(t, map[string]int{"b": 16}, s.claim(16, backlog, g.Capacity()))
	require.Empty(t, NewScheduler(g.All()[:2]).Allocate(16, g.Capacity()).Groups)
	require.True(t, NewScheduler(g.All()[:2]).Drained(g.Capacity()), "no group has capacity")
}
