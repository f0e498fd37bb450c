package gen

import (
	"context"
	"go/types"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/runtime/dag"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A Graph is the drawing of a declared flow.
type Graph struct {
	// Flow is the name of the declaration, Slug that in the database.
	Flow, Slug string
	// Drawing has a node for the input, for each step by its slug, and for the
	// output. Soft edges carry no data.
	Drawing dag.Graph
}

// Graphs returns the flows that some packages declare, jobs included, as they are
// drawn. Mistakes are a [*MistakesError].
func Graphs(ctx context.Context, opts Options) ([]Graph, error) {
	c, err := compile(ctx, opts)
	if err != nil {
		return nil, err
	}
	if len(c.flows) == 0 {
		return nil, c.noFlow()
	}
	graphs := make([]Graph, len(c.flows))
	for i, flow := range c.flows {
		graphs[i] = Graph{Flow: flow.Name, Slug: flow.Slug, Drawing: drawing(flow)}
	}
	return graphs, nil
}

// outputNode is the id of the output's node. No slug has a space.
const outputNode = "the output"

func drawing(flow *model.Flow) dag.Graph {
	g := dag.Graph{Title: flow.Name}
	if flow.In != nil {
		g.Nodes = append(g.Nodes, dag.Node{ID: spec.RunKey, Label: typeName(flow, flow.In), Shape: dag.Pill})
	}
	for _, s := range flow.Steps {
		g.Nodes = append(g.Nodes, stepNode(flow, s))
		read := keys(s.Source, s.Over)
		for _, key := range read {
			g.Edges = append(g.Edges, dag.Edge{From: key, To: s.Slug})
		}
		for _, dep := range s.Deps {
			if !slices.Contains(read, dep) {
				g.Edges = append(g.Edges, dag.Edge{From: dep, To: s.Slug, Soft: true})
			}
		}
	}
	if flow.Out != nil {
		g.Nodes = append(g.Nodes, dag.Node{ID: outputNode, Label: typeName(flow, flow.Out), Shape: dag.Pill})
		for _, key := range keys(flow.Result, "") {
			g.Edges = append(g.Edges, dag.Edge{From: key, To: outputNode})
		}
	}
	return g
}

func stepNode(flow *model.Flow, s *model.Step) dag.Node {
	node := dag.Node{ID: s.Slug, Label: s.Name}
	var notes []string
	if s.Map {
		node.Shape = dag.Stack
		notes = append(notes, "for each "+typeName(flow, s.In))
	}
	if s.Wait {
		node.Shape = dag.Hexagon
		notes = append(notes, s.Waits())
	}
	if turns := s.Turns(); turns != "" {
		notes = append(notes, turns)
	}
	if s.If != nil {
		notes = append(notes, terms("if "+s.If.Text)...)
	}
	if s.IfNot != nil {
		notes = append(notes, terms("if not "+s.IfNot.Text)...)
	}
	node.Note = strings.Join(notes, "\n")
	return node
}

// shortCondition is how long a condition may be to stand in one line.
const shortCondition = 40

// terms returns the lines of a condition: one, or one for each term of a long one.
func terms(condition string) (lines []string) {
	if utf8.RuneCountInString(condition) <= shortCondition {
		return []string{condition}
	}
	start, quoted := 0, false
	for i := range len(condition) {
		switch {
		case condition[i] == '\'':
			quoted = !quoted
		case !quoted && i > start && strings.HasPrefix(condition[i:], "&&"):
			lines = append(lines, strings.TrimSpace(condition[start:i]))
			start = i
		}
	}
	return append(lines, condition[start:])
}

// keys returns the producers that a source reads, or that a map runs over.
func keys(s model.Source, over string) (list []string) {
	switch s.Kind {
	case model.Input:
		return []string{spec.RunKey}
	case model.Output:
		return []string{s.Key}
	case model.Item:
		return []string{over}
	case model.Join:
		for _, f := range s.Fields {
			list = append(list, f.Key)
		}
	}
	return list
}

// typeName returns a type as the declaring package writes it.
func typeName(flow *model.Flow, t types.Type) string {
	return types.TypeString(t, func(p *types.Package) string {
		if p == flow.Declaring {
			return ""
		}
		return p.Name()
	})
}
