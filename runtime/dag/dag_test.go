package dag

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// order is the graph of the example that processes orders.
var order = Graph{
	Title: "process_order",
	Nodes: []Node{
		{ID: "validate", Note: "single"}, {ID: "lines"}, {ID: "charge"},
		{ID: "pack", Shape: Stack, Note: "each of lines"}, {ID: "ship"}, {ID: "notify", Link: "#step-notify"},
	},
	Edges: []Edge{
		{From: "validate", To: "lines"}, {From: "validate", To: "charge"}, {From: "lines", To: "pack"},
		{From: "charge", To: "ship"}, {From: "pack", To: "ship"}, {From: "ship", To: "notify"},
		{From: "validate", To: "notify", Soft: true}, {From: "charge", To: "notify"},
	},
}

func TestValidate(t *testing.T) {
	t.Parallel()
	require.NoError(t, order.Validate())
	require.NoError(t, Graph{}.Validate())
	bad := Graph{
		Nodes: []Node{{ID: "a"}, {ID: "a"}, {}},
		Edges: []Edge{{From: "a", To: "elsewhere"}},
	}
	err := bad.Validate()
	require.ErrorContains(t, err, `two nodes have the id "a"`)
	require.ErrorContains(t, err, "node 2 has no id")
	require.ErrorContains(t, err, `"elsewhere" has an end that is not a node`)

	ring := Graph{
		Nodes: []Node{{ID: "in"}, {ID: "b"}, {ID: "c"}, {ID: "d"}},
		Edges: []Edge{{From: "in", To: "b"}, {From: "b", To: "c"}, {From: "c", To: "d"}, {From: "d", To: "b"}},
	}
	err = ring.Validate()
	require.True(t, errors.Is(err, ErrCycle))
	require.NotContains(t, err.Error(), "in,", "only what is on the cycle is named")
	self := Graph{Nodes: []Node{{ID: "a"}}, Edges: []Edge{{From: "a", To: "a"}}}
	require.ErrorIs(t, self.Validate(), ErrCycle)
	_, err = Arrange(ring, Options{})
	require.ErrorIs(t, err, ErrCycle)
	require.ErrorIs(t, ring.WriteDOT(io.Discard, Down), ErrCycle)
	require.ErrorIs(t, ring.WriteMermaid(io.Discard, Down), ErrCycle)
}

func TestArrangeLayers(t *testing.T) {
	t.Parallel()
	l, err := Arrange(order, Options{})
	require.NoError(t, err)
	layers := map[string]int{}
	for _, n := range l.Nodes {
		layers[n.ID] = n.Layer
	}
	require.Equal(t, map[string]int{"validate": 0, "lines": 1, "charge": 1, "pack": 2, "ship": 3, "notify": 4}, layers)
}

// TestNoCrossings checks graphs that can be drawn without a crossing.
func TestNoCrossings(t *testing.T) {
	t.Parallel()
	for name, edges := range map[string]string{
		"two chains":       "a>b b>c d>e e>f",
		"tangled by order": "a>d b>c a>e b>f",
		"tree":             "a>b a>c b>d b>e c>f c>g",
		"diamond":          "a>b a>c b>d c>d a>d",
	} {
		topology, err := parse(edges).topology()
		require.NoError(t, err)
		grid := newGrid(topology)
		grid.order()
		require.Zero(t, grid.crossings(), name)
	}
}

// TestStraight checks that a chain, and an edge past others, are straight lines.
func TestStraight(t *testing.T) {
	t.Parallel()
	l, err := Arrange(parse("a>b b>c c>d"), Options{})
	require.NoError(t, err)
	for _, n := range l.Nodes {
		require.Equal(t, l.Nodes[0].X, n.X)
	}
	l, err = Arrange(parse("a>b b>c c>d d>e a>e"), Options{})
	require.NoError(t, err)
	long := l.Edges[4].Points
	require.Len(t, long, 8)
	for _, p := range long[2:6] {
		require.Equal(t, long[1].X, p.X)
	}
}

