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

// Options say how a graph is laid out. Lengths are in pixels. The zero value is
// a good one.
type Options struct {
	// Direction defaults to [Down].
	Direction Direction
	// Dots draws nodes as dots without text, for a picture the size of a stamp.
	Dots bool
}

// A Layout is a graph with a place for everything.
type Layout struct {
	Width, Height float64
	Nodes         []Placed
	Edges         []Routed

	graph   Graph
	options Options
}

// Placed is a node with its place: the corner of its box, and its size.
type Placed struct {
	Node
	X, Y, Width, Height float64
	// Layer counts from 0, where nothing comes before.
	Layer int
}

// Routed is an edge with its way: points that it goes through, the first and the
// last at the rims of its nodes.
type Routed struct {
	Edge
	Points []Point
}

// A Point is a place in the picture, from its upper left corner.
type Point struct{ X, Y float64 }

// metrics are the lengths of a picture.
type metrics struct {
	margin            float64
	nodeWidth, height float64
	across            float64 // between neighbours in a layer
	bend              float64 // between an edge and what it passes
	minGap, maxGap    float64 // between layers
}

const (
	minNode, maxNode = 104, 208 // widths of boxes
	letter           = 7.4      // the width of a letter, on average and generously
	textLeft         = 38       // what is left of the text in a box
	textRight        = 14       // and right of it
)

func (o Options) metrics(g Graph) metrics {
	if o.Dots {
		return metrics{margin: 2, nodeWidth: 10, height: 10, across: 7, bend: 5, minGap: 10, maxGap: 10}
	}
	longest := 0.0
	for _, n := range g.Nodes {
		longest = max(longest, textWidth(n.label(), letter), textWidth(n.Note, smallLetter))
	}
	width := min(max(math.Ceil(longest)+textLeft+textRight, minNode), maxNode)
	m := metrics{margin: 10, nodeWidth: width, height: 44, across: 28, bend: 18, minGap: 42, maxGap: 92}
	if o.Direction == Right {
		m.across, m.bend, m.minGap, m.maxGap = 20, 14, 52, 120
	}
	return m
}

// Arrange lays a graph out. Its errors are those of [Graph.Validate].
func Arrange(g Graph, opts Options) (*Layout, error) {
	t, err := g.topology()
	if err != nil {
		return nil, err
	}
	m := opts.metrics(g)
	// Along the layers a node of a picture to the right is as long as its box is
	// high. Everything is laid out downwards, and turned at the end.
	breadth, depth := m.nodeWidth, m.height
	if opts.Direction == Right {
		breadth, depth = depth, breadth
	}
	grid := newGrid(t)
	grid.order()
	x := grid.place(func(left, right int) float64 {
		switch {
		case grid.isBend(left) && grid.isBend(right):
			return m.bend
		case grid.isBend(left) || grid.isBend(right):
			return breadth/2 + m.bend
		}
		return breadth + m.across
	})
	least, most := 0.0, 0.0
	for v := range x {
		half := 0.0
		if !grid.isBend(v) {
			half = breadth / 2
		}
		if v == 0 {
			least, most = x[v]-half, x[v]+half
		}
		least, most = min(least, x[v]-half), max(most, x[v]+half)
	}
	for v := range x {
		x[v] += m.margin - least
	}
	top := grid.tops(x, depth, m)

	l := &Layout{graph: g, options: opts, Width: most - least + 2*m.margin, Height: 2 * m.margin}
	if n := len(top); n > 0 {
		l.Height = top[n-1] + depth + m.margin
	}
	number := map[string]int{}
	for v, n := range g.Nodes {
		number[n.ID] = v
		l.Nodes = append(l.Nodes, Placed{
			Node: n, X: x[v] - breadth/2, Y: top[grid.layer[v]], Width: breadth, Height: depth, Layer: grid.layer[v],
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

// tops is where each layer begins. Edges that lead far to the side get more room
// to do so.
func (g *grid) tops(x []float64, depth float64, m metrics) []float64 {
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
		y += depth + min(max(m.minGap, farthest/7), m.maxGap)
	}
	return tops
}

// route is the way of an edge: through the layers in between it goes straight, so
// that it keeps clear of their nodes.
func (g *grid) route(ends [2]int, x, top []float64, depth float64) []Point {
	chain := g.chains[ends]
	var points []Point
	for i, v := range chain {
		y := top[g.layer[v]]
		if i > 0 {
			points = append(points, Point{x[v], y})
		}
		if i < len(chain)-1 {
			points = append(points, Point{x[v], y + depth})
		}
	}
	return points
}

// turn makes a picture that leads down lead to the right.
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
