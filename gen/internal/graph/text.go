package graph

import (
	"fmt"
	"strings"
)

// Mermaid is the graph as a flowchart of Mermaid.
func (g *Graph) Mermaid() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%%%% %s\nflowchart TD\n", g.Title)
	for i, n := range g.Nodes {
		open, shut := "[", "]"
		switch n.Kind {
		case Map:
			open, shut = "[[", "]]"
		case Terminal:
			open, shut = "([", "])"
		}
		label := []string{mermaidText(n.Name)}
		for _, note := range n.Notes {
			label = append(label, "<small>"+mermaidText(note)+"</small>")
		}
		fmt.Fprintf(&b, "  n%d%s\"%s\"%s\n", i, open, strings.Join(label, "<br>"), shut)
	}
	for _, e := range g.Edges {
		arrow := "-->"
		if e.Order {
			arrow = "-.->"
		}
		fmt.Fprintf(&b, "  n%d %s n%d\n", e.From, arrow, e.To)
	}
	return b.String()
}

// mermaidText is a text in a label: what has a meaning there as an entity.
func mermaidText(s string) string {
	return strings.NewReplacer(
		"#", "#35;", `"`, "#quot;", "&", "#amp;", "<", "#lt;", ">", "#gt;", "`", "#96;", `\`, "#92;",
	).Replace(s)
}

// DOT is the graph in the language of Graphviz.
func (g *Graph) DOT() string {
	var b strings.Builder
	fmt.Fprintf(&b, "digraph %s {\n", dotText(g.Title))
	b.WriteString("  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n")
	for i, n := range g.Nodes {
		attributes := ""
		switch n.Kind {
		case Map:
			attributes = ", peripheries=2"
		case Terminal:
			attributes = ", shape=ellipse, style=solid"
		}
		fmt.Fprintf(&b, "  n%d [label=%s%s];\n", i, dotText(strings.Join(append([]string{n.Name}, n.Notes...), "\n")), attributes)
	}
	for _, e := range g.Edges {
		attributes := ""
		if e.Order {
			attributes = " [style=dashed]"
		}
		fmt.Fprintf(&b, "  n%d -> n%d%s;\n", e.From, e.To, attributes)
	}
	b.WriteString("}\n")
	return b.String()
}

// dotText is a quoted text of DOT. A backslash stands for itself only if doubled.
func dotText(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}