// TestEveryPicture lays random graphs out and looks for what no picture may have.
func TestEveryPicture(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := random(t)
		opts := Options{Direction: rapid.SampledFrom([]Direction{Down, Right}).Draw(t, "direction"), Dots: rapid.Bool().Draw(t, "dots"), Plain: rapid.Bool().Draw(t, "plain")}
		l, err := Arrange(g, opts)
		require.NoError(t, err)
		require.Len(t, l.Nodes, len(g.Nodes))
		byID := map[string]Placed{}
		for i, n := range l.Nodes {
			byID[n.ID] = n
			require.True(t, n.X >= 0 && n.Y >= 0 && n.X+n.Width <= l.Width && n.Y+n.Height <= l.Height, "%s is inside", n.ID)
			for _, o := range l.Nodes[:i] {
				require.False(t, overlap(n, o), "%s and %s overlap", n.ID, o.ID)
			}
		}
		for _, e := range l.Edges {
			from, to := byID[e.From], byID[e.To]
			require.Less(t, from.Layer, to.Layer)
			first, last := e.Points[0], e.Points[len(e.Points)-1]
			if opts.Direction == Right {
				require.Equal(t, Point{from.X + from.Width, from.Y + from.Height/2}, first)
				require.Equal(t, Point{to.X, to.Y + to.Height/2}, last)
			} else {
				require.Equal(t, Point{from.X + from.Width/2, from.Y + from.Height}, first)
				require.Equal(t, Point{to.X + to.Width/2, to.Y}, last)
			}
			// Curves stay between layers; only the straight parts pass nodes.
			for i := 1; i < len(e.Points)-2; i += 2 {
				for _, n := range l.Nodes {
					require.False(t, passes(e.Points[i], e.Points[i+1], n), "%s to %s runs through %s", e.From, e.To, n.ID)
				}
			}
		}
		again, err := Arrange(g, opts)
		require.NoError(t, err)
		require.Equal(t, l.SVG(SVGOptions{}), again.SVG(SVGOptions{}), "a graph has one picture")
		wellFormed(t, l.SVG(SVGOptions{Style: true}))
	})
}

func TestOrderGainsOnTheFirstOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		topology, err := random(t).topology()
		require.NoError(t, err)
		grid := newGrid(topology)
		grid.start()
		before := grid.crossings()
		require.Equal(t, slowCrossings(grid), before)
		grid.order()
		require.LessOrEqual(t, grid.crossings(), before)
	})
}

func TestSVG(t *testing.T) {
	t.Parallel()
	hostile := Graph{
		Title: `<script>alert(1)</script>`,
		Nodes: []Node{
			{ID: `"><script>`, Label: "</text><script>alert(2)</script>", Class: `x" onload="y`, Link: `/a?b="c"&d`, Note: "\x00 & <b>"},
			{ID: "ünïcödé 漢字", Label: strings.Repeat("long ", 40), Shape: Pill},
		},
		Edges: []Edge{{From: `"><script>`, To: "ünïcödé 漢字", Soft: true}},
	}
	l, err := Arrange(hostile, Options{})
	require.NoError(t, err)
	svg := l.SVG(SVGOptions{})
	wellFormed(t, svg)
	require.NotContains(t, svg, "<script")
	require.NotContains(t, svg, `" onload`)
	require.NotContains(t, svg, "style", "a page without inline styles can show it")
	require.Contains(t, svg, strings.Repeat("long ", 40), "what is cut is still in the title")
	require.Contains(t, svg, "…</text>")
	require.Contains(t, svg, "soft")

	l, err = Arrange(order, Options{Direction: Right})
	require.NoError(t, err)
	half := l.SVG(SVGOptions{Scale: 0.5})
	require.Contains(t, half, fmt.Sprintf(`width="%s" height="%s" viewBox="0 0 %s %s"`, length(l.Width/2), length(l.Height/2), length(l.Width), length(l.Height)))
	require.NotContains(t, half, `class="heading"`)
	headed := l.SVG(SVGOptions{Heading: true})
	wellFormed(t, headed)
	require.Contains(t, headed, fmt.Sprintf(`viewBox="0 -%d %s %s"`, heading, length(l.Width), length(l.Height+heading)))
	require.Contains(t, headed, `class="heading" x="14" y="-3">`+order.Title+"</text>")
	svg = l.SVG(SVGOptions{Style: true, Class: "wide"})
	require.Contains(t, svg, `class="dag wide dag-alone"`)
	require.Contains(t, svg, `<a class="node" data-node="notify" href="#step-notify">`)
	require.Contains(t, svg, `data-from="ship" data-to="notify"`)
	require.NotContains(t, svg, `<path class="card"`)
	require.Contains(t, svg, "prefers-color-scheme")
	require.Greater(t, l.Width, l.Height)
}

