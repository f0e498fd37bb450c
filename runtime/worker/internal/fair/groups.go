// Package fair decides how many tasks of which flows a worker claims: limits bound how
// much of a flow or a step runs at once, and a fair share of the free slots keeps a flow
// with a long queue from starving the others. It knows names and numbers only.
package fair

import (
	"slices"
	"strings"
	"sync"
)

// A Group is what is claimed by itself: a flow, or one of its steps that has a limit or is
// gated. Its name is that of the flow, or flow.step; a flow is claimed without the steps
// that are groups of their own.
type Group struct {
	Name, Flow string
	Limit      int // 0 is none
}

// Groups are the claim groups of a worker, and how many tasks of each are running.
type Groups struct {
	all    []Group
	ofStep map[string]string // the group of a step, by flow.step, if it has its own
	limits map[string]int    // of flows, and of groups that are steps
	except []string          // steps that are not claimed with their flows
	gated  []string          // those of them whose tasks the database limits

	mu      sync.Mutex
	running map[string]int // by group, and by flow
}

// NewGroups returns no groups.
func NewGroups() *Groups {
	return &Groups{ofStep: map[string]string{}, limits: map[string]int{}, running: map[string]int{}}
}

// Add adds the groups of a flow, of whose steps the worker serves some. limit returns
// the limit of a step, that of the flow if it is "", and 0 if there is none. gated are the
// steps that the database has limits for.
func (g *Groups) Add(flow string, steps, served, gated []string, limit func(step string) int) {
	if n := limit(""); n > 0 {
		g.limits[flow] = n
	}
	whole := false
	for _, step := range steps {
		name := flow + "." + step
		switch {
		case !slices.Contains(served, step):
			g.except = append(g.except, name)
		case limit(step) > 0 || slices.Contains(gated, step):
			g.except = append(g.except, name)
			g.ofStep[name] = name
			g.all = append(g.all, Group{name, flow, limit(step)})
			if limit(step) > 0 {
				g.limits[name] = limit(step)
			}
			if slices.Contains(gated, step) {
				g.gated = append(g.gated, name)
			}
		default:
			whole = true
		}
	}
	if whole {
		g.all = append(g.all, Group{Name: flow, Flow: flow})
	}
}

// Sort sorts the groups by name. It is called when all have been added.
func (g *Groups) Sort() {
	slices.SortFunc(g.all, func(a, b Group) int { return strings.Compare(a.Name, b.Name) })
	slices.Sort(g.except)
}

// All returns the groups.
func (g *Groups) All() []Group { return g.all }

// Except returns the steps, as flow.step, that are not claimed with their flows: those
// with groups of their own, and those that the worker does not serve.
func (g *Groups) Except() []string { return g.except }

// Gated returns the groups that are gated steps.
func (g *Groups) Gated() []string { return g.gated }

// Of returns the name of the group of a step.
func (g *Groups) Of(flow, step string) string {
	if len(g.ofStep) == 0 {
		return flow
	}
	if name, own := g.ofStep[flow+"."+step]; own {
		return name
	}
	return flow
}

// Begin counts a task of a step that begins to run.
func (g *Groups) Begin(flow, step string) { g.count(flow, step, 1) }

// End counts a task of a step that no longer runs. It reports whether a limit counted
// it, so that there may be capacity for another.
func (g *Groups) End(flow, step string) bool { return g.count(flow, step, -1) }

func (g *Groups) count(flow, step string, n int) (limited bool) {
	if !g.Limited() {
		return false
	}
	name, own := g.ofStep[flow+"."+step]
	if g.limits[flow] == 0 && (!own || g.limits[name] == 0) {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running[flow] += n
	if own {
		g.running[name] += n
	}
	return true
}

// Limited reports whether anything has a limit.
func (g *Groups) Limited() bool { return len(g.limits) > 0 }

// Capacity returns how many more tasks the limits allow.
func (g *Groups) Capacity() Capacity {
	if !g.Limited() {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	c := Capacity{}
	for name, limit := range g.limits {
		c[name] = limit - g.running[name]
	}
	return c
}

// An Allocation is how many tasks to claim of which groups. It is empty if none of them
// has capacity.
type Allocation struct {
	Groups []string
	Limits []int32
	First  []int64 // the message ids at which to begin, nil for the beginning

	turn, round int
}

// Each returns an allocation of up to n tasks to every group, as far as limits allow.
func (g *Groups) Each(n int) (a Allocation) {
	capacity := g.Capacity()
	for _, group := range g.all {
		most := n
		for _, name := range []string{group.Name, group.Flow} {
			if left, limited := capacity[name]; limited {
				most = min(most, left)
			}
		}
		if most > 0 {
			a.Groups, a.Limits = append(a.Groups, group.Name), append(a.Limits, int32(most))
		}
	}
	return a
}

// Capacity is how many more tasks limits allow, by the names of groups and flows. What
// is not in it has no limit.
type Capacity map[string]int

// has reports whether there is capacity for one more task of a group.
func (c Capacity) has(g Group) bool {
	return c.left(g.Name) && c.left(g.Flow)
}

func (c Capacity) left(name string) bool {
	n, limited := c[name]
	return !limited || n > 0
}

// take takes the capacity for one task of a group, and reports whether there was any.
func (c Capacity) take(g Group) bool {
	if !c.has(g) {
		return false
	}
	if _, limited := c[g.Name]; limited {
		c[g.Name]--
	}
	if _, limited := c[g.Flow]; limited && g.Flow != g.Name {
		c[g.Flow]--
	}
	return true
}
