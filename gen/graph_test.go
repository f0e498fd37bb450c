package gen

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/dag"
)

// TestGraphs checks what is drawn of a flow that has one of everything.
func TestGraphs(t *testing.T) {
	t.Parallel()
	graphs, err := Graphs(context.Background(), Options{Dir: "..", Patterns: []string{"./testdata/golden/shop"}})
	require.NoError(t, err)
	require.Len(t, graphs, 2)
	order := graphs[0]
	require.Equal(t, "ProcessOrder", order.Flow)
	require.Equal(t, "process_order", order.Slug)
	require.Equal(t, dag.Graph{
		Title: "ProcessOrder",
		Nodes: []dag.Node{
			{ID: "run", Label: "Order", Shape: dag.Pill},
			{ID: "validate", Label: "Validate"},
			{ID: "lines", Label: "Lines"},
			{ID: "charge", Label: "Charge"},
			{ID: "pack", Label: "Pack", Note: "for each Line", Shape: dag.Stack},
			{ID: "ship", Label: "Ship"},
			{ID: "notify", Label: "Notify", Note: "if Validate.NotifyByMail"},
			{ID: outputNode, Label: "Shipment", Shape: dag.Pill},
		},
		Edges: []dag.Edge{
			{From: "run", To: "validate"},
			{From: "validate", To: "lines"},
			{From: "validate", To: "charge"},
			{From: "lines", To: "pack"},
			{From: "run", To: "ship"}, {From: "charge", To: "ship"}, {From: "pack", To: "ship"},
			{From: "validate", To: "notify"}, {From: "ship", To: "notify"},
			{From: "ship", To: outputNode},
		},
	}, order.Drawing)
	require.NoError(t, order.Drawing.Validate())
}

// TestGraphsShowWaits checks that steps that wait look different, and say for how long.
func TestGraphsShowWaits(t *testing.T) {
	t.Parallel()
	graphs, err := Graphs(context.Background(), Options{Dir: "..", Patterns: []string{"./testdata/golden/waits"}})
	require.NoError(t, err)
	require.Equal(t, []dag.Node{
		{ID: "approve", Label: "Approve", Note: "waits at most 72h", Shape: dag.Hexagon},
		{ID: "escalate", Label: "Escalate", Note: "waits at most 48h\nif not Approve.Approved == true", Shape: dag.Hexagon},
		{ID: "paid", Label: "Paid", Note: "waits for an answer", Shape: dag.Hexagon},
	}, graphs[0].Drawing.Nodes[2:5])
}

// TestGraphsShowOrder checks that an edge without data is a soft one.
func TestGraphsShowOrder(t *testing.T) {
	t.Parallel()
	dir := newModule(t, map[string]string{"flows/flows.go": `package flows

import "github.com/flowc-dev/flowc/dsl"

type Line struct {
	dsl.Flow[int, dsl.None]

	First  dsl.Step[int, dsl.None]
	Second dsl.Step[int, dsl.None] ` + "`after:\"First\"`" + `
}
`})
	graphs, err := Graphs(context.Background(), Options{Dir: dir, Patterns: []string{"./flows"}})
	require.NoError(t, err)
	require.Equal(t, []dag.Edge{
		{From: "run", To: "first"}, {From: "run", To: "second"}, {From: "first", To: "second", Soft: true},
	}, graphs[0].Drawing.Edges)
}

func TestTerms(t *testing.T) {
	t.Parallel()
	for condition, want := range map[string][]string{
		"if Input.A && Input.B": {"if Input.A && Input.B"},
		"if Input.Plan == 'professional' && Input.Country == 'DE'":        {"if Input.Plan == 'professional'", "&& Input.Country == 'DE'"},
		"if Input.Text == 'this && that' && Input.Other == 'it''s && so'": {"if Input.Text == 'this && that'", "&& Input.Other == 'it''s && so'"},
		"if Input.AnExtremelyLongNameOfAField.AndAnotherOne":              {"if Input.AnExtremelyLongNameOfAField.AndAnotherOne"},
	} {
		t.Run(condition, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, want, terms(condition))
		})
	}
}
