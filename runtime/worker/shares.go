package worker

// shares deals free slots to flows, so that a flow with much to do cannot keep
// others waiting: half of the slots look for work in flows that had none, flow
// after flow; the rest goes in equal parts to those that had more than they got.
type shares struct {
	slugs  []string
	hungry map[string]bool // flows that filled their share last time
	next   int             // the flow to begin with
	turn   int
	empty  int // how many flows in a row had nothing
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
	for i := range s.slugs {
		slug := s.slugs[(s.next+i)%len(s.slugs)]
		switch {
		case s.hungry[slug]:
			hungry = append(hungry, slug)
		case len(idle) < probes:
			idle = append(idle, slug)
		}
	}
	slugs = idle
	for range idle {
		limits = append(limits, 1)
	}
	free -= len(idle)
	if len(hungry) == 0 {
		// Nobody is known to want them: a single task may be the first of many.
		for i := 0; free > 0; i, free = (i+1)%len(idle), free-1 {
			limits[i]++
		}
	} else {
		if len(hungry) > free {
			hungry = hungry[:free]
		}
		for i, slug := range hungry {
			slugs = append(slugs, slug)
			limits = append(limits, int32((free+len(hungry)-1-i)/len(hungry)))
		}
	}
	if len(slugs) > 0 {
		last := slugs[0]
		if len(idle) > 0 {
			last = idle[len(idle)-1]
		}
		s.next = s.after(last)
	}
	return slugs, limits
}

func (s *shares) after(slug string) int {
	for i, other := range s.slugs {
		if other == slug {
			return (i + 1) % len(s.slugs)
		}
	}
	return 0
}

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
