package emit

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/dave/jennifer/jen"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// definition writes the slug and the spec.Flow.
func (f *file) definition() {
	f.comment("Slug is the name of the " + f.kind() + " in the database.")
	f.Const().Id("Slug").Op("=").Lit(f.flow.Slug)
	f.Line()

	f.stepNames()
	def := Definition(f.flow)
	fields := append([]jen.Code{jen.Id("Slug").Op(":").Id("Slug")}, f.options(def.MaxAttempts, def.BaseDelay, def.Timeout)...)
	if def.Cron != "" {
		fields = append(fields, jen.Id("Cron").Op(":").Lit(def.Cron))
	}
	fields = append(fields, span("Deadline", def.Deadline)...)
	fields = append(fields, f.priority(def.Priority)...)
	if def.Unique != nil {
		fields = append(fields, f.uniqueness(def.Unique))
	}
	if def.Concurrency != 0 {
		fields = append(fields, jen.Id("Concurrency").Op(":").Lit(def.Concurrency))
	}
	if def.Key != nil {
		fields = append(fields, jen.Id("Key").Op(":").Add(f.spec("Path")).Values(quoted(def.Key)...))
	}
	var steps []jen.Code
	for _, s := range def.Steps {
		steps = append(steps, f.step(s))
	}
	fields = append(fields, jen.Id("Result").Op(":").Add(f.composed(def.Result)), f.forms(def.Forms),
		jen.Id("Steps").Op(":").Index().Add(f.spec("Step")).Add(lines(steps...)))
	if checks := f.conditionChecks(); len(checks) > 0 {
		fields = append(fields, jen.Id("Conditions").Op(":").Index().Add(f.spec("Condition")).Add(lines(checks...)))
	}
	f.comment("Definition returns the " + f.kind() + " as the database keeps it.")
	f.Func().Id("Definition").Params().Add(f.spec("Flow")).Block(jen.Return(f.spec("Flow").Add(lines(fields...))))
	f.Line()
}

// uniqueness writes which runs are alike.
func (f *file) uniqueness(u *spec.Unique) jen.Code {
	var paths []jen.Code
	for _, p := range u.By {
		paths = append(paths, jen.Values(quoted(p)...))
	}
	fields := []jen.Code{jen.Id("By").Op(":").Index().Add(f.spec("Path")).Values(paths...)}
	fields = slices.Concat(fields, span("Per", u.Per), span("Debounce", u.Debounce), span("DebounceMax", u.DebounceMax))
	if u.OnDuplicate != "" {
		fields = append(fields, jen.Id("OnDuplicate").Op(":").Add(f.spec(duplicateNames[u.OnDuplicate])))
	}
	return jen.Id("Unique").Op(":").Op("&").Add(f.spec("Unique")).Values(fields...)
}

// stepNames writes a constant for the slug of each step. A job's only step has that
// of the job.
func (f *file) stepNames() {
	if f.flow.Job {
		return
	}
	var names []jen.Code
	for _, s := range f.flow.Steps {
		names = append(names, jen.Id(f.stepNamed[s]).Op("=").Lit(s.Slug))
	}
	f.comment("The names of the steps, for [handler.Limit], [runtime.RetryStep] and others.")
	f.Const().Defs(names...)
	f.Line()
}

// composed writes what a value is made of.
func (f *file) composed(result *spec.Result) jen.Code {
	var fields []jen.Code
	if result.From != "" {
		fields = append(fields, jen.Id("From").Op(":").Lit(result.From))
	}
	var members []jen.Code
	for _, m := range result.Fields {
		values := []jen.Code{jen.Id("From").Op(":").Lit(m.From)}
		if m.Name != "" {
			values = append([]jen.Code{jen.Id("Name").Op(":").Lit(m.Name)}, values...)
		}
		members = append(members, jen.Values(values...))
	}
	literal := jen.Op("&").Add(f.spec("Result"))
	if members == nil {
		return literal.Values(fields...)
	}
	return literal.Add(lines(jen.Id("Fields").Op(":").Index().Add(f.spec("ResultField")).Add(lines(members...))))
}

