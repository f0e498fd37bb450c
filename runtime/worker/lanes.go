package worker

import (
	"slices"
	"strings"
	"sync"
)

// A lane is what is claimed by itself: a flow, or one of its steps that has a
// limit. The database knows both by the name, flow or flow.step; a flow is claimed
// without the steps that have lanes of their own.
type lane struct {
	name, flow string
	limit      int // 0 is none
}

// lanes are all that a worker claims, and how much of it is being done.
type lanes struct {
	all    []lane
	ofStep map[string]string // the lane of a step, flow.step, if it has its own
	limits map[string]int    // of flows
	except []string          // steps that are not claimed with their flows

	mu   sync.Mutex
	busy map[string]int // by lane, and by flow
}

func newLanes() *lanes {
	return &lanes{ofStep: map[string]string{}, limits: map[string]int{}, busy: map[string]int{}}
}

// add adds the lanes of a flow with the steps that the worker does.
func (l *lanes) add(flow string, all, served []string, limit func(step string) int) {
	if n := limit(""); n > 0 {
		l.limits[flow] = n
	}
	whole := false
	for _, step := range all {
		name := flow + "." + step
		switch {
		case !slices.Contains(served, step):
			l.except = append(l.except, name)
		case limit(step) > 0:
			l.except = append(l.except, name)
			l.ofStep[name] = name
			l.all = append(l.all, lane{name, flow, limit(step)})
		default:
			whole = true
		}
	}
	if whole {
		l.all = append(l.all, lane{name: flow, flow: flow})
	}
}

// sort puts everything into an order that depends on nothing. Then nothing is added.
func (l *lanes) sort() {
	slices.SortFunc(l.all, func(a, b lane) int { return strings.Compare(a.name, b.name) })
	slices.Sort(l.except)
}

// each allots every lane up to n tasks, as far as limits leave room.
func (l *lanes) each(n int) (d deal) {
	room := l.room()
	for _, lane := range l.all {
		most := n
		for _, name := range []string{lane.name, lane.flow} {
			if left, limited := room[name]; limited {
				most = min(most, left)
			}
		}
		if most > 0 {
			d.names, d.limits = append(d.names, lane.name), append(d.limits, int32(most))
		}
	}
	return d
}

// of is the lane that a task came through.
func (l *lanes) of(c claimed) string {
	if len(l.ofStep) == 0 {
		return c.Flow
	}
	if name, own := l.ofStep[c.Flow+"."+c.Step]; own {
		return name
	}
	return c.Flow
}

// enter counts a task that is begun.
func (l *lanes) enter(t *task) { l.count(t, 1) }

// leave counts a task that is over, and reports whether that may have made room.
func (l *lanes) leave(t *task) bool { return l.count(t, -1) }

func (l *lanes) count(t *task, n int) (limited bool) {
	if !l.limited() {
		return false
	}
	name, own := l.ofStep[t.Flow+"."+t.Step]
	if l.limits[t.Flow] == 0 && !own {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy[t.Flow] += n
	if own {
		l.busy[name] += n
	}
	return true
}

// limited reports whether anything has a limit.
func (l *lanes) limited() bool { return len(l.limits) > 0 || len(l.ofStep) > 0 }

// room is how much more of each lane and each flow may be begun; what is not in
// it has no limit.
func (l *lanes) room() room {
	if !l.limited() {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	r := room{}
	for flow, limit := range l.limits {
		r[flow] = limit - l.busy[flow]
	}
	for _, lane := range l.all {
		if lane.limit > 0 {
			r[lane.name] = lane.limit - l.busy[lane.name]
		}
	}
	return r
}

// room is what limits leave, by the names of lanes and flows.
type room map[string]int

// has reports whether one more of a lane may be begun.
func (r room) has(l lane) bool {
	return r.left(l.name) && r.left(l.flow)
}

func (r room) left(name string) bool {
	n, limited := r[name]
	return !limited || n > 0
}

// take takes room for one more, if there is any.
func (r room) take(l lane) bool {
	if !r.has(l) {
		return false
	}
	if _, limited := r[l.name]; limited {
		r[l.name]--
	}
	if _, limited := r[l.flow]; limited && l.flow != l.name {
		r[l.flow]--
	}
	return true
}
