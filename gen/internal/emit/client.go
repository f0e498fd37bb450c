package emit

import (
	"strings"

	"github.com/dave/jennifer/jen"

	"github.com/flowc-dev/flowc/gen/internal/model"
)

// A function is one of the functions that call a method of flow.
type function struct {
	doc     string
	name    string
	params  []jen.Code // after ctx and db
	results []jen.Code
	method  string
	args    []jen.Code // after ctx and db
	only    bool       // the method has a result before the error that the function leaves out
}

func (f *file) function(fn function) {
	f.comment(fn.doc)
	call := jen.Id("flow").Dot(fn.method).Call(append([]jen.Code{jen.Id("ctx"), jen.Id("db")}, fn.args...)...)
	body := []jen.Code{jen.Return(call)}
	if fn.only {
		body = []jen.Code{jen.List(jen.Id("_"), jen.Err()).Op(":=").Add(call), jen.Return(jen.Err())}
	}
	results := jen.Params(fn.results...)
	if len(fn.results) == 1 {
		results = jen.Add(fn.results[0])
	}
	f.Func().Id(fn.name).Params(append([]jen.Code{f.ctx(), f.db()}, fn.params...)...).Add(results).Block(body...)
	f.Line()
}

// run returns the type of a started run.
func (f *file) run() *jen.Statement {
	return jen.Op("*").Add(f.runtime("Run")).Types(f.none(f.flow.Out))
}

// startOptions returns the last parameter and argument of what starts runs.
func (f *file) startOptions() (param, arg jen.Code) {
	return jen.Id("opts").Op("...").Add(f.runtime("StartOption")), jen.Id("opts").Op("...")
}

// input returns the parameter and the argument of the input of a run.
func (f *file) input() (params, args []jen.Code) {
	if f.flow.In == nil {
		return nil, []jen.Code{jen.Qual(model.DSL, "None").Values()}
	}
	return []jen.Code{jen.Id("in").Add(f.typ(f.flow.In))}, []jen.Code{jen.Id("in")}
}

// inputs returns the parameter and the argument of the inputs of many runs.
func (f *file) inputs() (param, arg jen.Code) {
	if f.flow.In == nil {
		return jen.Id("n").Int(), jen.Make(jen.Index().Add(jen.Qual(model.DSL, "None")), jen.Id("n"))
	}
	return jen.Id("ins").Index().Add(f.typ(f.flow.In)), jen.Id("ins")
}

// start writes the functions that start a flow.
func (f *file) start() {
	name := f.flow.Base
	opts, spread := f.startOptions()
	params, args := f.input()
	f.function(function{
		doc:     "Start" + name + " starts a run. In a transaction, it starts when the transaction commits." + f.alike(),
		name:    "Start" + name,
		params:  append(params, opts),
		results: []jen.Code{f.run(), jen.Error()},
		method:  "Start",
		args:    append(args, spread),
	})
	results := []jen.Code{jen.Error()}
	what := "starts a run and waits for it to end."
	if f.flow.Out != nil {
		results = []jen.Code{f.typ(f.flow.Out), jen.Error()}
		what = "starts a run, waits for it to end and returns its output."
	}
	f.function(function{
		doc:     "Start" + name + "Sync " + what,
		name:    "Start" + name + "Sync",
		params:  append(params, opts),
		results: results,
		method:  "StartSync",
		args:    append(args, spread),
		only:    f.flow.Out == nil,
	})
	f.startMany("StartMany"+name, "starts")
}

// alike says in the doc comment of a start which runs are alike, if it matters.
func (f *file) alike() string {
	if f.flow.Unique == nil {
		return ""
	}
	return " " + strings.Join(uniqueWords(f.flow.Unique), " ")
}

// startMany writes the function that starts many runs.
func (f *file) startMany(name, verb string) {
	opts, spread := f.startOptions()
	param, arg := f.inputs()
	each := "a run for each input"
	if f.flow.In == nil {
		each = "n runs"
	}
	f.function(function{
		doc:     name + " " + verb + " " + each + " in one round trip: in order, all or none.",
		name:    name,
		params:  []jen.Code{param, opts},
		results: []jen.Code{jen.Index().Add(f.run()), jen.Error()},
		method:  "StartMany",
		args:    []jen.Code{arg, spread},
	})
}

