package emit

import (
	"github.com/dave/jennifer/jen"

	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// handlers writes the interface of a flow's handlers and what serves them.
func (f *file) handlers() {
	var methods, handlers []jen.Code
	for _, s := range f.flow.Steps {
		if s.Wait {
			continue // which nobody handles
		}
		if len(methods) > 0 {
			methods = append(methods, jen.Empty())
		}
		for _, line := range f.stepDoc(s) {
			methods = append(methods, jen.Comment(comment(line)))
		}
		methods = append(methods, jen.Id(s.Name).Add(f.handlerSignature(s)))
		handlers = append(handlers, f.handle(s, jen.Id("h").Dot(s.Name)))
	}
	f.comments(f.handlersDoc()...)
	f.Type().Id("Handlers").Interface(methods...)
	f.Line()

	f.comment("Serve returns the service that runs h, for a worker to serve.")
	f.serve(jen.Id("h").Id("Handlers"), handlers)
	f.serveAs("h", "Handlers")
}

// stepInputs writes the variables that hold the sources of steps which take several
// values.
func (f *file) stepInputs() {
	for _, s := range f.flow.Steps {
		if name := f.joins[s]; name != "" {
			f.comment(name + " is the source of the input of " + s.Slug + ".")
			f.Var().Id(name).Op("=").Add(f.join(s.Source))
			f.Line()
		}
	}
}

// handler writes the function type of a job's handler and what serves it.
func (f *file) handler() {
	s := f.flow.Steps[0]
	f.comments(f.handlerDoc(s)...)
	f.Type().Id("Handler").Func().Add(f.handlerSignature(s))
	f.Line()

	f.comment("Serve returns the service that runs fn, for a worker to serve.")
	f.serve(jen.Id("fn").Id("Handler"), []jen.Code{f.handle(s, jen.Id("fn"))})
	f.serveAs("fn", "Handler")
}

func (f *file) serve(param jen.Code, handlers []jen.Code) {
	f.Func().Id("Serve").Params(param, f.serveOptions()).Add(f.handlerPkg("Service")).Block(
		jen.Return(jen.Id("flow").Dot("Serve").Call(
			jen.Index().Add(f.handlerPkg("Handler")).Add(lines(handlers...)),
			jen.Id("opts").Op("..."),
		)),
	)
	f.Line()
}

func (f *file) serveAs(param, typ string) {
	f.comment("ServeAs is Serve for a " + f.kind() + " of another slug that has the same steps.")
	f.Func().Id("ServeAs").Params(jen.Id("slug").String(), jen.Id(param).Id(typ), f.serveOptions()).
		Add(f.handlerPkg("Service")).
		Block(jen.Return(jen.Id("Serve").Call(jen.Id(param), jen.Id("opts").Op("...")).Dot("As").Call(jen.Id("slug"))))
	f.Line()
}

func (f *file) serveOptions() jen.Code {
	return jen.Id("opts").Op("...").Add(f.handlerPkg("ServeOption"))
}

// handlerSignature returns what a handler takes and gives. What is nothing is left out; a
// transaction comes behind the context.
func (f *file) handlerSignature(s *model.Step) *jen.Statement {
	params := []jen.Code{f.ctx()}
	switch s.Tx {
	case spec.TxPgx:
		params = append(params, jen.Id("tx").Qual(pgxPath, "Tx"))
	case spec.TxSQL:
		params = append(params, jen.Id("tx").Op("*").Qual(sqlPath, "Tx"))
	}
	if s.In != nil {
		name := "in"
		if s.Map {
			name = "item"
		}
		params = append(params, jen.Id(name).Add(f.typ(s.In)))
	}
	if s.Out == nil {
		return jen.Params(params...).Error()
	}
	return jen.Params(params...).Params(f.typ(s.Out), jen.Error())
}

// handle makes a handler.Handler of a function.
func (f *file) handle(s *model.Step, fn jen.Code) jen.Code {
	suffix := ""
	if s.Tx != "" {
		suffix = "Tx"
	}
	switch {
	case s.In == nil && s.Out == nil:
		fn = f.handlerPkg("NoValues" + suffix).Call(fn)
	case s.In == nil:
		fn = f.handlerPkg("NoInput" + suffix).Call(fn)
	case s.Out == nil:
		fn = f.handlerPkg("NoOutput" + suffix).Call(fn)
	}
	return f.handlerPkg("Handle"+suffix).Call(f.slug(s.Slug), f.source(s.Source, f.joins[s]), fn)
}

// guard writes the declaration as it is now, so that a change of it no longer
// compiles until the generator has run.
func (f *file) guard() {
	f.comments(
		"goGenerateIsDue is "+f.flow.Name+" as it was when this file was generated.",
		"If the last line does not compile, it has changed since: run go generate.",
	)
	f.Type().Id("goGenerateIsDue").Op("=").Add(f.structure(f.flow.Declared, true))
	f.Line()
	f.Var().Id("_").Id("goGenerateIsDue").Op("=").Qual(f.flow.Declaring.Path(), f.flow.Name).Values().Line()
}
