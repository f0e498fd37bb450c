package dag

// A grid is a graph in layers, in which every edge leads from one layer to the
// next: where one skips layers, it goes through a bend in each of them. Vertices
// below len(nodes) are nodes, the others are bends.
type grid struct {
	nodes  int
	layer  []int   // of each vertex
	layers [][]int // the vertices of each layer, in order
	up     [][]int // the neighbours of each vertex in the previous layer
	down   [][]int // and in the next layer
	chains map[[2]int][]int
}

// isBend reports whether a vertex is a bend of an edge.
func (g *grid) isBend(v int) bool { return v >= g.nodes }

// newGrid assigns the nodes to layers and adds the bends to the edges.
func newGrid(t *topology) *grid {
	g := &grid{nodes: len(t.out), layer: layers(t), chains: map[[2]int][]int{}}
	g.up, g.down = make([][]int, g.nodes), make([][]int, g.nodes)
	for v, l := range g.layer {
		g.put(v, l)
	}
	for v := range g.nodes {
		for _, w := range t.out[v] {
			g.connect(v, w)
		}
	}
	return g
}

// layers assigns each node to the layer after its last predecessor: a node is below
// everything it waits for, beside what may run at the same time.
func layers(t *topology) []int {
	layer := make([]int, len(t.out))
	for _, v := range t.sorted {
		for _, w := range t.out[v] {
			layer[w] = max(layer[w], layer[v]+1)
		}
	}
	return layer
}

func (g *grid) put(v, layer int) {
	for len(g.layers) <= layer {
		g.layers = append(g.layers, nil)
	}
	g.layers[layer] = append(g.layers[layer], v)
}

// connect joins two nodes, with a bend in every layer between them.
func (g *grid) connect(from, to int) {
	chain := []int{from}
	for l := g.layer[from] + 1; l < g.layer[to]; l++ {
		bend := len(g.layer)
		g.layer = append(g.layer, l)
		g.up, g.down = append(g.up, nil), append(g.down, nil)
		g.put(bend, l)
		chain = append(chain, bend)
	}
	chain = append(chain, to)
	for i, v := range chain[:len(chain)-1] {
		w := chain[i+1]
		g.down[v] = append(g.down[v], w)
		g.up[w] = append(g.up[w], v)
	}
	g.chains[[2]int{from, to}] = chain
}
