package check

import (
	"fmt"
	"strings"

	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/model"
)

// longestChain is how many steps in a row the database can skip one after the
// other: it gives up after 50 rounds, and needs one to see that it is done.
const longestChain = 49

// checkOrder puts the steps in an order that runs. It reports cycles, and rows
// of steps that are too long for the database.
func (c *checker) checkOrder(d *declaration) bool {
	if cycle := findCycle(d.steps); cycle != nil {
		c.reportCycle(d, cycle)
		return false
	}
	d.flow.Steps = nil
	placed := map[*step]bool{}
	for len(placed) < len(d.steps) {
		for _, s := range d.steps {
			if !placed[s] && all(s.deps, placed) {
				placed[s] = true
				d.flow.Steps = append(d.flow.Steps, s.model)
				break // the first that can, as declared
			}
		}
	}
	c.checkChain(d, "can each be skipped by a condition", func(s *step) bool {
		return (s.settings.If != nil || s.settings.IfNot != nil) &&
			(s.settings.WhenUnmet == "" || s.settings.WhenUnmet == model.Skip)
	})
	c.checkChain(d, "map over each other", func(s *step) bool { return s.model.Map })
	return true
}

func all(steps []*step, placed map[*step]bool) bool {
	for _, s := range steps {
		if !placed[s] {
			return false
		}
	}
	return true
}

// findCycle is a cycle of steps, each of which waits for the next, or nil. It
// begins at the step that is declared first.
func findCycle(steps []*step) []*step {
	const open, done = 1, 2
	state := map[*step]int{}
	var path, cycle []*step
	var visit func(s *step) bool
	visit = func(s *step) bool {
		state[s] = open
		path = append(path, s)
		for _, dep := range s.deps {
			if state[dep] == open {
				for i := range path {
					if path[i] == dep {
						cycle = append(cycle, path[i:]...)
					}
				}
				return true
			}
			if state[dep] == 0 && visit(dep) {
				return true
			}
		}
		state[s] = done
		path = path[:len(path)-1]
		return false
	}
	for _, s := range steps {
		if state[s] == 0 && visit(s) {
			break
		}
	}
	first := 0
	for i, s := range cycle {
		if s.index < cycle[first].index {
			first = i
		}
	}
	if cycle == nil {
		return nil
	}
	return append(append([]*step{}, cycle[first:]...), cycle[:first]...)
}

func (c *checker) reportCycle(d *declaration, cycle []*step) {
	var names []string
	for _, s := range cycle {
		names = append(names, s.name.Name)
	}
	names = append(names, cycle[0].name.Name)
	pos, end := where(cycle[0].name)
	b := c.diags.Add(diag.StepCycle, pos, end, "%s: %s waits for itself: %s", d.name, names[0], strings.Join(names, " ← "))
	for i, s := range cycle {
		b.NoteAt(s.name.Pos(), "%s waits for %s, %s", s.name.Name, names[i+1], c.whyWait(s, cycle[(i+1)%len(cycle)]))
	}
	b.Fix("let one of them take what an earlier step gives")
}

// whyWait says why a step waits for another.
func (c *checker) whyWait(s, dep *step) string {
	source := s.model.Source
	switch {
	case source.Kind == model.Item:
		return "whose list it maps over"
	case source.Kind == model.Output && source.Key == dep.model.Slug:
		return "whose " + c.name(source.Type) + " it takes"
	case source.Kind == model.Join:
		for _, f := range source.Fields {
			if f.Key == dep.model.Slug {
				return "whose " + c.name(f.Type) + " it takes as " + c.name(source.Type) + "." + f.Name
			}
		}
	}
	return "as its tag says"
}

// checkChain reports the longest row of steps of a kind, each waiting for the
// one before, if it is too long.
func (c *checker) checkChain(d *declaration, what string, kind func(*step) bool) {
	length := map[*step]int{}
	before := map[*step]*step{}
	var measure func(s *step) int
	measure = func(s *step) int {
		if n, ok := length[s]; ok {
			return n
		}
		n := 0
		for _, dep := range s.deps {
			if m := measure(dep); m > n {
				n, before[s] = m, dep
			}
		}
		if kind(s) {
			n++
		} else {
			n = 0
		}
		length[s] = n
		return n
	}
	for _, s := range d.steps {
		if measure(s) != longestChain+1 {
			continue
		}
		first := s
		for range longestChain {
			first = before[first]
		}
		pos, end := where(s.name)
		c.diags.Add(diag.LongChain, pos, end, "%s: more than %d steps in a row %s, and the database follows no further", s.who, longestChain, what).
			NoteAt(first.name.Pos(), "the row begins with %s", first.name.Name).
			Fix("%s", fmt.Sprintf("put a step without a condition and without a map between them, or split %s", d.name))
		return
	}
}
