package check

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"reflect"
	"slices"
	"strings"

	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/gen/internal/tags"
	"github.com/flowc-dev/flowc/gen/nearest"
)

// A join is a struct that takes what several producers give, a field for each.
type join struct {
	*checker
	d         *declaration
	want      want
	fields    *types.Struct
	producers []*producer
}

// isMeant reports whether a struct is meant as a join: some field of it is
// tagged, named or typed after a producer. If it is unclear what producers give,
// one of them might give the struct itself, and it takes all fields to be sure.
func (j *join) isMeant(unclear bool) bool {
	meant := 0
	for i := range j.fields.NumFields() {
		if j.isSource(j.fields.Field(i), j.fields.Tag(i)) {
			meant++
		}
	}
	return meant > 0 && (!unclear || meant == j.fields.NumFields())
}

// isSource reports whether a field is tagged, named or typed after a producer.
func (j *join) isSource(f *types.Var, tag string) bool {
	_, tagged := reflect.StructTag(tag).Lookup("from")
	return tagged ||
		slices.ContainsFunc(j.d.steps, func(s *step) bool { return s != j.want.self && s.name.Name == f.Name() }) ||
		slices.ContainsFunc(j.producers, func(p *producer) bool {
			return p.name == f.Name() || p.typ != nil && hasName(f.Type()) && types.Identical(p.given(j.want.result), f.Type())
		})
}

// hasName reports whether a type has a name of its own, so that a field of that
// type can only mean one thing: Receipt, *Receipt, []Receipt, not string.
func hasName(t types.Type) bool {
	switch u := types.Unalias(t).(type) {
	case *types.Pointer:
		t = u.Elem()
	case *types.Slice:
		t = u.Elem()
	}
	named, ok := types.Unalias(t).(*types.Named)
	return ok && named.Obj().Pkg() != nil
}

// bind finds the producer of each field.
func (j *join) bind() (source model.Source, needs []*producer, ok bool) {
	source = model.Source{Kind: model.Join, Type: j.want.typ}
	taken := map[*producer]*types.Var{}
	ok = true
	for i := range j.fields.NumFields() {
		f := j.fields.Field(i)
		p, bound := j.field(f, j.fields.Tag(i))
		if p != nil {
			needs = append(needs, p)
			first := taken[p]
			switch {
			case first == nil:
			case j.d.partial: // a step that is refused may be what one of them is from
				bound = false
			default:
				j.diags.Add(diag.DuplicateField, f.Pos(), endOf(f), "%s takes what %s gives, and so does %s", j.nameOf(f), p.name, first.Name()).
					NoteAt(first.Pos(), "%s is here", first.Name()).
					Fix("remove one of them")
				bound = false
			}
			taken[p] = f
		}
		if !bound || !j.isNameable(f) {
			ok = false
			continue
		}
		source.Fields = append(source.Fields, model.Field{Name: f.Name(), Embedded: f.Embedded(), Type: f.Type(), Key: p.key})
	}
	return source, needs, ok
}

// nameOf returns what a message calls a field: ShipInput.Charge.
func (j *join) nameOf(f *types.Var) string {
	if _, ok := types.Unalias(j.want.typ).(*types.Named); !ok {
		return "the field " + f.Name()
	}
	return j.name(j.want.typ) + "." + f.Name()
}

// endOf returns where the name of a field ends.
func endOf(f *types.Var) token.Pos { return f.Pos() + token.Pos(len(f.Name())) }

// field finds the producer of a field: the one that its tag names, or else the one whose
// name it has, or else the one whose type it has. It returns the producer that is meant
// even if it does not fit.
func (j *join) field(f *types.Var, tag string) (meant *producer, ok bool) {
	if !f.Exported() {
		j.diags.Add(diag.UnexportedField, f.Pos(), endOf(f), "%s is not exported, so nothing can set it", j.nameOf(f)).
			Fix("%s", exported(f.Name(), func(name string) bool {
				return slices.ContainsFunc(slices.Collect(j.fields.Fields()), func(f *types.Var) bool { return f.Name() == name })
			}))
		return nil, false
	}
	if from, tagged := reflect.StructTag(tag).Lookup("from"); tagged {
		p := j.producer(j.d, j.nameOf(f), j.want.self, j.fromTag(f, from))
		return p, p != nil && j.fits(f, p)
	}
	if i := slices.IndexFunc(j.producers, func(p *producer) bool { return p.name == f.Name() }); i >= 0 {
		return j.producers[i], j.fits(f, j.producers[i])
	}
	if i := slices.IndexFunc(j.d.steps, func(s *step) bool { return s.name.Name == f.Name() }); i >= 0 {
		j.givesNothing(f, j.d.steps[i])
		return nil, false
	}
	return j.fieldByType(f)
}

