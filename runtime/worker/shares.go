package worker

// shares deals free slots to flows, so that a flow with much to do cannot keep
// others waiting: half of the slots look for work in flows that had none, flow
// after flow; the rest goes in equal parts to those that had more than they got.
type shares struct {
	slugs  []string
	hungry map[string]bool // flows that filled their share last time
	turn   int
	empty  int // how many flows in a row had nothing

	// The flows to begin with.
	nextIdle, nextHungry int
}

func newShares(slugs []string) *shares {
	return &shares{slugs: slugs, hungry: map[string]bool{}}
}

// deal says how many tasks to claim of which flows, free in all.
func (s *shares) deal(free int) (slugs []string, limits []int32) {
	s.turn++
	probes := free
	if len(s.hungry) > 0 {
		probes = (free + s.turn%2) / 2 // the odd slot in turn
	}
	var idle, hungry []string
	idle, s.nextIdle = s.pick(false, s.nextIdle, probes)
	hungry, s.nextHungry = s.pick(true, s.nextHungry, free-len(idle))
	for range idle {
		limits = append(limits, 1)
	}
	rest := free - len(idle)
	switch {
	case len(hungry) > 0:
		for i := range hungry {
			limits = append(limits, part(rest, len(hungry), i))
		}
	case len(s.hungry) == 0:
		// Nobody is known to want more: a single task may be the first of many.
		for i := range idle {
			limits[i] += part(rest, len(idle), i)
		}
	}
	return append(idle, hungry...), limits
}

// pick takes at most n flows that are hungry, or not, beginning with the flow at
// a place, and returns where to begin the next time.
func (s *shares) pick(hungry bool, from, n int) (slugs []string, next int) {
	next = from
	for i := range s.slugs {
		if len(slugs) == n {
			break
		}
		at := (from + i) % len(s.slugs)
		if s.hungry[s.slugs[at]] == hungry {
			slugs = append(slugs, s.slugs[at])
			next = (at + 1) % len(s.slugs)
		}
	}
	return slugs, next
}

// part is the i-th of so many nearly equal parts of n; the first are the larger.
func part(n, parts, i int) int32 { return int32((n + parts - 1 - i) / parts) }

// filled learns from what a claim brought.
func (s *shares) filled(slugs []string, limits []int32, rows []claimed) {
	got := map[string]int32{}
	for _, row := range rows {
		got[row.Flow]++
	}
	for i, slug := range slugs {
		if got[slug] >= limits[i] {
			s.hungry[slug] = true
		} else {
			delete(s.hungry, slug)
		}
	}
	s.empty += len(slugs)
	if len(rows) > 0 {
		s.empty = 0
	}
}

// searched reports whether every flow was found empty since something was found.
func (s *shares) searched() bool {
	if s.empty < len(s.slugs) {
		return false
	}
	s.empty = 0
	return true
}