// forms writes how what travels is written in JSON, so that the next generator sees
// what has changed since.
func (f *file) forms(forms *spec.Forms) jen.Code {
	text := func(m map[string]string) (members []jen.Code) {
		for _, key := range slices.Sorted(maps.Keys(m)) {
			members = append(members, jen.Lit(key).Op(":").Lit(m[key]))
		}
		return members
	}
	var fields []jen.Code
	if forms.Input != "" {
		fields = append(fields, jen.Id("Input").Op(":").Lit(forms.Input))
	}
	if len(forms.Steps) > 0 {
		fields = append(fields, jen.Id("Steps").Op(":").Map(jen.String()).String().Add(lines(text(forms.Steps)...)))
	}
	if len(forms.Types) > 0 {
		var types []jen.Code
		for _, name := range slices.Sorted(maps.Keys(forms.Types)) {
			types = append(types, jen.Lit(name).Op(":").Values(text(forms.Types[name])...))
		}
		fields = append(fields, jen.Id("Types").Op(":").Map(jen.String()).Map(jen.String()).String().Add(lines(types...)))
	}
	return jen.Id("Forms").Op(":").Op("&").Add(f.spec("Forms")).Add(lines(fields...))
}

// step writes a step on one line if it is nothing but a place in the graph, and on a
// line per option otherwise.
func (f *file) step(s spec.Step) jen.Code {
	place := []jen.Code{jen.Id("Slug").Op(":").Add(f.slug(s.Slug))}
	if s.Type != "" {
		place = append(place, jen.Id("Type").Op(":").Add(f.spec(typeNames[s.Type])))
	}
	if len(s.Deps) > 0 {
		place = append(place, jen.Id("Deps").Op(":").Index().String().Values(quoted(s.Deps)...))
	}
	options := f.options(s.MaxAttempts, s.BaseDelay, s.Timeout)
	options = append(options, span("StartDelay", s.StartDelay)...)
	options = append(options, f.path("StartAt", s.StartAt)...)
	options = append(options, f.path("StartDelayFrom", s.StartDelayFrom)...)
	options = append(options, span("MaxWait", s.MaxWait)...)
	options = append(options, f.priority(s.Priority)...)
	if s.Tx != "" {
		options = append(options, jen.Id("Tx").Op(":").Add(f.spec(txNames[s.Tx])))
	}
	if s.If != nil {
		options = append(options, pattern("If", s.If))
	}
	if s.IfNot != nil {
		options = append(options, pattern("IfNot", s.IfNot))
	}
	if s.WhenUnmet != "" {
		options = append(options, jen.Id("WhenUnmet").Op(":").Add(f.spec(modeNames[s.WhenUnmet])))
	}
	if s.WhenExhausted != "" {
		options = append(options, jen.Id("WhenExhausted").Op(":").Add(f.spec(modeNames[s.WhenExhausted])))
	}
	options = append(options, f.path("Key", s.Key)...)
	options = append(options, span("Keep", s.Keep)...)
	if s.Answer != nil {
		options = append(options, pattern("Answer", s.Answer))
	}
	if s.Shown != nil {
		options = append(options, jen.Id("Shown").Op(":").Add(f.composed(s.Shown)))
	}
	options = append(options, f.limits(s)...)
	if len(options) == 0 {
		return jen.Values(place...)
	}
	return lines(append(place, options...)...)
}

