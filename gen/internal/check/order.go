package check

import (
	"encoding/json"
	"strings"

	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// checkOrder puts the steps in an order that runs. It reports cycles, and rows
// of steps that are too long for the database.
func (c *checker) checkOrder(d *declaration) bool {
	graph, byName := d.graph()
	order, cycle := graph.Order()
	if cycle != nil {
		var around []*step
		for _, name := range cycle {
			around = append(around, byName[name])
		}
		c.reportCycle(d, around)
		return false
	}
	d.flow.Steps = nil
	for _, s := range order {
		d.flow.Steps = append(d.flow.Steps, byName[s.Slug].model)
	}
	if chain := graph.LongChain(); chain != nil {
		first, last := byName[chain[0]], byName[chain[len(chain)-1]]
		pos, end := where(last.name)
		c.diags.Add(diag.LongChain, pos, end, "%s: more than %d steps in a row have a condition or are maps, and the database follows no further",
			last.who, spec.MaxChain).
			NoteAt(first.name.Pos(), "the row begins with %s", first.name.Name).
			Fix("put a step between them that is no map and has no condition, or split %s", d.name)
	}
	return true
}

// graph returns the steps as a definition has them, each with its Go name as its slug,
// which may be wrong, and the steps by these names.
func (d *declaration) graph() (graph spec.Flow, byName map[string]*step) {
	byName = map[string]*step{}
	for _, s := range d.steps {
		byName[s.name.Name] = s
		node := spec.Step{Slug: s.name.Name}
		for _, dep := range s.deps {
			node.Deps = append(node.Deps, dep.name.Name)
		}
		if s.settings.Condition() != nil {
			node.If = json.RawMessage("{}") // it is compiled later
		}
		if s.model.Map {
			node.Type = spec.TypeMap
		}
		graph.Steps = append(graph.Steps, node)
	}
	return graph, byName
}

// reportCycle reports steps of which each waits for the next, and the last for the first.
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
