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
//
// While no group is backlogged, only those are claimed that may have work: all at first, then
// those for which Expect was called and that no claim has found empty since.
type Scheduler struct {
	groups     []Group
	ofFlow     map[string][]string // the names of a flow's groups
	backlogged map[string]bool     // groups that filled their last allocation
	expecting  map[string]int      // groups that may have work, and when that was last expected
	turn       int                 // counts allocations

	first     map[string]int64 // the message ids at which claims of groups begin
	round     int              // ends when they are forgotten
	roundEnds time.Time

	// The groups to begin with the next time.
	nextProbe, nextBacklogged int
}

// NewScheduler returns a scheduler of groups.
func NewScheduler(groups []Group) *Scheduler {
	s := &Scheduler{
		groups: groups, ofFlow: map[string][]string{}, backlogged: map[string]bool{}, expecting: map[string]int{}, first: map[string]int64{},
	}
	for _, g := range groups {
		s.ofFlow[g.Flow] = append(s.ofFlow[g.Flow], g.Name)
	}
	s.ExpectAll()
	return s
}

// Expect notes that flows may have work. What is not served is ignored.
func (s *Scheduler) Expect(flows ...string) {
	for _, flow := range flows {
		for _, name := range s.ofFlow[flow] {
			s.expecting[name] = s.turn
		}
	}
}

// ExpectAll notes that all flows may have work.
func (s *Scheduler) ExpectAll() {
	for _, g := range s.groups {
		s.expecting[g.Name] = s.turn
	}
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
	probed, next := s.pick(s.nextProbe, probes, capacity, func(name string) bool {
		_, expected := s.expecting[name]
		return !s.backlogged[name] && (expected || backlogged > 0)
	})
	s.nextProbe = next
	full, next := s.pick(s.nextBacklogged, free-len(probed), capacity, func(name string) bool { return s.backlogged[name] })
	s.nextBacklogged = next

	a := Allocation{Limits: make([]int32, len(probed)+len(full)), turn: s.turn, round: s.round}
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

// pick picks up to n of some groups, with capacity for a task each, beginning with the one at
// an index. It returns where to begin the next time.
func (s *Scheduler) pick(from, n int, capacity Capacity, some func(name string) bool) (groups []Group, next int) {
	next = from
	for i := range s.groups {
		if len(groups) == n {
			break
		}
		at := (from + i) % len(s.groups)
		if g := s.groups[at]; some(g.Name) && capacity.take(g) {
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
	for i, name := range a.Groups {
		c := claimed[name]
		delete(s.first, name)
		switch {
		case c.Count >= int(a.Limits[i]):
			s.backlogged[name] = true
			s.expecting[name] = s.turn
			if a.round == s.round {
				s.first[name] = c.First
			}
		case a.First != nil && a.First[i] > 0:
			partial = true
		default:
			delete(s.backlogged, name)
			if s.expecting[name] < a.turn {
				delete(s.expecting, name) // unless work was expected while the claim was in flight
			}
		}
	}
	return partial
}

// Drained reports whether no group with capacity may have work.
func (s *Scheduler) Drained(capacity Capacity) bool {
	for _, g := range s.groups {
		if _, expected := s.expecting[g.Name]; expected && capacity.has(g) {
			return false
		}
	}
	return true
}
