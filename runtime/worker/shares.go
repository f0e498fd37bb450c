package worker

// shares deals free slots to lanes, so that a flow with much to do cannot keep
// others waiting: half of the slots look for work in lanes that had none, one
// after the other; the rest goes in equal parts to those that had more than they
// got.
type shares struct {
	lanes  []lane
	hungry map[string]bool // lanes that filled their share last time
	turn   int
	empty  int // how many lanes in a row had less than was asked of them

	// The lanes to begin with.
	nextIdle, nextHungry int
}

func newShares(lanes []lane) *shares {
	return &shares{lanes: lanes, hungry: map[string]bool{}}
}

// A deal is how many tasks to claim of which lanes. It may be empty, if there is
// no room in any.
type deal struct {
	names  []string
	limits []int32
}

// deal deals free slots, as far as there is room.
func (s *shares) deal(free int, room room) deal {
	s.turn++
	hungry := 0
	for _, l := range s.lanes {
		if s.hungry[l.name] && room.has(l) {
			hungry++
		}
	}
	probes := free
	if hungry > 0 {
		probes = (free + s.turn%2) / 2 // the odd slot in turn
	}
	idle, next := s.pick(false, s.nextIdle, probes, room)
	s.nextIdle = next
	busy, next := s.pick(true, s.nextHungry, free-len(idle), room)
	s.nextHungry = next
	d := deal{limits: make([]int32, len(idle)+len(busy))}
	all := append(idle, busy...)
	for i, l := range all {
		d.names = append(d.names, l.name)
		d.limits[i] = 1
	}
	// If nobody is known to want more, a single task may be the first of many.
	share := all[len(idle):]
	if hungry == 0 {
		share = all
	}
	spread(free-len(all), share, d.limits[len(all)-len(share):], room)
	return d
}

// spread gives one more slot to each lane in turn, as long as there are any.
func spread(n int, lanes []lane, limits []int32, room room) {
	for given := true; given && n > 0; {
		given = false
		for i, l := range lanes {
			if n > 0 && room.take(l) {
				limits[i]++
				n--
				given = true
			}
		}
	}
}

// pick takes at most n lanes that are hungry, or not, with room for one each,
// beginning with the lane at a place, and returns where to begin the next time.
func (s *shares) pick(hungry bool, from, n int, room room) (lanes []lane, next int) {
	next = from
	for i := range s.lanes {
		if len(lanes) == n {
			break
		}
		at := (from + i) % len(s.lanes)
		if l := s.lanes[at]; s.hungry[l.name] == hungry && room.take(l) {
			lanes = append(lanes, l)
			next = (at + 1) % len(s.lanes)
		}
	}
	return lanes, next
}

// filled learns from what a claim brought: how many tasks of each lane. A lane that
// gave less than was asked of it is empty now.
func (s *shares) filled(d deal, got map[string]int) {
	full := false
	for i, name := range d.names {
		if got[name] >= int(d.limits[i]) {
			s.hungry[name] = true
			full = true
		} else {
			delete(s.hungry, name)
		}
	}
	s.empty += len(d.names)
	if full {
		s.empty = 0
	}
}

// searched reports whether every lane was emptied since one was not, but for those
// without room.
func (s *shares) searched(room room) bool {
	open := 0
	for _, l := range s.lanes {
		if room.has(l) {
			open++
		}
	}
	if s.empty < open {
		return false
	}
	s.empty = 0
	return true
}
