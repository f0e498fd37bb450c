package gen

import (
	"context"

	"github.com/flowc-dev/flowc/gen/internal/graph"
)

// A Graph is a drawing of a flow.
type Graph struct {
	// Flow is the name of the declaration, Slug that in the database.
	Flow, Slug string
	graph      *graph.Graph
}

// Graphs are the drawings of the flows that some packages declare, jobs included.
// Mistakes are a [*MistakesError].
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
		graphs[i] = Graph{Flow: flow.Name, Slug: flow.Slug, graph: graph.Of(flow)}
	}
	return graphs, nil
}

// Mermaid is the graph as a flowchart of Mermaid.
func (g Graph) Mermaid() string { return g.graph.Mermaid() }

// DOT is the graph in the language of Graphviz.
func (g Graph) DOT() string { return g.graph.DOT() }

// SVG is the graph as a drawing, which follows the colour scheme of its reader.
func (g Graph) SVG() string { return g.graph.SVG() }
