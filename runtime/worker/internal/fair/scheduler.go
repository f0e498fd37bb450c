package fair

import "time"

// lookInterval is how often a claim looks at the whole queue of a backlogged group: for tasks
// that were released, and for those whose transactions took long.
const lookInterval = time.Second

// A Scheduler allocates free slots to groups, so that a flow with a long queue cannot
// starve others: half of the slots probe groups that had no more work when they were
// last claimed, in turn; the rest is shared equally by those that are backlogged.
//
// A claim of a backlogged group begins at the first task that the last claim got, since what
// was before it has been claimed. Otherwise many workers would spend their time on walking
// past each other's tasks.
type Scheduler struct {
	groups     []Group
	backlogged map[string]bool // groups that filled their last allocation
	turn       int
	empty      int // how many groups in a row had less than was asked of them

	first     map[string]int64 // the message ids at which claims of groups begin
	round     int              // ends when they are forgotten
	roundEnds time.Time

	// The groups to begin with the next time.
	nextProbe, nextBacklogged int
}

// NewScheduler returns a scheduler of groups.
func NewScheduler(groups []Group) *Scheduler {
	return &Scheduler{groups: groups, backlogged: map[string]bool{}, first: map[string]int64{}}
}

// Allocate allocates free slots, as far as there is capacity.
func (s *Scheduler) Allocate(free int, capacity Capacity) Allocation {
	if now := time.Now(); now.After(s.roundEnds) {
		clear(s.first)
		s.round++
		s.roundEnds = now.Add(lookInterval)
	}
	s.turn++
	backlogged := 0
	for _, g := range s.groups {
		if s.backlogged[g.Name] && capacity.has(g) {
			backlogged++
		}
	}
	probes := free
	if backlogged > 0 {
		probes = (free + s.turn%2) / 2 // the odd slot in turn
	}
	probed, next := s.pick(false, s.nextProbe, probes, capacity)
	s.nextProbe = next
	full, next := s.pick(true, s.nextBacklogged, free-len(probed), capacity)
	s.nextBacklogged = next

	a := Allocation{Limits: make([]int32, len(probed)+len(full)), round: s.round}
	all := append(probed, full...)
	for i, g := range all {
		a.Groups = append(a.Groups, g.Name)
		a.Limits[i] = 1
	}
	if len(s.first) > 0 {
		a.First = make([]int64, len(all))
		for i, g := range all {
			a.First[i] = s.first[g.Name]
		}
	}
	// If none is known to be backlogged, a single task may be the first of many.
	share := all[len(probed):]
	if backlogged == 0 {
		share = all
	}
	spread(free-len(all), share, a.Limits[len(all)-len(share):], capacity)
	return a
}

// spread adds one slot to each group in turn, as long as there are any.
func spread(n int, groups []Group, limits []int32, capacity Capacity) {
	for added := true; added && n > 0; {
		added = false
		for i, g := range groups {
			if n > 0 && capacity.take(g) {
				limits[i]++
				n--
				added = true
			}
		}
	}
}

// pick picks up to n groups that are backlogged, or that are not, with capacity for a
// task each, beginning with the one at an index. It returns where to begin the next time.
func (s *Scheduler) pick(backlogged bool, from, n int, capacity Capacity) (groups []Group, next int) {
	next = from
	for i := range s.groups {
		if len(groups) == n {
			break
		}
		at := (from + i) % len(s.groups)
		if g := s.groups[at]; s.backlogged[g.Name] == backlogged && capacity.take(g) {
			groups = append(groups, g)
			next = (at + 1) % len(s.groups)
		}
	}
	return groups, next
}

// Claimed is what a claim returned of a group.
type Claimed struct {
	Count int
	First int64 // the least message id
}

// Record records what a claim returned. A group that returned less than was asked of it is
// empty now, unless the claim did not begin at the beginning: that is reported as partial,
// and another claim has to look.
func (s *Scheduler) Record(a Allocation, claimed map[string]Claimed) (partial bool) {
	full := false
	for i, name := range a.Groups {
		c := claimed[name]
		delete(s.first, name)
		switch {
		case c.Count >= int(a.Limits[i]):
			s.backlogged[name] = true
			full = true
			if a.round == s.round {
				s.first[name] = c.First
			}
		case a.First != nil && a.First[i] > 0:
			partial = true
		default:
			delete(s.backlogged, name)
		}
	}
	s.empty += len(a.Groups)
	if full || partial {
		s.empty = 0
	}
	return partial
}

// Drained reports whether every group with capacity has been found empty since the last
// one that was not. It then starts over.
func (s *Scheduler) Drained(capacity Capacity) bool {
	open := 0
	for _, g := range s.groups {
		if capacity.has(g) {
			open++
		}
	}
	if s.empty < open {
		return false
	}
	s.empty = 0
	return true
}
