package emit

import (
	"go/types"

	"github.com/dave/jennifer/jen"

	"github.com/flowc-dev/flowc/gen/internal/jsonform"
	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// conditionChecks write every condition once more, as assignments to the Go
// types that it is about. The compiler sees if a field is gone, and the runtime
// if it has another name in JSON.
func (f *file) conditionChecks() (checks []jen.Code) {
	if f.flow.Unique != nil {
		checks = append(checks, f.uniqueChecks(f.flow.Unique)...)
	}
	if key := f.flow.Key; key != nil && len(key.Way.Path) > 0 {
		set := jen.Func().Params(jen.Id("v").Op("*").Add(f.typ(key.Way.Type))).Block(f.place(key.Way).Op("=").Add(f.sample(key.Type)))
		checks = append(checks, f.spec("Leads").Call(jen.Lit(""), jen.Lit("Key"), set))
	}
	for _, s := range f.flow.Steps {
		if s.If != nil {
			checks = append(checks, f.conditionCheck("If", s, s.If))
		}
		if s.IfNot != nil {
			checks = append(checks, f.conditionCheck("IfNot", s, s.IfNot))
		}
		checks = append(checks, f.pathChecks(s)...)
	}
	return checks
}

func (f *file) conditionCheck(function string, s *model.Step, c *model.Condition) jen.Code {
	var body []jen.Code
	for _, t := range c.Terms {
		body = append(body, f.assign(t))
	}
	meet := jen.Func().Params(jen.Id("v").Op("*").Add(f.subject(c))).Block(body...)
	return f.spec(function).Call(f.slug(s.Slug), meet)
}

// pathChecks write every path of a step that looks into a value once more, as an
// assignment to what it leads to.
func (f *file) pathChecks(s *model.Step) (checks []jen.Code) {
	for _, option := range []struct {
		name string
		path *model.Path
	}{{"StartAt", s.StartAt}, {"StartDelayFrom", s.StartDelayFrom}, {"Key", s.Key}} {
		if option.path == nil || len(option.path.Way.Path) == 0 {
			continue
		}
		way := option.path.Way
		set := jen.Func().Params(jen.Id("v").Op("*").Add(f.subject(&model.Condition{Terms: []model.Term{way}}))).
			Block(f.place(way).Op("=").Add(f.sample(option.path.Type)))
		checks = append(checks, f.spec("Leads").Call(f.slug(s.Slug), jen.Lit(option.name), set))
	}
	return checks
}

// uniqueChecks write the paths to what makes two runs alike once more.
func (f *file) uniqueChecks(u *model.Unique) (checks []jen.Code) {
	for i, p := range u.By {
		if len(p.Way.Path) == 0 {
			continue
		}
		var sample jen.Code
		switch basic, _ := p.Type.Underlying().(*types.Basic); {
		case jsonform.Marshaler(p.Type, true) != "": // any of its values may have no text but the zero value
			if p.Omitted {
				continue
			}
			sample = jen.Op("*").New(f.typ(p.Type))
		case basic.Info()&types.IsBoolean != 0:
			sample = jen.True()
		default:
			sample = f.sample(p.Type)
		}
		set := jen.Func().Params(jen.Id("v").Op("*").Add(f.typ(p.Way.Type))).Block(f.place(p.Way).Op("=").Add(sample))
		checks = append(checks, f.spec("UniqueBy").Call(jen.Lit(i), set))
	}
	return checks
}

// sample writes a value of a type that a path can lead to.
func (f *file) sample(t types.Type) jen.Code {
	if elem, pointer := jsonform.Pointee(t); pointer {
		t = elem
	}
	switch basic, _ := t.Underlying().(*types.Basic); {
	case basic == nil:
		return jen.Qual("time", "Unix").Call(jen.Lit(1), jen.Lit(0))
	case basic.Info()&types.IsString != 0:
		return jen.Lit("x")
	}
	return jen.Lit(1)
}

// subject returns the type of what a condition looks at: the run's input, or a
// struct with the outputs of steps.
func (f *file) subject(c *model.Condition) *jen.Statement {
	var fields []model.Field
	seen := map[string]bool{}
	for _, t := range c.Terms {
		if t.Key == spec.RunKey {
			return f.typ(t.Type)
		}
		if !seen[t.Key] {
			seen[t.Key] = true
			fields = append(fields, model.Field{Name: t.Start, Type: t.Type, Key: t.Key})
		}
	}
	return f.wire(fields)
}

// assign writes a term as an assignment.
func (f *file) assign(t model.Term) *jen.Statement {
	return f.place(t).Op("=").Op(t.Value)
}

// place writes what a term is about, and follows pointers on the way.
func (f *file) place(t model.Term) *jen.Statement {
	place := jen.Id("v")
	if t.Key != spec.RunKey {
		place.Dot(t.Start)
	}
	for i, hop := range t.Path {
		place.Dot(hop.Name)
		if hop.Pointer {
			place = f.spec("At").Call(jen.Op("&").Add(place))
			if i == len(t.Path)-1 {
				place = jen.Op("*").Add(place)
			}
		}
	}
	return place
}
