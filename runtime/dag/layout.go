package dag

import "math"

// A Direction is where the edges of a picture lead.
type Direction int

// The directions.
const (
	// Down leads from top to bottom.
	Down Direction = iota
	// Right leads from left to right.
	Right
)

// Options configures the layout of a graph. Lengths are in pixels. The zero value is ready to
// use.
type Options struct {
	// Direction defaults to [Down].
	Direction Direction
	// Dots draws nodes as dots without text, for a picture in the size of a stamp.
	Dots bool
	// Plain leaves out the marks of the states of nodes, for a picture without states.
	Plain bool
}

// A Layout is a graph with the position of everything.
type Layout struct {
	Width, Height float64
	Nodes         []Placed
	Edges         []Routed

	graph   Graph
	options Options
}

// A Placed is a node with its position: the corner of its box, and its size.
type Placed struct {
	Node
	X, Y, Width, Height float64
	// Layer counts from 0, for nodes without predecessors.
	Layer int
}

// A Routed is an edge with its path: the points that it goes through, the first and the last
// at the rims of its nodes.
type Routed struct {
	Edge
	Points []Point
}

// A Point is a position in the picture, from its upper left corner.
type Point struct{ X, Y float64 }

// metrics holds the lengths of a picture.
type metrics struct {
	margin         float64
	across         float64 // between neighbours in a layer
	bend           float64 // between an edge and what it passes
	minGap, maxGap float64 // between layers
}

func (o Options) metrics() metrics {
	switch {
	case o.Dots:
		return metrics{margin: 2, across: 7, bend: 5, minGap: 10, maxGap: 10}
	case o.Direction == Right:
		return metrics{margin: 10, across: 20, bend: 14, minGap: 52, maxGap: 120}
	}
	return metrics{margin: 10, across: 28, bend: 18, minGap: 42, maxGap: 92}
}

const (
	dotSize  = 10
	minWidth = 72   // of a box
	letter   = 7.4  // the width of a letter, on average and generously
	line     = 15.5 // the height of a line
	padding  = 14   // between the rim of a box and its text
	markRoom = 24   // what a mark takes of a box
)

// size returns the space that a node needs for itself.
func (o Options) size(n Node) (width, height float64) {
	if o.Dots {
		return dotSize, dotSize
	}
	longest, notes := textWidth(n.label(), letter), n.notes()
	for _, note := range notes {
		longest = max(longest, textWidth(note, smallLetter))
	}
	width = min(math.Ceil(longest)+2*padding, o.maxWidth())
	if o.Plain {
		return max(width, minWidth), 33 + float64(len(notes))*line
	}
	return max(width+markRoom, minWidth+markRoom), 44 + float64(max(len(notes)-1, 0))*line
}

// maxWidth returns where the text of a box is cut. A picture without states is read for
// its notes.
func (o Options) maxWidth() float64 {
	if o.Plain {
		return 320
	}
	return 184
}

// sizes returns how wide each vertex is across the layers, and how deep each layer is
// along them. The boxes of a layer are all as deep as it, so that edges begin and end
// where a layer does and cross no box on their way to the side. Everything is laid out
// top-down, and turned at the end if edges lead to the right.
func (g *grid) sizes(nodes []Node, opts Options) (breadth, depth []float64) {
	breadth, depth = make([]float64, len(g.layer)), make([]float64, len(g.layers))
	for v, n := range nodes {
		across, along := opts.size(n)
		if opts.Direction == Right {
			across, along = along, across
		}
		breadth[v] = across
		depth[g.layer[v]] = max(depth[g.layer[v]], along)
	}
	return breadth, depth
}

// Arrange lays out a graph. Its errors are those of [Graph.Validate].
func Arrange(g Graph, opts Options) (*Layout, error) {
	t, err := g.topology()
	if err != nil {
		return nil, err
	}
	m := opts.metrics()
	grid := newGrid(t)
	grid.order()
	breadth, depth := grid.sizes(g.Nodes, opts)
	x := grid.place(func(left, right int) float64 {
		between := m.across
		if grid.isBend(left) || grid.isBend(right) {
			between = m.bend
		}
		return (breadth[left]+breadth[right])/2 + between
	})
	least, most := 0.0, 0.0
	if len(x) > 0 {
		least, most = math.Inf(1), math.Inf(-1)
	}
	for v := range x {
		least, most = min(least, x[v]-breadth[v]/2), max(most, x[v]+breadth[v]/2)
	}
	for v := range x {
		x[v] += m.margin - least
	}
	top := grid.tops(x, depth, m)

	l := &Layout{graph: g, options: opts, Width: most - least + 2*m.margin, Height: 2 * m.margin}
	if n := len(top); n > 0 {
		l.Height = top[n-1] + depth[n-1] + m.margin
	}
	number := map[string]int{}
	for v, n := range g.Nodes {
		number[n.ID] = v
		layer := grid.layer[v]
		l.Nodes = append(l.Nodes, Placed{
			Node: n, X: x[v] - breadth[v]/2, Y: top[layer], Width: breadth[v], Height: depth[layer], Layer: layer,
		})
	}
	drawn := map[[2]int]bool{}
	for _, e := range g.Edges {
		ends := [2]int{number[e.From], number[e.To]}
		if drawn[ends] {
			continue
		}
		drawn[ends] = true
		l.Edges = append(l.Edges, Routed{Edge: e, Points: grid.route(ends, x, top, depth)})
	}
	if opts.Direction == Right {
		l.turn()
	}
	return l, nil
}

// tops returns where each layer begins. Edges that lead far to the side get more room for
// it.
func (g *grid) tops(x, depth []float64, m metrics) []float64 {
	tops := make([]float64, len(g.layers))
	y := m.margin
	for i, layer := range g.layers {
		tops[i] = y
		farthest := 0.0
		for _, v := range layer {
			for _, w := range g.down[v] {
				farthest = max(farthest, math.Abs(x[v]-x[w]))
			}
		}
		y += depth[i] + min(max(m.minGap, farthest/7), m.maxGap)
	}
	return tops
}

// route returns the path of an edge: through the layers in between it is straight, to
// stay clear of their nodes.
func (g *grid) route(ends [2]int, x, top, depth []float64) []Point {
	chain := g.chains[ends]
	var points []Point
	for i, v := range chain {
		y, bottom := top[g.layer[v]], top[g.layer[v]]+depth[g.layer[v]]
		if i > 0 {
			points = append(points, Point{x[v], y})
		}
		if i < len(chain)-1 {
			points = append(points, Point{x[v], bottom})
		}
	}
	return points
}

// turn turns a top-down picture into one that leads to the right.
func (l *Layout) turn() {
	l.Width, l.Height = l.Height, l.Width
	for i := range l.Nodes {
		n := &l.Nodes[i]
		n.X, n.Y, n.Width, n.Height = n.Y, n.X, n.Height, n.Width
	}
	for _, e := range l.Edges {
		for i, p := range e.Points {
			e.Points[i] = Point{p.Y, p.X}
		}
	}
}