// enqueue writes the functions that start a job.
func (f *file) enqueue() {
	name := f.flow.Base
	opts, spread := f.startOptions()
	params, args := f.input()
	results := []jen.Code{f.run(), jen.Error()}
	f.function(function{
		doc:     "Enqueue" + name + " enqueues a run. In a transaction, it is enqueued when the transaction commits." + f.alike(),
		name:    "Enqueue" + name,
		params:  append(params, opts),
		results: results,
		method:  "Start",
		args:    append(args, spread),
	})
	f.function(function{
		doc:     "Enqueue" + name + "In enqueues a run that starts after a delay.",
		name:    "Enqueue" + name + "In",
		params:  append(params, jen.Id("delay").Qual("time", "Duration"), opts),
		results: results,
		method:  "StartIn",
		args:    append(args, jen.Id("delay"), spread),
	})
	f.function(function{
		doc:     "Enqueue" + name + "At enqueues a run that starts at a time.",
		name:    "Enqueue" + name + "At",
		params:  append(params, jen.Id("at").Qual("time", "Time"), opts),
		results: results,
		method:  "StartAt",
		args:    append(args, jen.Id("at"), spread),
	})
	f.startMany("EnqueueMany"+name, "enqueues")
}

// manage writes the functions that look up runs and keep the definition.
func (f *file) manage() {
	name := f.flow.Base
	f.function(function{
		doc:     "Get" + name + " returns a run that was started earlier, by any version of the " + f.kind() + ". The run of another flow is [runtime.ErrRunNotFound].",
		name:    "Get" + name,
		params:  []jen.Code{jen.Id("id").String()},
		results: []jen.Code{f.run(), jen.Error()},
		method:  "Get",
		args:    []jen.Code{jen.Id("id")},
	})
	f.function(function{
		doc:     "Upsert" + name + " puts the definition into the database. If another shape of the " + f.kind() + " is there, it returns a [runtime.MismatchError] and changes nothing; with [runtime.AllowDataLoss] it replaces that shape and deletes its runs.",
		name:    "Upsert" + name,
		params:  []jen.Code{jen.Id("opts").Op("...").Add(f.runtime("UpsertOption"))},
		results: []jen.Code{f.runtime("UpsertResult"), jen.Error()},
		method:  "Upsert",
		args:    []jen.Code{jen.Id("opts").Op("...")},
	})
	f.function(function{
		doc:     "Delete" + name + " deletes the " + f.kind() + " and all its runs from the database. If runs have not ended, it returns a [runtime.ActiveRunsError] and deletes nothing, unless [runtime.AllowDataLoss] is given.",
		name:    "Delete" + name,
		params:  []jen.Code{jen.Id("opts").Op("...").Add(f.runtime("DeleteOption"))},
		results: []jen.Code{f.runtime("Deleted"), jen.Error()},
		method:  "Delete",
		args:    []jen.Code{jen.Id("opts").Op("...")},
	})
	f.function(function{
		doc:     name + "Exists reports whether the database has the " + f.kind() + ".",
		name:    name + "Exists",
		results: []jen.Code{jen.Bool(), jen.Error()},
		method:  "Exists",
	})
}

// flowVar writes the variable that the functions above call.
func (f *file) flowVar() {
	output := ""
	if f.flow.Result.Kind == model.Join {
		output = "output"
		f.comment("output is the source of the flow's output.")
		f.Var().Id(output).Op("=").Add(f.join(f.flow.Result))
		f.Line()
	}
	args := jen.Id("Definition").Call().Op(",").Add(f.source(f.flow.Result, output))
	f.Var().Id("flow").Op("=").Add(f.runtime("NewFlow")).Types(f.none(f.flow.In)).Op("(").Add(args).Op(")")
	f.Line()
}

// source writes where a value comes from. A join is in a variable.
func (f *file) source(s model.Source, variable string) *jen.Statement {
	switch s.Kind {
	case model.Input:
		return f.handlerPkg("Input").Types(f.typ(s.Type)).Call()
	case model.Output:
		key := jen.Code(jen.Lit(s.Key))
		if f.flow.Job {
			key = jen.Id("Slug")
		}
		return f.handlerPkg("Output").Types(f.typ(s.Type)).Call(key)
	case model.Item:
		return f.handlerPkg("Item").Types(f.typ(s.Type)).Call()
	case model.Join:
		return jen.Id(variable)
	}
	return f.handlerPkg("Nothing").Call()
}

// join writes the source of a struct.
func (f *file) join(s model.Source) *jen.Statement {
	args := []jen.Code{
		jen.Func().Params(jen.Id("w").Add(f.wire(s.Fields))).Add(f.typ(s.Type)).Block(
			jen.Return(f.joined(s)),
		),
	}
	for _, field := range s.Fields {
		args = append(args, jen.Lit(field.Key))
	}
	return f.handlerPkg("Join").Call(args...)
}
