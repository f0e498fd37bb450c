package dag

import (
	"cmp"
	"slices"
)

// patience is how many sweeps without an improvement are made before the order of the layers
// is final.
const patience = 8

// order arranges each layer so that few edges cross: every layer in turn is sorted by the
// positions of its neighbours in the previous layer, down and up again, and neighbours are
// swapped where that helps. The best order found is kept.
func (g *grid) order() {
	g.start()
	best, fewest := g.copyLayers(), g.crossings()
	for n, since := 0, 0; since < patience && fewest > 0; n, since = n+1, since+1 {
		g.sweep(n%2 == 0, n%4 < 2)
		g.exchange()
		if c := g.crossings(); c < fewest {
			best, fewest, since = g.copyLayers(), c, 0
		}
	}
	g.layers = best
	g.sortNeighbours()
}

// start orders the layers as a walk down from the first nodes visits them, which keeps
// together what belongs together.
func (g *grid) start() {
	seen := make([]bool, len(g.layer))
	order := make([][]int, len(g.layers))
	var visit func(v int)
	visit = func(v int) {
		if seen[v] {
			return
		}
		seen[v] = true
		order[g.layer[v]] = append(order[g.layer[v]], v)
		for _, w := range g.down[v] {
			visit(w)
		}
	}
	for _, layer := range g.layers {
		for _, v := range layer {
			visit(v)
		}
	}
	g.layers = order
}

// positions returns the position of each vertex in its layer.
func (g *grid) positions() []int {
	pos := make([]int, len(g.layer))
	for _, layer := range g.layers {
		for i, v := range layer {
			pos[v] = i
		}
	}
	return pos
}

// sweep sorts the layers by the mean position of their neighbours in the layer that was
// sorted before. Equal vertices keep their order, or reverse it.
func (g *grid) sweep(downwards, keep bool) {
	pos := g.positions()
	for i := range g.layers {
		layer, neighbours := g.layers[i], g.up
		if !downwards {
			layer, neighbours = g.layers[len(g.layers)-1-i], g.down
		}
		mean := make(map[int]float64, len(layer))
		for _, v := range layer {
			mean[v] = float64(pos[v])
			if near := neighbours[v]; len(near) > 0 {
				sum := 0
				for _, w := range near {
					sum += pos[w]
				}
				mean[v] = float64(sum) / float64(len(near))
			}
		}
		if !keep {
			slices.Reverse(layer)
		}
		slices.SortStableFunc(layer, func(a, b int) int { return cmp.Compare(mean[a], mean[b]) })
		for j, v := range layer {
			pos[v] = j
		}
	}
}

// exchange swaps neighbours as long as that makes fewer crossings.
func (g *grid) exchange() {
	pos := g.positions()
	for better := true; better; {
		better = false
		for _, layer := range g.layers {
			for i := range len(layer) - 1 {
				v, w := layer[i], layer[i+1]
				if between(g.up, pos, v, w)+between(g.down, pos, v, w) > between(g.up, pos, w, v)+between(g.down, pos, w, v) {
					layer[i], layer[i+1] = w, v
					pos[w], pos[v] = i, i+1
					better = true
				}
			}
		}
	}
}

// between counts the crossings among the edges of two vertices of which the first is left of
// the second.
func between(neighbours [][]int, pos []int, left, right int) int {
	n := 0
	for _, a := range neighbours[left] {
		for _, b := range neighbours[right] {
			if pos[a] > pos[b] {
				n++
			}
		}
	}
	return n
}

// crossings counts all crossings.
func (g *grid) crossings() int {
	pos := g.positions()
	total := 0
	for i := range len(g.layers) - 1 {
		// Edges in the order of their upper, then of their lower ends: each
		// crosses those before it that end right of it.
		var ends []int
		for _, v := range g.layers[i] {
			from := len(ends)
			for _, w := range g.down[v] {
				ends = append(ends, pos[w])
			}
			slices.Sort(ends[from:])
		}
		total += inversions(ends, len(g.layers[i+1]))
	}
	return total
}

// inversions counts the pairs that are out of order, with a tree of sums.
func inversions(values []int, limit int) int {
	sums := make([]int, limit+1)
	total := 0
	for n, v := range values {
		atMost := 0
		for i := v + 1; i > 0; i -= i & -i {
			atMost += sums[i]
		}
		total += n - atMost
		for i := v + 1; i <= limit; i += i & -i {
			sums[i]++
		}
	}
	return total
}

func (g *grid) copyLayers() [][]int {
	layers := make([][]int, len(g.layers))
	for i, layer := range g.layers {
		layers[i] = slices.Clone(layer)
	}
	return layers
}

func (g *grid) sortNeighbours() {
	pos := g.positions()
	for v := range g.layer {
		for _, near := range [][]int{g.up[v], g.down[v]} {
			slices.SortFunc(near, func(a, b int) int { return cmp.Compare(pos[a], pos[b]) })
		}
	}
}
