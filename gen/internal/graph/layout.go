package graph

import (
	"cmp"
	"math"
	"slices"
)

// The layout is that of layered drawings: every node gets a layer below all that
// it waits for, the nodes of a layer are ordered so that few edges cross, and
// then moved sideways towards their neighbours.

// A box is a place in the drawing: a node, or a bend of an edge on its way
// through a layer.
type box struct {
	node          int // or -1 for a bend
	layer         int
	width, height float64
	x, y          float64 // the middle of the upper side
	above, below  []*box
}

// A layout is a graph with places.
type layout struct {
	nodes         []*box
	paths         [][]*box // the boxes that each edge goes through
	width, height float64
}

const (
	gapX = 28 // between boxes of a layer
	gapY = 44 // between layers
	bend = 8  // the width that is kept free for an edge
)

// place lays out a graph whose nodes have the given sizes.
func place(g *Graph, size func(Node) (width, height float64)) *layout {
	l := &layout{}
	for i, n := range g.Nodes {
		b := &box{node: i}
		b.width, b.height = size(n)
		l.nodes = append(l.nodes, b)
	}
	layers := l.assignLayers(g)
	reduceCrossings(layers)
	l.assignX(layers)
	l.assignY(layers)
	return l
}

// assignLayers puts each node one layer below the lowest it waits for, the
// output below all, and bends of long edges in the layers between.
func (l *layout) assignLayers(g *Graph) [][]*box {
	for range g.Nodes { // as often as there could be layers
		for _, e := range g.Edges {
			from, to := l.nodes[e.From], l.nodes[e.To]
			to.layer = max(to.layer, from.layer+1)
		}
	}
	lowest := 0
	for _, b := range l.nodes {
		lowest = max(lowest, b.layer)
	}
	if last := len(g.Nodes) - 1; last > 0 && g.Nodes[last].Kind == Terminal && l.nodes[last].layer > 0 {
		if slices.ContainsFunc(l.nodes[:last], func(b *box) bool { return b.layer == lowest }) {
			lowest++
		}
		l.nodes[last].layer = lowest
	}
	layers := make([][]*box, lowest+1)
	for _, b := range l.nodes {
		layers[b.layer] = append(layers[b.layer], b)
	}
	for _, e := range g.Edges {
		from, to := l.nodes[e.From], l.nodes[e.To]
		path := []*box{from}
		for layer := from.layer + 1; layer < to.layer; layer++ {
			b := &box{node: -1, layer: layer, width: bend}
			layers[layer] = append(layers[layer], b)
			path = append(path, b)
		}
		path = append(path, to)
		for i := 1; i < len(path); i++ {
			path[i-1].below = append(path[i-1].below, path[i])
			path[i].above = append(path[i].above, path[i-1])
		}
		l.paths = append(l.paths, path)
	}
	return layers
}

// reduceCrossings orders the boxes of each layer by the middle of their
// neighbours, down and up in turns, and keeps the best order it meets.
func reduceCrossings(layers [][]*box) {
	best, least := snapshot(layers), crossings(layers)
	for round := 0; round < 12 && least > 0; round++ {
		for i := range layers {
			layer, neighbours := layers[i], func(b *box) []*box { return b.above }
			if round%2 == 1 {
				layer, neighbours = layers[len(layers)-1-i], func(b *box) []*box { return b.below }
			}
			at := positions(layers)
			slices.SortStableFunc(layer, func(a, b *box) int {
				return cmp.Compare(middle(a, neighbours(a), at), middle(b, neighbours(b), at))
			})
		}
		if n := crossings(layers); n < least {
			best, least = snapshot(layers), n
		}
	}
	for i := range layers {
		layers[i] = best[i]
	}
}

func snapshot(layers [][]*box) [][]*box {
	copied := make([][]*box, len(layers))
	for i, layer := range layers {
		copied[i] = slices.Clone(layer)
	}
	return copied
}

// positions are the places of boxes in their layers.
func positions(layers [][]*box) map[*box]int {
	at := map[*box]int{}
	for _, layer := range layers {
		for i, b := range layer {
			at[b] = i
		}
	}
	return at
}

// middle is the average place of the neighbours of a box, or its own.
func middle(b *box, neighbours []*box, at map[*box]int) float64 {
	if len(neighbours) == 0 {
		return float64(at[b])
	}
	sum := 0
	for _, n := range neighbours {
		sum += at[n]
	}
	return float64(sum) / float64(len(neighbours))
}

// crossings counts the pairs of edges between two layers that cross.
func crossings(layers [][]*box) (n int) {
	at := positions(layers)
	for _, layer := range layers {
		var ends []int // the lower ends of edges, by their upper ends
		for _, b := range layer {
			var below []int
			for _, c := range b.below {
				below = append(below, at[c])
			}
			slices.Sort(below)
			for _, end := range below {
				for _, other := range ends {
					if other > end {
						n++
					}
				}
			}
			ends = append(ends, below...)
		}
	}
	return n
}

// assignX moves boxes towards the average of their neighbours, as far as the
// order of their layer allows.
func (l *layout) assignX(layers [][]*box) {
	for _, layer := range layers {
		x := 0.0
		for _, b := range layer {
			b.x = x + b.width/2
			x += b.width + gapX
		}
	}
	for round := range 24 {
		for i := range layers {
			layer := layers[i]
			if round%2 == 1 {
				layer = layers[len(layers)-1-i]
			}
			align(layer)
		}
	}
	left, right := math.Inf(1), math.Inf(-1)
	for _, layer := range layers {
		for _, b := range layer {
			left, right = min(left, b.x-b.width/2), max(right, b.x+b.width/2)
		}
	}
	for _, layer := range layers {
		for _, b := range layer {
			b.x -= left
		}
	}
	l.width = right - left
}

// align gives the boxes of a layer the places they want. Where they would
// overlap, they share the distance: from the left and from the right, each box
// gets as near as it can, and the middle of both is where it stands.
func align(layer []*box) {
	n := len(layer)
	want, left, right := make([]float64, n), make([]float64, n), make([]float64, n)
	for i, b := range layer {
		sum, weights := 0.0, 0.0
		for _, c := range slices.Concat(b.above, b.below) {
			weight := 1.0
			if b.node < 0 && c.node < 0 {
				weight = 8 // a long edge should be straight
			}
			sum, weights = sum+weight*c.x, weights+weight
		}
		want[i] = b.x
		if weights > 0 {
			want[i] = sum / weights
		}
	}
	apart := func(i int) float64 { return (layer[i-1].width+layer[i].width)/2 + gapX }
	for i := range n {
		left[i] = want[i]
		if i > 0 {
			left[i] = max(left[i], left[i-1]+apart(i))
		}
	}
	for i := n - 1; i >= 0; i-- {
		right[i] = want[i]
		if i < n-1 {
			right[i] = min(right[i], right[i+1]-apart(i+1))
		}
	}
	for i, b := range layer {
		b.x = (left[i] + right[i]) / 2
	}
}

// assignY stacks the layers.
func (l *layout) assignY(layers [][]*box) {
	y := 0.0
	for i, layer := range layers {
		if i > 0 {
			y += gapY
		}
		height := 0.0
		for _, b := range layer {
			height = max(height, b.height)
		}
		for _, b := range layer {
			if b.node < 0 {
				b.height = height // it goes past all of the layer
			}
			b.y = y + (height-b.height)/2
		}
		y += height
	}
	l.height = y
}
