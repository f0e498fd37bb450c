package graph

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

const (
	margin     = 12
	padding    = 14
	nameSize   = 14 // of the letters of a name
	noteSize   = 11
	lineHeight = 1.35
	letter     = 0.58 // how wide a letter is, for its size
)

// SVG is the graph as a drawing, in the colours of the page that shows it.
func (g *Graph) SVG() string {
	l := place(g, size)
	var b strings.Builder
	width, height := l.width+2*margin, l.height+2*margin
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%s" height="%s" viewBox="%d %d %s %s" role="img" font-family="system-ui, sans-serif" fill="none" stroke="currentColor">`+"\n",
		coordinate(width), coordinate(height), -margin, -margin, coordinate(width), coordinate(height))
	fmt.Fprintf(&b, "<title>%s</title>\n", xmlText(g.Title))
	b.WriteString("<style>\n" +
		"svg { color: #1f2328; background: #fff }\n" +
		"text { fill: currentColor; stroke: none; text-anchor: middle }\n" +
		".note { opacity: .7 }\n" +
		".edge { opacity: .55 }\n" +
		".order { stroke-dasharray: 4 4 }\n" +
		"@media (prefers-color-scheme: dark) { svg { color: #e6edf3; background: #0d1117 } }\n" +
		"</style>\n" +
		`<marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="currentColor" stroke="none"/></marker>` + "\n")
	for i, e := range g.Edges {
		class := "edge"
		if e.Order {
			class += " order"
		}
		fmt.Fprintf(&b, `<path class="%s" d="%s" marker-end="url(#arrow)"/>`+"\n", class, curve(l.paths[i]))
	}
	for i, n := range g.Nodes {
		draw(&b, n, l.nodes[i])
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// size is what a node needs.
func size(n Node) (width, height float64) {
	width = letters(n.Name, nameSize)
	for _, note := range n.Notes {
		width = max(width, letters(note, noteSize))
	}
	height = nameSize*lineHeight + float64(len(n.Notes))*noteSize*lineHeight + padding
	return math.Ceil(width + 2*padding), math.Ceil(height)
}

func letters(s string, size float64) float64 {
	return float64(utf8.RuneCountInString(s)) * size * letter
}

func draw(b *strings.Builder, n Node, at *box) {
	rect := func(grow, radius float64) {
		fmt.Fprintf(b, `<rect x="%s" y="%s" width="%s" height="%s" rx="%s"/>`+"\n",
			coordinate(at.x-at.width/2-grow), coordinate(at.y-grow),
			coordinate(at.width+2*grow), coordinate(at.height+2*grow), coordinate(radius))
	}
	switch n.Kind {
	case Terminal:
		rect(0, at.height/2)
	case Map:
		rect(0, 6)
		rect(-3, 4)
	default:
		rect(0, 6)
	}
	y := at.y + padding/2 + nameSize
	line := func(class, text string, size float64) {
		fmt.Fprintf(b, `<text%s x="%s" y="%s" font-size="%s">%s</text>`+"\n", class, coordinate(at.x), coordinate(y), coordinate(size), xmlText(text))
	}
	line("", n.Name, nameSize)
	for _, note := range n.Notes {
		y += noteSize * lineHeight
		line(` class="note"`, note, noteSize)
	}
}

// curve goes from the lower side of the first box to the upper side of the last,
// and straight through every layer between.
func curve(path []*box) string {
	var b strings.Builder
	x, y := path[0].x, path[0].y+path[0].height
	fmt.Fprintf(&b, "M%s %s", coordinate(x), coordinate(y))
	for _, to := range path[1:] {
		half := (to.y - y) / 2
		fmt.Fprintf(&b, "C%s %s %s %s %s %s", coordinate(x), coordinate(y+half),
			coordinate(to.x), coordinate(to.y-half), coordinate(to.x), coordinate(to.y))
		x, y = to.x, to.y
		if to.node < 0 {
			y += to.height
			fmt.Fprintf(&b, "V%s", coordinate(y))
		}
	}
	return b.String()
}

// coordinate is a number with one decimal at most.
func coordinate(v float64) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0")
}

func xmlText(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}