// limits writes the limits of a step.
func (f *file) limits(s spec.Step) (fields []jen.Code) {
	if s.Concurrency != 0 {
		fields = append(fields, jen.Id("Concurrency").Op(":").Lit(s.Concurrency))
	}
	if s.Rate != (spec.Rate{}) {
		rate := []jen.Code{jen.Id("Tokens").Op(":").Lit(s.Rate.Tokens), jen.Id("Per").Op(":").Add(duration(s.Rate.Per))}
		if s.Rate.Burst != 0 {
			rate = append(rate, jen.Id("Burst").Op(":").Lit(s.Rate.Burst))
		}
		fields = append(fields, jen.Id("Rate").Op(":").Add(f.spec("Rate")).Values(rate...))
	}
	if s.Gate != "" {
		fields = append(fields, jen.Id("Gate").Op(":").Lit(s.Gate))
	}
	if s.StrictOrder {
		fields = append(fields, jen.Id("StrictOrder").Op(":").True())
	}
	return fields
}

// path writes a path, if there is one.
func (f *file) path(name string, p spec.Path) []jen.Code {
	if p == nil {
		return nil
	}
	return []jen.Code{jen.Id(name).Op(":").Add(f.spec("Path")).Values(quoted(p)...)}
}

// priority writes a priority, if there is one.
func (f *file) priority(p spec.Priority) []jen.Code {
	if p == "" {
		return nil
	}
	return []jen.Code{jen.Id("Priority").Op(":").Add(f.spec(priorityNames[p]))}
}

func (f *file) options(attempts int, delay *time.Duration, timeout time.Duration) (fields []jen.Code) {
	if attempts != 0 {
		fields = append(fields, jen.Id("MaxAttempts").Op(":").Lit(attempts))
	}
	if delay != nil {
		fields = append(fields, jen.Id("BaseDelay").Op(":").Add(f.spec("Set")).Call(duration(*delay)))
	}
	return append(fields, span("Timeout", timeout)...)
}

// The names of constants in package spec.
var (
	typeNames      = map[spec.StepType]string{spec.TypeSingle: "TypeSingle", spec.TypeMap: "TypeMap", spec.TypeWait: "TypeWait"}
	txNames        = map[spec.Tx]string{spec.TxPgx: "TxPgx", spec.TxSQL: "TxSQL"}
	duplicateNames = map[spec.Duplicate]string{
		spec.DuplicateKeep: "DuplicateKeep", spec.DuplicateReplace: "DuplicateReplace", spec.DuplicateError: "DuplicateError",
	}
	modeNames = map[spec.Mode]string{spec.ModeFail: "ModeFail", spec.ModeSkip: "ModeSkip", spec.ModeSkipCascade: "ModeSkipCascade"}

	priorityNames = map[spec.Priority]string{
		spec.PriorityHigh: "PriorityHigh", spec.PriorityNormal: "PriorityNormal", spec.PriorityLow: "PriorityLow",
	}
)

// span writes a span of time, if there is one.
func span(name string, d time.Duration) []jen.Code {
	if d == 0 {
		return nil
	}
	return []jen.Code{jen.Id(name).Op(":").Add(duration(d))}
}

// duration writes a duration in the largest unit that it is a multiple of.
func duration(d time.Duration) jen.Code {
	for _, unit := range []struct {
		name string
		d    time.Duration
	}{{"Hour", time.Hour}, {"Minute", time.Minute}, {"Second", time.Second}} {
		switch {
		case d == unit.d:
			return jen.Qual("time", unit.name)
		case d != 0 && d%unit.d == 0:
			return jen.Lit(int(d/unit.d)).Op("*").Qual("time", unit.name)
		}
	}
	return jen.Qual("time", "Duration").Call(jen.Lit(0))
}

func pattern(name string, json json.RawMessage) jen.Code {
	return jen.Id(name).Op(":").Qual("encoding/json", "RawMessage").Call(jen.Op(tagLiteral(string(json))))
}

// lines returns a literal with a line for each element.
func lines(elements ...jen.Code) *jen.Statement {
	return jen.Custom(jen.Options{Open: "{", Close: "}", Separator: ",", Multi: true}, elements...)
}

// kind returns what the declaration is, in words.
func (f *file) kind() string {
	if f.flow.Job {
		return "job"
	}
	return "flow"
}
