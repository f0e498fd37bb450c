package graph

import (
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// shop is a flow with one of everything.
var shop = &Graph{
	Title: "Shop",
	Nodes: []Node{
		{Kind: Terminal, Name: "Order"},
		{Name: "Validate"},
		{Kind: Map, Name: "Pack", Notes: []string{"for each Line"}},
		{Name: "Notify", Notes: []string{`if Pack.To == '<"a" & #b>'`}},
		{Kind: Terminal, Name: "*Shipment"},
	},
	Edges: []Edge{{From: 0, To: 1}, {From: 1, To: 2}, {From: 2, To: 3}, {From: 1, To: 3, Order: true}, {From: 1, To: 4}},
}

func TestMermaid(t *testing.T) {
	t.Parallel()
	require.Equal(t, `%% Shop
flowchart TD
  n0(["Order"])
  n1["Validate"]
  n2[["Pack<br><small>for each Line</small>"]]
  n3["Notify<br><small>if Pack.To == '#lt;#quot;a#quot; #amp; #35;b#gt;'</small>"]
  n4(["*Shipment"])
  n0 --> n1
  n1 --> n2
  n2 --> n3
  n1 -.-> n3
  n1 --> n4
`, shop.Mermaid())
}

func TestDOT(t *testing.T) {
	t.Parallel()
	require.Equal(t, `digraph "Shop" {
  node [shape=box, style=rounded, fontname="sans-serif"];
  n0 [label="Order", shape=ellipse, style=solid];
  n1 [label="Validate"];
  n2 [label="Pack\nfor each Line", peripheries=2];
  n3 [label="Notify\nif Pack.To == '<\"a\" & #b>'"];
  n4 [label="*Shipment", shape=ellipse, style=solid];
  n0 -> n1;
  n1 -> n2;
  n2 -> n3;
  n1 -> n3 [style=dashed];
  n1 -> n4;
}
`, shop.DOT())
}

// TestSVG reads the drawing as XML and counts what is in it.
func TestSVG(t *testing.T) {
	t.Parallel()
	drawing := shop.SVG()
	require.Equal(t, drawing, shop.SVG())
	count := map[string]int{}
	var texts []string
	d := xml.NewDecoder(strings.NewReader(drawing))
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		switch token := token.(type) {
		case xml.StartElement:
			count[token.Name.Local]++
		case xml.CharData:
			if text := strings.TrimSpace(string(token)); text != "" && !strings.Contains(text, "{") {
				texts = append(texts, text)
			}
		}
	}
	require.Equal(t, map[string]int{"svg": 1, "title": 1, "style": 1, "marker": 1, "path": 6, "rect": 6, "text": 7}, count)
	require.Equal(t, []string{"Shop", "Order", "Validate", "Pack", "for each Line", "Notify", `if Pack.To == '<"a" & #b>'`, "*Shipment"}, texts)
	require.NotContains(t, drawing, "NaN")
}

// randomGraph is a graph without cycles.
func randomGraph(t *rapid.T) *Graph {
	g := &Graph{}
	n := rapid.IntRange(1, 25).Draw(t, "nodes")
	for i := range n {
		node := Node{Name: rapid.StringN(1, 20, -1).Draw(t, "name")}
		if rapid.Bool().Draw(t, "note") {
			node.Notes = []string{"a note that is wide"}
		}
		if i == n-1 && rapid.Bool().Draw(t, "output") {
			node.Kind = Terminal
		}
		g.Nodes = append(g.Nodes, node)
		for from := range i {
			if rapid.IntRange(0, 3).Draw(t, "edge") == 0 {
				g.Edges = append(g.Edges, Edge{From: from, To: i})
			}
		}
	}
	return g
}

// TestLayout checks what every layout has to hold.
func TestLayout(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := randomGraph(t)
		l := place(g, size)
		layers := map[int][]*box{}
		add := func(b *box) {
			if !slices.Contains(layers[b.layer], b) {
				layers[b.layer] = append(layers[b.layer], b)
			}
		}
		for _, b := range l.nodes {
			add(b)
			require.True(t, b.x-b.width/2 >= -0.01 && b.x+b.width/2 <= l.width+0.01, "inside the drawing")
			require.True(t, b.y >= 0 && b.y+b.height <= l.height+0.01, "inside the drawing")
		}
		for i, e := range g.Edges {
			path := l.paths[i]
			require.Equal(t, e.From, path[0].node)
			require.Equal(t, e.To, path[len(path)-1].node)
			for k, b := range path {
				add(b)
				require.Equal(t, path[0].layer+k, b.layer, "an edge goes down, layer by layer")
			}
		}
		for layer, boxes := range layers {
			slices.SortFunc(boxes, func(a, b *box) int { return int(a.x*100 - b.x*100) })
			for i := 1; i < len(boxes); i++ {
				apart := (boxes[i].x - boxes[i].width/2) - (boxes[i-1].x + boxes[i-1].width/2)
				require.GreaterOrEqual(t, apart, float64(gapX)-0.01, "boxes of layer %d overlap", layer)
			}
		}
		require.NoError(t, xml.Unmarshal([]byte(printableSVG(g)), new(struct{ XMLName xml.Name })))
	})
}

// printableSVG is the drawing of a graph whose names are those of Go.
func printableSVG(g *Graph) string {
	named := &Graph{Edges: g.Edges}
	for i, n := range g.Nodes {
		n.Name = fmt.Sprintf("Step<%d>", i)
		named.Nodes = append(named.Nodes, n)
	}
	return named.SVG()
}