// fromTag returns the name in the tag from of a field, and where it stands.
func (j *join) fromTag(f *types.Var, from string) tags.Word {
	if field := j.fieldAt(f.Pos()); field != nil {
		pairs, _ := tags.Parse(field.Tag)
		for _, p := range pairs {
			if p.Key == "from" {
				return p.Word()
			}
		}
	}
	return tags.Word{Text: from, Pos: f.Pos(), End: endOf(f)} // of a struct in another package
}

// givesNothing reports a field that has the name of a step which cannot be its producer.
func (j *join) givesNothing(f *types.Var, s *step) {
	switch {
	case s == j.want.self:
		j.diags.Add(diag.SelfReference, f.Pos(), endOf(f), "%s: %s cannot take what it gives itself", j.nameOf(f), s.who).
			Fix("remove the field, or name it after another step")
	case !s.broken:
		j.diags.Add(diag.GivesNothing, f.Pos(), endOf(f), "%s: %s gives nothing", j.nameOf(f), s.name.Name).
			Fix(`remove the field; tag the step after:"%s" if it has to wait`, s.name.Name)
	}
}

// fieldByType finds the producer of a field by the field's type.
func (j *join) fieldByType(f *types.Var) (meant *producer, ok bool) {
	var exact, almost []*producer
	if hasName(f.Type()) {
		exact, almost = candidates(j.producers, f.Type(), j.want.result)
	}
	switch {
	case len(exact) == 1:
		return exact[0], true
	case len(exact) > 1 && j.d.unclear(exact, j.want.result):
	case len(exact) > 1:
		j.ambiguous(f.Pos(), endOf(f), fmt.Sprintf("%s: %s comes from", j.nameOf(f), j.name(f.Type())), exact,
			"name it after one of them, or tag it", "from")
	case len(almost) == 1:
		return almost[0], j.fits(f, almost[0])
	case !j.d.unclear(j.producers, j.want.result) && j.valid(f.Type()):
		j.unknownField(f)
	}
	return nil, false
}

// unknownField reports a field that neither its name nor its type binds.
func (j *join) unknownField(f *types.Var) {
	b := j.diags.Add(diag.NoProducer, f.Pos(), endOf(f), "%s: there is no step %s, and nothing gives %s", j.nameOf(f), f.Name(), j.name(f.Type()))
	known := names(j.producers)
	near := nearest.Name(f.Name(), known)
	if near == "" {
		b.Fix(`name it after what gives it, or tag it from:"…": %s`, strings.Join(known, ", "))
		return
	}
	p := j.producers[slices.Index(known, near)]
	if !types.Identical(p.given(j.want.result), f.Type()) {
		b.Fix("did you mean %s? %s", near, j.gives(p, j.want.result))
		return
	}
	b.Fix("did you mean %s?", near).Edit(f.Pos(), endOf(f), near)
}

// fits reports whether a producer gives the type of a field, and says so if not.
func (j *join) fits(f *types.Var, p *producer) bool {
	if p.unclear(j.want.result) || !j.valid(f.Type()) {
		return false
	}
	if types.Identical(p.given(j.want.result), f.Type()) {
		return true
	}
	pos, end := f.Pos(), endOf(f)
	if field := j.fieldAt(f.Pos()); field != nil && len(field.Names) == 1 {
		pos, end = where(field.Type)
	}
	j.mismatch(pos, end, fmt.Sprintf("%s is %s", j.nameOf(f), j.name(f.Type())), f.Type(), p, j.want.result, fitsField)
	return false
}

// isNameable checks that the generated package can name the type of a field, since it
// reads into a struct like that of the user.
func (j *join) isNameable(f *types.Var) bool {
	pos, end := where(j.want.expr)
	if field := j.fieldAt(f.Pos()); field != nil {
		pos, end = where(field.Type)
	}
	return j.checkNameableAt(j.nameOf(f), f.Type(), pos, end)
}

// fieldAt returns the field whose name stands at a position, if that is in the package.
func (c *checker) fieldAt(pos token.Pos) *ast.Field {
	if c.fields == nil {
		c.fields = map[token.Pos]*ast.Field{}
		for _, file := range c.pkg.Files {
			ast.Inspect(file, func(n ast.Node) bool {
				if f, ok := n.(*ast.Field); ok {
					for _, name := range f.Names {
						c.fields[name.Pos()] = f
					}
					if len(f.Names) == 0 {
						c.fields[f.Type.Pos()] = f
					}
				}
				return true
			})
		}
	}
	return c.fields[pos]
}
