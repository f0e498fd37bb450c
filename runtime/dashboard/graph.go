package dashboard

import (
	"fmt"
	"html/template"
	"strings"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/dag"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A wide screen has this much room for a graph.
const roomWide, roomHigh = 1160, 560

// A drawing is a graph for wide and for narrow screens; the style sheet shows one of them.
type drawing struct {
	Wide, Tall template.HTML
	// WideClass and TallClass say whether the picture shrinks to fit or keeps its size
	// and scrolls.
	WideClass, TallClass string
	Shrunk               bool // whether the wide one is
}

// mostDrawn is how many steps and edges are drawn: more than anybody can follow with the
// eye, at some hundred bytes each.
const mostDrawn = 2000

// draw draws a graph. On a wide screen it takes the direction in which it can be larger.
// A graph that is too large is not drawn.
func draw(g dag.Graph) (*drawing, error) {
	if tooLarge(g) {
		return &drawing{}, nil
	}
	down, err := dag.Arrange(g, dag.Options{Direction: dag.Down})
	if err != nil {
		return nil, err
	}
	right, err := dag.Arrange(g, dag.Options{Direction: dag.Right})
	if err != nil {
		return nil, err
	}
	wide := right
	if fit(down) > fit(right) {
		wide = down
	}
	d := &drawing{WideClass: "fits", TallClass: "fits", Shrunk: wide.Width > roomWide*1.05}
	if wide.Width > roomWide*1.5 {
		d.WideClass = "scrolls"
	}
	if down.Width > 520 {
		d.TallClass = "scrolls"
	}
	d.Wide = template.HTML(wide.SVG(dag.SVGOptions{})) // dag escapes texts
	d.Tall = template.HTML(down.SVG(dag.SVGOptions{}))
	return d, nil
}

func tooLarge(g dag.Graph) bool { return len(g.Nodes)+len(g.Edges) > mostDrawn }

// fit returns the size at which a picture is drawn, at most its own.
func fit(l *dag.Layout) float64 { return min(1, roomWide/l.Width, roomHigh/l.Height) }

// A miniature has this much room.
const stampWide, stampHigh = 228, 96

// miniature draws a flow in the size of a stamp, in the direction in which it can be
// larger.
func miniature(def spec.Flow) template.HTML {
	g := flowGraph(def, func(step spec.Step) dag.Node { return dag.Node{} })
	if tooLarge(g) {
		return ""
	}
	var best *dag.Layout
	scale := 0.0
	for _, d := range []dag.Direction{dag.Right, dag.Down} {
		l, err := dag.Arrange(g, dag.Options{Direction: d, Dots: true})
		if err != nil {
			return "" // the database has no flow with a cycle
		}
		if s := min(1.5, stampWide/l.Width, stampHigh/l.Height); s > scale {
			best, scale = l, s
		}
	}
	return template.HTML(best.SVG(dag.SVGOptions{Scale: scale}))
}

// flowGraph draws the graph of a flow; look returns how a step looks.
func flowGraph(def spec.Flow, look func(spec.Step) dag.Node) dag.Graph {
	g := dag.Graph{Title: "The steps of " + def.Slug}
	for _, step := range def.Steps {
		n := look(step)
		n.ID = step.Slug
		if step.Type == spec.TypeMap {
			n.Shape = dag.Stack
		}
		if step.Type == spec.TypeWait {
			n.Shape = dag.Hexagon
		}
		g.Nodes = append(g.Nodes, n)
		for _, dep := range step.Deps {
			g.Edges = append(g.Edges, dag.Edge{From: dep, To: step.Slug})
		}
	}
	return g
}

// definitionGraph draws the definition of a flow.
func definitionGraph(def spec.Flow) (*drawing, error) {
	return draw(flowGraph(def, func(step spec.Step) dag.Node {
		var notes []string
		if step.Type == spec.TypeMap {
			notes = append(notes, "for each")
		}
		if step.Type == spec.TypeWait {
			note := "waits for an answer"
			if step.Timeout > 0 {
				note = "waits at most " + took(step.Timeout)
			}
			notes = append(notes, note)
		} else if turns := step.Limits().At(step.Gate, step.Key.String()); turns != "" {
			notes = append(notes, turns)
		}
		if step.StartDelay > 0 {
			notes = append(notes, "after "+took(step.StartDelay))
		}
		if step.If != nil || step.IfNot != nil {
			notes = append(notes, "conditional")
		}
		return dag.Node{Note: strings.Join(notes, ", "), Link: "#step-" + step.Slug}
	}))
}

// runGraph draws a run.
func runGraph(def spec.Flow, run *runtime.RunInfo) (*drawing, error) {
	looks := stepLooks(run)
	return draw(flowGraph(def, func(step spec.Step) dag.Node {
		look := looks[step.Slug]
		if look.Class == "" {
			look = stepLook{"created", " "}
		}
		// Space for a note is reserved from the start, so that nothing moves later.
		return dag.Node{Class: look.Class, Note: look.Note, Title: step.Slug + ": " + look.Note, Link: "#step-" + step.Slug}
	}))
}

// A stepLook is how a step looks in the graph: its class and its note.
type stepLook struct {
	Class string `json:"class"`
	Note  string `json:"note"`
}

// stepLooks returns how the steps of a run look now. The result changes only when they
// do, not as time goes by.
func stepLooks(run *runtime.RunInfo) map[string]stepLook {
	looks := make(map[string]stepLook, len(run.States))
	for _, s := range run.States {
		looks[s.Step] = lookOf(run, s)
	}
	return looks
}

func lookOf(run *runtime.RunInfo, s runtime.StepState) stepLook {
	total, left := number(s.InitialTasks), number(s.RemainingTasks)
	isMap := s.Type == spec.TypeMap
	switch s.Status {
	case runtime.StepCompleted:
		note := took(s.CompletedAt.Sub(s.StartedAt))
		if isMap {
			note = fmt.Sprintf("%s × in %s", count(total), note)
		}
		if s.Type == spec.TypeWait {
			note = "answered after " + note
		}
		return stepLook{"completed", note}
	case runtime.StepFailed:
		note := "failed"
		if s.Attempts > 1 && !isMap {
			note = fmt.Sprintf("failed %d times", s.Attempts)
		}
		return stepLook{"failed", note}
	case runtime.StepSkipped:
		return stepLook{"skipped", skipWords(s.SkipReason)}
	case runtime.StepStarted:
		if run.Status.Ended() {
			return stepLook{"stopped", "stopped"}
		}
		if s.Type == spec.TypeWait {
			return stepLook{"waiting", "waits for an answer"}
		}
		if isMap {
			return stepLook{"started", fmt.Sprintf("%s of %s", count(total-left), count(total))}
		}
		switch {
		case s.Attempts == 0:
			return stepLook{"started", "queued"}
		case s.Attempts > 1:
			return stepLook{"started", fmt.Sprintf("attempt %d", s.Attempts)}
		}
		return stepLook{"started", "running"}
	}
	switch {
	case run.Status.Ended():
		return stepLook{"created", "not reached"}
	case run.Status == runtime.RunScheduled:
		return stepLook{"created", "scheduled"}
	case s.RemainingDeps > 1:
		return stepLook{"created", fmt.Sprintf("waits for %d", s.RemainingDeps)}
	}
	return stepLook{"created", "waits"}
}

func number(p *int) int {
	if p == nil {
		return 0
	}
	return *p
}

// skipWords explains why a step was skipped.
func skipWords(reason string) string {
	switch reason {
	case "condition_unmet":
		return "condition not met"
	case "handler_failed":
		return "gave up"
	case "dependency_skipped":
		return "skipped with another"
	case "":
		return "skipped"
	}
	return shorten(reason, 60)
}