// TestPlain checks a picture without states: no marks, every line of a note, and
// boxes that are as wide as what they say.
func TestPlain(t *testing.T) {
	t.Parallel()
	g := Graph{
		Nodes: []Node{{ID: "a", Note: "for each Line\nif Input.Country is one of those that we send to"}, {ID: "a_rather_long_name"}, {ID: "c"}},
		Edges: []Edge{{From: "a", To: "c"}},
	}
	l, err := Arrange(g, Options{Plain: true})
	require.NoError(t, err)
	svg := l.SVG(SVGOptions{})
	wellFormed(t, svg)
	require.Contains(t, svg, `class="dag dag-plain"`)
	require.NotContains(t, svg, `class="mark"`)
	require.Contains(t, svg, ">for each Line</text>")
	require.Contains(t, svg, ">if Input.Country is one of those that we send to</text>")
	require.Greater(t, l.Nodes[0].Width, l.Nodes[1].Width)
	require.Equal(t, l.Nodes[0].Height, l.Nodes[1].Height, "boxes of one layer end where the layer ends")
	require.Less(t, l.Nodes[2].Height, l.Nodes[0].Height)

	marked, err := Arrange(g, Options{})
	require.NoError(t, err)
	require.Contains(t, marked.SVG(SVGOptions{}), `class="mark"`)
	require.Contains(t, marked.SVG(SVGOptions{}), "…</text>", "a box with a state is no wider than a card")
}

func TestText(t *testing.T) {
	t.Parallel()
	g := Graph{
		Title: `a "flow"`,
		Nodes: []Node{{ID: "one"}, {ID: "two", Shape: Stack, Note: "each of one\nif one is A/B"}, {ID: `th"ree`, Label: "<b>\\", Shape: Pill}, {ID: "four", Shape: Hexagon}},
		Edges: []Edge{{From: "one", To: "two"}, {From: "two", To: `th"ree`, Soft: true}},
	}
	var b strings.Builder
	require.NoError(t, g.WriteMermaid(&b, Down))
	require.Equal(t, `%% a "flow"
flowchart TD
    n0["one"]
    n1[["two<br/><small>each of one</small><br/><small>if one is A#47;B</small>"]]
    n2(["#60;b#62;#92;"])
    n3{{"four"}}
    n0 --> n1
    n1 -.-> n2
`, b.String())
	b.Reset()
	require.NoError(t, g.WriteDOT(&b, Right))
	require.Equal(t, `digraph "a \"flow\"" {
    rankdir=LR;
    node [shape=box, style=rounded, fontname="sans-serif"];
    "one" [label="one"];
    "two" [label="two\neach of one\nif one is A/B", peripheries=2];
    "th\"ree" [label="<b>\\", shape=oval];
    "four" [label="four", shape=hexagon];
    "one" -> "two";
    "two" -> "th\"ree" [style=dashed];
}
`, b.String())
}

func TestTruncate(t *testing.T) {
	t.Parallel()
	require.Equal(t, "short", truncate("short", letter, 100))
	cut := truncate("a_name_that_is_far_too_long", letter, 100)
	require.True(t, strings.HasSuffix(cut, "…"))
	require.LessOrEqual(t, textWidth(cut, letter), 100.0)
	require.Greater(t, textWidth(cut, letter), 80.0)
	require.LessOrEqual(t, textWidth(truncate("漢字漢字漢字漢字漢字", letter, 100), letter), 100.0)
}

