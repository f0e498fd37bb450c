package fair

// A Scheduler allocates free slots to groups, so that a flow with a long queue cannot
// starve others: half of the slots probe groups that had no more work when they were
// last claimed, in turn; the rest is shared equally by those that are backlogged.
type Scheduler struct {
	groups     []Group
	backlogged map[string]bool // groups that filled their last allocation
	turn       int
	empty      int // how many groups in a row had less than was asked of them

	// The groups to begin with the next time.
	nextProbe, nextBacklogged int
}

// NewScheduler returns a scheduler of groups.
func NewScheduler(groups []Group) *Scheduler {
	return &Scheduler{groups: groups, backlogged: map[string]bool{}}
}

// Allocate allocates free slots, as far as there is capacity.
func (s *Scheduler) Allocate(free int, capacity Capacity) Allocation {
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

	a := Allocation{Limits: make([]int32, len(probed)+len(full))}
	all := append(probed, full...)
	for i, g := range all {
		a.Groups = append(a.Groups, g.Name)
		a.Limits[i] = 1
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

// Record records what a claim returned: how many tasks of each group. A group that
// returned less than was asked of it is empty now.
func (s *Scheduler) Record(a Allocation, claimed map[string]int) {
	full := false
	for i, name := range a.Groups {
		if claimed[name] >= int(a.Limits[i]) {
			s.backlogged[name] = true
			full = true
		} else {
			delete(s.backlogged, name)
		}
	}
	s.empty += len(a.Groups)
	if full {
		s.empty = 0
	}
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
