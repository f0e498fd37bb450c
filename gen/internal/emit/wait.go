package emit

import (
	"cmp"
	"strings"

	"github.com/dave/jennifer/jen"

	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// waitNames are the names of the functions for a step that waits.
type waitNames struct {
	signal, signalBy, waiting string
}

func (f *file) nameWait(s *model.Step) {
	name := f.flow.Base + s.Name
	f.waits[s] = waitNames{
		signal:  f.unique("Signal" + name),
		waiting: f.unique("Waiting" + name),
	}
	if s.Key != nil {
		names := f.waits[s]
		names.signalBy = f.unique("Signal" + name + "By")
		f.waits[s] = names
	}
}

// waitFunctions writes the functions that answer steps which wait, and list who waits.
func (f *file) waitFunctions() {
	for _, s := range f.flow.Steps {
		if !s.Wait {
			continue
		}
		f.signal(s)
		if s.Key != nil {
			f.signalBy(s)
		}
		f.waiting(s)
	}
}

// stepName returns the constant with the name of a step.
func (f *file) stepName(s *model.Step) jen.Code { return jen.Id(f.stepNamed[s]) }

// answer returns the parameter and the argument of an answer.
func (f *file) answer(s *model.Step) (params []jen.Code, arg jen.Code) {
	if s.Out == nil {
		return nil, jen.Qual(model.DSL, "None").Values()
	}
	return []jen.Code{jen.Id("answer").Add(f.typ(s.Out))}, jen.Id("answer")
}

// signalOptions returns the last parameter of what sends an answer.
func (f *file) signalOptions() jen.Code {
	return jen.Id("opts").Op("...").Add(f.runtime("SignalOption"))
}

func (f *file) signal(s *model.Step) {
	names := f.waits[s]
	params, arg := f.answer(s)
	what := "sends the answer that the step " + s.Slug + " of a run waits for."
	if s.Out == nil {
		what = "lets the step " + s.Slug + " of a run go on, which waits for it."
	}
	f.waitFunction(waitFunction{
		doc: append(wrap(names.signal+" "+what+" In a transaction, it counts when that commits. The first answer counts: after another "+
			"one, it returns [runtime.Already]. One that comes before the step waits is kept for it. The error is "+
			"[runtime.ErrNotWaiting] if the step or its run has ended, and [runtime.ErrRunNotFound] if there is no such run of this flow."),
			f.waitDoc(s)...),
		name:    names.signal,
		params:  append(append([]jen.Code{jen.Id("runID").String()}, params...), f.signalOptions()),
		results: jen.Params(f.runtime("Signalled"), jen.Error()),
		call:    jen.Id("flow").Dot("Signal").Call(jen.Id("ctx"), jen.Id("db"), jen.Id("runID"), f.stepName(s), arg, jen.Id("opts").Op("...")),
	})
}

func (f *file) signalBy(s *model.Step) {
	names := f.waits[s]
	params, arg := f.answer(s)
	f.waitFunction(waitFunction{
		doc: wrap(names.signalBy + " sends an answer to every run whose step " + s.Slug + " waits with a key, which is its " + s.Key.Text +
			". If none waits with it, the answer is kept for " + model.Span(cmp.Or(s.Keep, spec.DefaultKeep)) +
			", for the next run that does. In a transaction, it counts when that commits."),
		name:    names.signalBy,
		params:  append(append([]jen.Code{jen.Id("key").Add(f.typ(s.Key.Type))}, params...), f.signalOptions()),
		results: jen.Error(),
		call:    jen.Id("flow").Dot("SignalBy").Call(jen.Id("ctx"), jen.Id("db"), f.stepName(s), jen.Id("key"), arg, jen.Id("opts").Op("...")),
	})
}

func (f *file) waiting(s *model.Step) {
	names := f.waits[s]
	shown := ""
	if s.In != nil {
		shown = ", each with what the one who answers is shown, or with an Err if another version of the flow has another type for that"
	}
	f.waitFunction(waitFunction{
		doc:     wrap(names.waiting + " lists the runs, in any version of the flow, whose step " + s.Slug + " waits for an answer, those first that expire first" + shown + "."),
		name:    names.waiting,
		params:  []jen.Code{jen.Id("filter").Add(f.runtime("WaitingFilter"))},
		results: jen.Params(jen.Index().Add(f.runtime("Waiting")).Types(f.none(s.In)), jen.Error()),
		call: f.runtime("ListWaitingFor").Call(jen.Id("ctx"), jen.Id("db"), jen.Id("Slug"), f.stepName(s),
			f.source(s.Source, f.joins[s]), jen.Id("filter")),
	})
}

// A waitFunction is one of the functions that call a method of a wait.
type waitFunction struct {
	doc     []string
	name    string
	params  []jen.Code // after ctx and db
	results jen.Code
	call    jen.Code
}

func (f *file) waitFunction(fn waitFunction) {
	f.comments(fn.doc...)
	f.Func().Id(fn.name).Params(append([]jen.Code{f.ctx(), f.db()}, fn.params...)...).Add(fn.results).Block(jen.Return(fn.call))
	f.Line()
}

// waitDoc returns the second part of the doc comment of a wait: the user's, then what the
// tags mean.
func (f *file) waitDoc(s *model.Step) []string {
	doc := []string{""}
	if s.Doc != "" {
		doc = append(append(doc, strings.Split(s.Doc, "\n")...), "")
	}
	words := "It waits until it is answered."
	if s.Timeout != 0 {
		words = "It waits at most " + model.Span(s.Timeout) + "; then " + outcome(cmp.Or(s.WhenExhausted, spec.ModeFail)) + "."
	}
	return append(doc, wrap(strings.Join(append([]string{words}, unmet(s)...), " "))...)
}
