package dag

import (
	"math"
	"slices"
)

// place computes the position of each vertex across its layer: its centre, so that the
// vertices of a layer keep their order and distance.
//
// It is the method of Brandes and Köpf: vertices are aligned with the median of
// their neighbours, above or below, preferring the left or the right; each of
// the four ways is packed tightly, and the mean of the middle two is used. Long
// edges become straight, and parents are above the middle of their children.
func (g *grid) place(apart func(left, right int) float64) []float64 {
	conflicts := g.conflicts()
	var ways [][]float64
	for _, upwards := range []bool{false, true} {
		for _, mirrored := range []bool{false, true} {
			layers, neighbours := g.copyLayers(), g.up
			if upwards {
				slices.Reverse(layers)
				neighbours = g.down
			}
			distance := apart
			if mirrored {
				for _, layer := range layers {
					slices.Reverse(layer)
				}
				distance = func(left, right int) float64 { return apart(right, left) }
			}
			x := pack(layers, align(layers, neighbours, conflicts, mirrored), distance)
			if mirrored {
				for v := range x {
					x[v] = -x[v]
				}
			}
			ways = append(ways, x)
		}
	}
	return balance(ways)
}

// conflicts returns the edges that cross a segment between two bends. Such a segment
// should be straight, so the edge gives way.
func (g *grid) conflicts() map[[2]int]bool {
	pos := g.positions()
	conflicts := map[[2]int]bool{}
	for i := range len(g.layers) - 1 {
		lower := g.layers[i+1]
		left, scanned := 0, 0
		for j, v := range lower {
			right := len(g.layers[i]) - 1
			inner := g.isBend(v) && g.isBend(g.up[v][0])
			if inner {
				right = pos[g.up[v][0]]
			} else if j < len(lower)-1 {
				continue
			}
			for ; scanned <= j; scanned++ {
				w := lower[scanned]
				for _, u := range g.up[w] {
					if (pos[u] < left || pos[u] > right) && !(g.isBend(u) && g.isBend(w)) {
						conflicts[[2]int{u, w}] = true
					}
				}
			}
			left = right
		}
	}
	return conflicts
}

// align joins vertices into blocks that are to be in one line, and returns the first vertex
// of the block of each.
func align(layers, neighbours [][]int, conflicts map[[2]int]bool, mirrored bool) []int {
	pos := map[int]int{}
	for _, layer := range layers {
		for i, v := range layer {
			pos[v] = i
		}
	}
	first := make([]int, len(neighbours))
	for v := range first {
		first[v] = v
	}
	for _, layer := range layers {
		last := -1
		for _, v := range layer {
			near := neighbours[v]
			if len(near) == 0 {
				continue
			}
			low, high := near[(len(near)-1)/2], near[len(near)/2]
			if mirrored {
				low, high = high, low
			}
			for _, u := range []int{low, high} {
				if pos[u] > last && !conflicts[[2]int{u, v}] && !conflicts[[2]int{v, u}] {
					first[v] = first[u]
					last = pos[u]
					break
				}
			}
		}
	}
	return first
}

// pack moves the blocks as far left as the distances allow, and then as far right as possible
// without moving others, so that none is left alone.
func pack(layers [][]int, first []int, apart func(left, right int) float64) []float64 {
	type arc struct {
		to     int
		length float64
	}
	out, in := make([][]arc, len(first)), make([][]arc, len(first))
	for _, layer := range layers {
		for i := range len(layer) - 1 {
			a, b := first[layer[i]], first[layer[i+1]]
			d := apart(layer[i], layer[i+1])
			out[a] = append(out[a], arc{b, d})
			in[b] = append(in[b], arc{a, d})
		}
	}

	// Blocks from left to right. They do not cross, so there is such an order.
	var sorted []int
	waits := make([]int, len(first))
	for v := range first {
		waits[v] = len(in[v])
		if first[v] == v && waits[v] == 0 {
			sorted = append(sorted, v)
		}
	}
	x := make([]float64, len(first))
	for i := 0; i < len(sorted); i++ {
		for _, a := range out[sorted[i]] {
			x[a.to] = max(x[a.to], x[sorted[i]]+a.length)
			if waits[a.to]--; waits[a.to] == 0 {
				sorted = append(sorted, a.to)
			}
		}
	}
	for i := len(sorted) - 1; i >= 0; i-- {
		v := sorted[i]
		if len(out[v]) == 0 {
			continue // at the right end, where nothing would stop it
		}
		room := math.Inf(1)
		for _, a := range out[v] {
			room = min(room, x[a.to]-a.length)
		}
		x[v] = max(x[v], room)
	}
	all := make([]float64, len(first))
	for v := range first {
		all[v] = x[first[v]]
	}
	return all
}

// balance superimposes the four ways and returns the mean of the middle two for every vertex.
// Ways come in pairs: to the left, and to the right.
func balance(ways [][]float64) []float64 {
	narrowest := 0
	for i, x := range ways {
		if width(x) < width(ways[narrowest]) {
			narrowest = i
		}
	}
	if len(ways[0]) == 0 {
		return nil
	}
	left, right := slices.Min(ways[narrowest]), slices.Max(ways[narrowest])
	for i, x := range ways {
		shift := left - slices.Min(x)
		if i%2 == 1 {
			shift = right - slices.Max(x)
		}
		for v := range x {
			x[v] += shift
		}
	}
	all := make([]float64, len(ways[0]))
	for v := range all {
		places := []float64{ways[0][v], ways[1][v], ways[2][v], ways[3][v]}
		slices.Sort(places)
		all[v] = (places[1] + places[2]) / 2
	}
	return all
}

func width(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	return slices.Max(x) - slices.Min(x)
}
