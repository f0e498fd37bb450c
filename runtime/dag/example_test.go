package dag_test

import (
	"fmt"
	"log"
	"strings"

	"github.com/flowc-dev/flowc/runtime/dag"
)

func ExampleArrange() {
	parcel := dag.Graph{
		Title: "A parcel",
		Nodes: []dag.Node{{ID: "pick"}, {ID: "pack", Shape: dag.Stack, Note: "for each line"}, {ID: "ship"}},
		Edges: []dag.Edge{{From: "pick", To: "pack"}, {From: "pack", To: "ship"}},
	}
	layout, err := dag.Arrange(parcel, dag.Options{Direction: dag.Right})
	if err != nil {
		log.Fatal(err)
	}
	svg := layout.SVG(dag.SVGOptions{})
	fmt.Println(strings.HasPrefix(svg, "<svg "), strings.Contains(svg, "for each line"))

	parcel.Edges = append(parcel.Edges, dag.Edge{From: "ship", To: "pick"})
	_, err = dag.Arrange(parcel, dag.Options{})
	fmt.Println(err)
	// Output:
	// true true
	// flowc: dag: graph has a cycle through pack, ship, pick
}
