package dag

import (
	"fmt"
	"io"
	"strings"
	"unicode"
)

// smallLetter is the width of a letter of a note.
const smallLetter = 6.2

// textWidth estimates the width of a text. Only the browser knows it, but the layout is made
// before.
func textWidth(s string, letter float64) float64 {
	width := 0.0
	for _, r := range s {
		width += runeWidth(r) * letter
	}
	return width
}

func runeWidth(r rune) float64 {
	switch {
	case unicode.Is(unicode.Mn, r):
		return 0
	case r >= 0x1100 && unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul), r >= 0x1F000:
		return 1.9
	case unicode.IsUpper(r) || strings.ContainsRune("mwMW@%", r):
		return 1.25
	case strings.ContainsRune("iljtfrI.,:;'|!()[]", r):
		return 0.62
	}
	return 1
}

// truncate cuts a text to a width, with an ellipsis.
func truncate(s string, letter, room float64) string {
	if textWidth(s, letter) <= room {
		return s
	}
	width := letter // of the ellipsis
	for i, r := range s {
		if width += runeWidth(r) * letter; width > room {
			return s[:i] + "…"
		}
	}
	return s
}

// WriteMermaid writes the graph as a Mermaid flowchart, which code hosts draw.
// The graph has to be valid.
func (g Graph) WriteMermaid(w io.Writer, direction Direction) error {
	if err := g.Validate(); err != nil {
		return err
	}
	var b strings.Builder
	if g.Title != "" {
		fmt.Fprintf(&b, "%%%% %s\n", strings.Join(strings.Fields(g.Title), " ")) // a comment ends with its line
	}
	b.WriteString(map[Direction]string{Down: "flowchart TD\n", Right: "flowchart LR\n"}[direction])
	name := map[string]string{}
	for i, n := range g.Nodes {
		name[n.ID] = fmt.Sprintf("n%d", i)
		text := mermaidText(n.label())
		for _, note := range n.notes() {
			text += "<br/><small>" + mermaidText(note) + "</small>"
		}
		format := map[Shape]string{Box: "    %s[\"%s\"]\n", Stack: "    %s[[\"%s\"]]\n", Pill: "    %s([\"%s\"])\n", Hexagon: "    %s{{\"%s\"}}\n"}[n.Shape]
		fmt.Fprintf(&b, format, name[n.ID], text)
	}
	for _, e := range g.Edges {
		fmt.Fprintf(&b, "    %s %s %s\n", name[e.From], map[bool]string{false: "-->", true: "-.->"}[e.Soft], name[e.To])
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// mermaidText escapes characters that mean something to Mermaid, or to the HTML that it
// produces, as character references.
func mermaidText(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r == '_' || r == '-' || r == ' ' || unicode.IsLetter(r) || unicode.IsDigit(r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "#%d;", r)
		}
	}
	return b.String()
}

// WriteDOT writes the graph in the language of Graphviz. The graph has to be valid.
func (g Graph) WriteDOT(w io.Writer, direction Direction) error {
	if err := g.Validate(); err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "digraph %s {\n", quoteDOT(g.Title))
	fmt.Fprintf(&b, "    rankdir=%s;\n", map[Direction]string{Down: "TB", Right: "LR"}[direction])
	b.WriteString("    node [shape=box, style=rounded, fontname=\"sans-serif\"];\n")
	for _, n := range g.Nodes {
		text := n.label()
		if n.Note != "" {
			text += "\n" + n.Note
		}
		extra := map[Shape]string{Box: "", Stack: ", peripheries=2", Pill: ", shape=oval", Hexagon: ", shape=hexagon"}[n.Shape]
		fmt.Fprintf(&b, "    %s [label=%s%s];\n", quoteDOT(n.ID), quoteDOT(text), extra)
	}
	for _, e := range g.Edges {
		fmt.Fprintf(&b, "    %s -> %s%s;\n", quoteDOT(e.From), quoteDOT(e.To), map[bool]string{false: "", true: " [style=dashed]"}[e.Soft])
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func quoteDOT(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", "").Replace(s) + `"`
}
