package dag

import (
	_ "embed"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

//go:embed dag.css
var css string

// CSS returns the style sheet of the pictures. Its colours are custom properties, each with
// a default, so that a page can give the pictures colours of its own.
func CSS() string { return css }

// SVGOptions configures how a layout is written.
type SVGOptions struct {
	// Style includes [CSS] in the file, for a picture on its own. A page whose content
	// security policy allows no inline style links it instead.
	Style bool
	// Heading writes the title of the graph above it.
	Heading bool
	// Class is added to the CSS class of the picture.
	Class string
	// Scale makes the picture larger or smaller. Defaults to 1.
	Scale float64
}

// WriteSVG writes the picture. The elements of a node have the class "node" and
// the attribute data-node, those of an edge "edge", data-from and data-to; both
// have the class of the node, or of the one that the edge leaves.
func (l *Layout) WriteSVG(w io.Writer, opts SVGOptions) error {
	p := &pen{}
	scale := opts.Scale
	if scale == 0 {
		scale = 1
	}
	class := strings.TrimSpace("dag " + opts.Class)
	if l.options.Dots {
		class += " dag-dots"
	}
	if l.options.Plain {
		class += " dag-plain"
	}
	if opts.Style {
		class += " dag-alone"
	}
	wide, high, top := l.Width, l.Height, 0.0
	if opts.Heading {
		top = -heading
		wide, high = max(wide, textWidth(l.graph.Title, headLetter)+2*padding), high+heading
	}
	p.printf(`<svg xmlns="http://www.w3.org/2000/svg" class="%s" width="%s" height="%s" viewBox="0 %s %s %s" role="img" aria-label="%s">`,
		escape(class), length(wide*scale), length(high*scale), length(top), length(wide), length(high), escape(l.graph.Title))
	if opts.Style {
		p.printf("<style>%s</style>", css)
	}
	if opts.Heading {
		p.printf(`<text class="heading" x="%s" y="%s">%s</text>`, length(padding), length(padding-heading/2), escape(l.graph.Title))
	}
	classes := map[string]string{}
	for _, n := range l.Nodes {
		classes[n.ID] = n.Class
	}
	p.printf(`<g class="edges">`)
	for _, e := range l.Edges {
		l.edge(p, e, classes[e.From])
	}
	p.printf("</g>")
	for _, n := range l.Nodes {
		if l.options.Dots {
			dot(p, n)
		} else {
			l.box(p, n)
		}
	}
	p.printf("</svg>")
	_, err := io.WriteString(w, p.String())
	return err
}

// SVG returns the picture as WriteSVG writes it.
func (l *Layout) SVG(opts SVGOptions) string {
	var b strings.Builder
	_ = l.WriteSVG(&b, opts) // a Builder never fails
	return b.String()
}

// heading is the height of a heading, headLetter the width of its letters.
const heading, headLetter = 34, 9

type pen struct{ strings.Builder }

func (p *pen) printf(format string, args ...any) { fmt.Fprintf(p, format, args...) }

// tip is how long the head of an arrow is.
const tip = 7

func (l *Layout) edge(p *pen, e Routed, class string) {
	class = strings.TrimSpace("edge " + class)
	if e.Soft {
		class += " soft"
	}
	last := len(e.Points) - 1
	end := e.Points[last]
	points := append([]Point(nil), e.Points...)
	if !l.options.Dots { // the line ends where the head begins
		if l.options.Direction == Right {
			points[last].X -= tip - 1
		} else {
			points[last].Y -= tip - 1
		}
	}
	p.printf(`<g class="%s" data-from="%s" data-to="%s"><path class="line" d="%s"/>`,
		escape(class), escape(e.From), escape(e.To), curve(points, l.options.Direction))
	if !l.options.Dots {
		a, b := Point{end.X - 4, end.Y - tip}, Point{end.X + 4, end.Y - tip}
		if l.options.Direction == Right {
			a, b = Point{end.X - tip, end.Y - 4}, Point{end.X - tip, end.Y + 4}
		}
		p.printf(`<path class="head" d="M%s L%s L%s Z"/>`, at(a), at(end), at(b))
	}
	p.printf("</g>")
}

// curve draws a line through points. Between two layers it leaves and arrives along the
// direction of the picture; within one it is straight.
func curve(points []Point, d Direction) string {
	var b strings.Builder
	b.WriteString("M" + at(points[0]))
	for i := 1; i < len(points); i++ {
		from, to := points[i-1], points[i]
		straight := i%2 == 0
		if d == Right {
			straight = straight || math.Abs(from.Y-to.Y) < 0.5
		} else {
			straight = straight || math.Abs(from.X-to.X) < 0.5
		}
		if straight {
			b.WriteString(" L" + at(to))
			continue
		}
		a, z := Point{from.X, (from.Y + to.Y) / 2}, Point{to.X, (from.Y + to.Y) / 2}
		if d == Right {
			a, z = Point{(from.X + to.X) / 2, from.Y}, Point{(from.X + to.X) / 2, to.Y}
		}
		b.WriteString(" C" + at(a) + " " + at(z) + " " + at(to))
	}
	return b.String()
}

func dot(p *pen, n Placed) {
	p.printf(`<g class="%s" data-node="%s"><title>%s</title>`, escape(strings.TrimSpace("node "+n.Class)), escape(n.ID), escape(n.title()))
	if n.Shape == Stack {
		p.printf(`<rect class="card" x="%s" y="%s" width="%s" height="%s" rx="2.5"/>`, length(n.X), length(n.Y), length(n.Width), length(n.Height))
	} else {
		p.printf(`<circle class="card" cx="%s" cy="%s" r="%s"/>`, length(n.X+n.Width/2), length(n.Y+n.Height/2), length(n.Width/2))
	}
	p.printf("</g>")
}

func (l *Layout) box(p *pen, n Placed) {
	element := "g"
	if n.Link != "" {
		element = "a"
	}
	p.printf(`<%s class="%s" data-node="%s"`, element, escape(strings.TrimSpace("node "+n.Class)), escape(n.ID))
	if n.Link != "" {
		p.printf(` href="%s"`, escape(n.Link))
	}
	p.printf("><title>%s</title>", escape(n.title()))
	radius := 9.0
	if n.Shape == Pill {
		radius = min(n.Height/2, pillRadius)
	}
	rect := func(class string, dx, dy float64) {
		p.printf(`<rect class="%s" x="%s" y="%s" width="%s" height="%s" rx="%s"/>`,
			class, length(n.X+dx), length(n.Y+dy), length(n.Width-2*dx), length(n.Height), length(radius))
	}
	if n.Shape == Stack {
		rect("card under", 8, 5)
		rect("card under", 4, 2.5)
	}
	if n.Shape == Hexagon {
		n.hexagon(p)
	} else {
		rect("card", 0, 0)
	}
	if l.options.Plain {
		n.text(p, n.X+n.Width/2, n.Width-2*padding)
	} else {
		mark(p, n.X+20, n.Y+n.Height/2)
		n.text(p, n.X+padding+markRoom, n.Width-2*padding-markRoom)
	}
	p.printf("</%s>", element)
}

// point is how far the sides of a hexagon are drawn out.
const point = 11

// hexagon draws a box whose left and right sides are pointed.
func (n Placed) hexagon(p *pen) {
	left, right, middle := n.X, n.X+n.Width, n.Y+n.Height/2
	p.printf(`<path class="card" stroke-linejoin="round" d="M%s L%s L%s L%s L%s L%s Z"/>`,
		at(Point{left, middle}), at(Point{left + point, n.Y}), at(Point{right - point, n.Y}),
		at(Point{right, middle}), at(Point{right - point, n.Y + n.Height}), at(Point{left + point, n.Y + n.Height}))
}

// pillRadius is the most that a pill is rounded, so that one beside a high box does not look
// like an egg.
const pillRadius = 22

// mark draws the mark of a state, which shows it by shape as well as by colour. All shapes
// are drawn, and the style sheet shows one.
func mark(p *pen, x, y float64) {
	p.printf(`<g class="mark" transform="translate(%s %s)"><circle class="disc" r="8"/>`+
		`<circle class="hub" r="2.5"/><path class="turn" d="M0 -8 A8 8 0 0 1 8 0"/><path class="done" d="M-3.6 0.3 L-1.1 2.8 L3.8 -2.6"/>`+
		`<path class="wrong" d="M-2.8 -2.8 L2.8 2.8 M2.8 -2.8 L-2.8 2.8"/><path class="past" d="M-3.4 0 L3.4 0"/></g>`,
		length(x), length(y))
}

// text writes the label and the notes around the middle of the box.
func (n Placed) text(p *pen, x, room float64) {
	notes := n.notes()
	y := n.Y + n.Height/2 + 4.5 - float64(len(notes))*line/2
	p.printf(`<text class="label" x="%s" y="%s">%s</text>`, length(x), length(y), escape(truncate(n.label(), letter, room)))
	for _, note := range notes {
		y += line
		p.printf(`<text class="note" x="%s" y="%s">%s</text>`, length(x), length(y), escape(truncate(note, smallLetter, room)))
	}
}

func at(p Point) string { return length(p.X) + " " + length(p.Y) }

// length formats a length with at most one decimal.
func length(f float64) string {
	s := strconv.FormatFloat(math.Round(f*10)/10, 'f', -1, 64)
	if s == "-0" {
		return "0"
	}
	return s
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder never fails
	return b.String()
}