func BenchmarkArrange(b *testing.B) {
	for _, n := range []int{8, 50, 300} {
		g := ladder(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				if _, err := Arrange(g, Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// ladder returns a graph of n nodes whose edges skip up to three layers.
func ladder(n int) Graph {
	g := Graph{Title: "ladder"}
	for i := range n {
		g.Nodes = append(g.Nodes, Node{ID: fmt.Sprintf("step_%d", i)})
		for _, back := range []int{1 + (i*7)%5, 3 + (i*5)%7} {
			if i-back >= 0 {
				g.Edges = append(g.Edges, Edge{From: fmt.Sprintf("step_%d", i-back), To: fmt.Sprintf("step_%d", i)})
			}
		}
	}
	return g
}

// parse builds a graph from edges such as "a>b".
func parse(edges string) Graph {
	var g Graph
	seen := map[string]bool{}
	for _, e := range strings.Fields(edges) {
		from, to, _ := strings.Cut(e, ">")
		for _, id := range []string{from, to} {
			if !seen[id] {
				seen[id] = true
				g.Nodes = append(g.Nodes, Node{ID: id})
			}
		}
		g.Edges = append(g.Edges, Edge{From: from, To: to})
	}
	return g
}

func random(t *rapid.T) Graph {
	n := rapid.IntRange(1, 40).Draw(t, "nodes")
	// The order of the nodes has nothing to do with that of the edges.
	names := rapid.Permutation(seq(n)).Draw(t, "names")
	g := Graph{Title: "random"}
	for _, name := range seq(n) {
		g.Nodes = append(g.Nodes, Node{ID: name, Shape: Shape(rapid.IntRange(0, 3).Draw(t, "shape")), Note: strings.Repeat("a note\n", rapid.IntRange(0, 2).Draw(t, "notes"))})
	}
	for to := 1; to < n; to++ {
		for range rapid.IntRange(0, 3).Draw(t, "degree") {
			from := rapid.IntRange(0, to-1).Draw(t, "from")
			g.Edges = append(g.Edges, Edge{From: names[from], To: names[to]})
		}
	}
	return g
}

func seq(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("n%d", i)
	}
	return names
}

func overlap(a, b Placed) bool {
	return a.X < b.X+b.Width && b.X < a.X+a.Width && a.Y < b.Y+b.Height && b.Y < a.Y+a.Height
}

// passes reports whether a line along an axis touches a node.
func passes(a, b Point, n Placed) bool {
	return max(a.X, b.X) >= n.X && min(a.X, b.X) <= n.X+n.Width && max(a.Y, b.Y) >= n.Y && min(a.Y, b.Y) <= n.Y+n.Height
}

func slowCrossings(g *grid) int {
	pos := g.positions()
	total := 0
	for _, layer := range g.layers {
		for i, v := range layer {
			for _, w := range layer[i+1:] {
				total += between(g.down, pos, v, w)
			}
		}
	}
	return total
}

func wellFormed(t require.TestingT, svg string) {
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		_, err := d.Token()
		if err == io.EOF {
			return
		}
		require.NoError(t, err)
	}
}

func TestLength(t *testing.T) {
	t.Parallel()
	for f, want := range map[float64]string{1: "1", 1.26: "1.3", -0.01: "0", math.Pi: "3.1", 100.04: "100"} {
		require.Equal(t, want, length(f))
	}
}

// TestHexagon checks that what waits for somebody has pointed sides, within its place.
func TestHexagon(t *testing.T) {
	t.Parallel()
	l, err := Arrange(Graph{Nodes: []Node{{ID: "approve", Shape: Hexagon, Note: "waits at most 72h"}, {ID: "ship"}}, Edges: []Edge{{From: "approve", To: "ship"}}}, Options{Plain: true})
	require.NoError(t, err)
	svg := l.SVG(SVGOptions{})
	wellFormed(t, svg)
	n := l.Nodes[0]
	require.Equal(t, 1, strings.Count(svg, `<path class="card"`))
	require.Contains(t, svg, "d=\"M"+at(Point{n.X, n.Y + n.Height/2})+" L")
	require.Contains(t, svg, " L"+at(Point{n.X + n.Width, n.Y + n.Height/2})+" L")
}
