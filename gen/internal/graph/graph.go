// Package graph draws a flow: as Mermaid, as DOT, and as SVG with a layout of
// its own.
package graph

import (
	"go/types"
	"slices"

	"github.com/flowc-dev/flowc/gen/internal/model"
)

// A Graph is what is to be drawn of a flow.
type Graph struct {
	Title string
	Nodes []Node // the input first, the output last, if there are any
	Edges []Edge
}

// A Node is a step, the input or the output.
type Node struct {
	Kind  Kind
	Name  string
	Notes []string // smaller, beneath the name
}

// A Kind of a node decides its form.
type Kind int

const (
	Step     Kind = iota
	Map           // a step that runs once for each element
	Terminal      // the input or the output
)

// An Edge goes from a node to one that waits for it, by their indexes.
type Edge struct {
	From, To int
	// Order is set if no data goes along.
	Order bool
}

// Of is the graph of a flow.
func Of(flow *model.Flow) *Graph {
	g := &Graph{Title: flow.Name}
	index := map[string]int{}
	node := func(key string, n Node) {
		index[key] = len(g.Nodes)
		g.Nodes = append(g.Nodes, n)
	}
	if flow.In != nil {
		node(model.RunKey, Node{Kind: Terminal, Name: typeName(flow, flow.In)})
	}
	for _, s := range flow.Steps {
		n := Node{Name: s.Name}
		if s.Map {
			n.Kind = Map
			n.Notes = append(n.Notes, "for each "+typeName(flow, s.In))
		}
		if s.If != nil {
			n.Notes = append(n.Notes, "if "+s.If.Text)
		}
		if s.IfNot != nil {
			n.Notes = append(n.Notes, "if not "+s.IfNot.Text)
		}
		node(s.Slug, n)
	}
	for _, s := range flow.Steps {
		read := keys(s.Source, s.Over)
		for _, key := range read {
			g.Edges = append(g.Edges, Edge{From: index[key], To: index[s.Slug]})
		}
		for _, dep := range s.Deps {
			if !slices.Contains(read, dep) {
				g.Edges = append(g.Edges, Edge{From: index[dep], To: index[s.Slug], Order: true})
			}
		}
	}
	if flow.Out != nil {
		const output = " output" // no slug has a space
		node(output, Node{Kind: Terminal, Name: typeName(flow, flow.Out)})
		for _, key := range keys(flow.Result, "") {
			g.Edges = append(g.Edges, Edge{From: index[key], To: index[output]})
		}
	}
	return g
}

// keys are the producers that a source reads, or that a map runs over.
func keys(s model.Source, over string) (list []string) {
	switch s.Kind {
	case model.Input:
		return []string{model.RunKey}
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

// typeName is a type as the declaring package writes it.
func typeName(flow *model.Flow, t types.Type) string {
	return types.TypeString(t, func(p *types.Package) string {
		if p == flow.Declaring {
			return ""
		}
		return p.Name()
	})
}
