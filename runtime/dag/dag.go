// Package dag draws directed acyclic graphs: it arranges their nodes in layers
// and writes the picture as SVG, or the graph as Mermaid or DOT text.
//
// A graph is plain data. Its picture is the same everywhere, so that the command, the
// documentation and the dashboard show a flow alike.
package dag

import (
	"errors"
	"fmt"
	"strings"

	"github.com/flowc-dev/flowc/runtime/internal/graph"
)

// A Graph is a graph to draw.
type Graph struct {
	// Title describes the picture to those who cannot see it.
	Title string
	// Nodes are the nodes. Where the layout has a choice, they keep their order.
	Nodes []Node
	// Edges lead from node to node. Two that are the same are drawn once.
	Edges []Edge
}

// A Node is a box of the picture.
type Node struct {
	// ID is the node's own within its graph.
	ID string
	// Label is the text of the box. Defaults to ID.
	Label string
	// Note is smaller text below the label: one line, or several.
	Note string
	// Title is the tooltip of the box. Defaults to Label and Note.
	Title string
	// Shape defaults to [Box].
	Shape Shape
	// Class is added to the CSS classes of the box and of the edges that leave it.
	Class string
	// Link is where a click leads. Empty means nowhere.
	Link string
}

func (n Node) label() string {
	if n.Label == "" {
		return n.ID
	}
	return n.Label
}

// notes returns the lines of the note.
func (n Node) notes() []string {
	if n.Note == "" {
		return nil
	}
	return strings.Split(n.Note, "\n")
}

func (n Node) title() string {
	switch {
	case n.Title != "":
		return n.Title
	case n.Note != "":
		return n.label() + "\n" + n.Note
	}
	return n.label()
}

// A Shape is the look of a node.
type Shape int

// The shapes of nodes.
const (
	// Box is a single box.
	Box Shape = iota
	// Stack is a stack of boxes, for what happens many times.
	Stack
	// Pill is a round end of the graph, such as its input.
	Pill
	// Hexagon is a box with pointed sides, for what waits for somebody.
	Hexagon
)

// An Edge is an arrow of the picture.
type Edge struct {
	// From and To are ids of nodes.
	From, To string
	// Soft edges are dashed: they order nodes and carry nothing.
	Soft bool
}

// ErrCycle says that a graph has a cycle, so that it cannot be drawn in layers.
var ErrCycle = errors.New("graph has a cycle")

// Validate reports everything that keeps the graph from being drawn: ids that are empty or
// not unique, edges between nodes that do not exist, and cycles.
func (g Graph) Validate() error {
	_, err := g.topology()
	return err
}

// A topology is a graph of indexes: the edges of each node, without duplicates, and all nodes
// in topological order.
type topology struct {
	out, in [][]int
	sorted  []int
}

func (g Graph) topology() (*topology, error) {
	var faults []error
	number := make(map[string]int, len(g.Nodes))
	for i, n := range g.Nodes {
		if n.ID == "" {
			faults = append(faults, fmt.Errorf("flowc: dag: node %d has no id", i))
		}
		if _, twice := number[n.ID]; twice {
			faults = append(faults, fmt.Errorf("flowc: dag: two nodes have the id %q", n.ID))
		}
		number[n.ID] = i
	}
	t := &topology{out: make([][]int, len(g.Nodes)), in: make([][]int, len(g.Nodes))}
	seen := make(map[[2]int]bool, len(g.Edges))
	for _, e := range g.Edges {
		from, ok := number[e.From]
		to, ok2 := number[e.To]
		if !ok || !ok2 {
			faults = append(faults, fmt.Errorf("flowc: dag: the edge from %q to %q has an end that is not a node", e.From, e.To))
			continue
		}
		if !seen[[2]int{from, to}] {
			seen[[2]int{from, to}] = true
			t.out[from] = append(t.out[from], to)
			t.in[to] = append(t.in[to], from)
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	order, cycle := graph.Sort(t.in)
	if cycle != nil {
		var names []string
		for _, v := range cycle {
			names = append([]string{g.Nodes[v].ID}, names...)
		}
		return nil, fmt.Errorf("flowc: dag: %w through %s", ErrCycle, strings.Join(names, ", "))
	}
	t.sorted = order
	return t, nil
}
