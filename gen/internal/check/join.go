package check

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"reflect"
	"slices"
	"strings"

	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/gen/nearest"
)

// isJoin reports whether a struct is meant as a join: some field of it is
// tagged, named or typed after a producer. If it is unclear what producers give,
// one of them might give the struct itself, and it takes all fields to be sure.
func (c *checker) isJoin(d *declaration, w want, fields *types.Struct, unclear bool) bool {
	producers := d.producers(w.self)
	meant := 0
	for i := range fields.NumFields() {
		if c.isJoinField(d, w, producers, fields.Field(i), fields.Tag(i)) {
			meant++
		}
	}
	return meant > 0 && (!unclear || meant == fields.NumFields())
}

func (c *checker) isJoinField(d *declaration, w want, producers []*producer, f *types.Var, tag string) bool {
	_, tagged := reflect.StructTag(tag).Lookup("from")
	return tagged ||
		slices.ContainsFunc(d.steps, func(s *step) bool { return s != w.self && s.name.Name == f.Name() }) ||
		slices.ContainsFunc(producers, func(p *producer) bool {
			return p.name == f.Name() || p.typ != nil && hasName(f.Type()) && types.Identical(p.given(w.result), f.Type())
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

// join finds the producer of each field of a struct.
func (c *checker) join(d *declaration, w want, fields *types.Struct, producers []*producer) (model.Source, []*producer, bool) {
	source := model.Source{Kind: model.Join, Type: w.typ}
	var needs []*producer
	taken := map[*producer]*types.Var{}
	ok := true
	for i := range fields.NumFields() {
		f := fields.Field(i)
		p, bound := c.joinField(d, w, fields, f, fields.Tag(i), producers)
		if p != nil {
			needs = append(needs, p)
			if first := taken[p]; first != nil {
				c.diags.Add(f.Pos(), endOf(f), "%s takes what %s gives, and so does %s", c.fieldOf(w.typ, f), p.name, first.Name()).
					NoteAt(first.Pos(), "%s is here", first.Name()).
					Fix("remove one of them")
				bound = false
			}
			taken[p] = f
		}
		if bound {
			bound = c.checkNameableField(w, f)
		}
		if !bound {
			ok = false
			continue
		}
		source.Fields = append(source.Fields, model.Field{Name: f.Name(), Embedded: f.Embedded(), Type: f.Type(), Key: p.key})
	}
	return source, needs, ok
}

// fieldOf is how a message calls a field: ShipInput.Charge.
func (c *checker) fieldOf(t types.Type, f *types.Var) string {
	if _, ok := types.Unalias(t).(*types.Named); !ok {
		return "the field " + f.Name()
	}
	return c.name(t) + "." + f.Name()
}

// endOf is where the name of a field ends.
func endOf(f *types.Var) token.Pos { return f.Pos() + token.Pos(len(f.Name())) }

// joinField finds the producer of a field of a join. It returns the producer
// that is meant even if it does not fit.
func (c *checker) joinField(d *declaration, w want, fields *types.Struct, f *types.Var, tag string, producers []*producer) (meant *producer, ok bool) {
	who := c.fieldOf(w.typ, f)
	if !f.Exported() {
		c.diags.Add(f.Pos(), endOf(f), "%s is not exported, so nothing can set it", who).
			Fix("%s", exported(f.Name(), func(name string) bool {
				return slices.ContainsFunc(slices.Collect(fields.Fields()), func(f *types.Var) bool { return f.Name() == name })
			}))
		return nil, false
	}
	pos, end := f.Pos(), endOf(f)
	if from, tagged := reflect.StructTag(tag).Lookup("from"); tagged {
		at := word{from, pos, end}
		if field := c.fieldAt(f.Pos()); field != nil {
			pairs, _ := parseTag(field.Tag)
			for _, p := range pairs {
				if p.key == "from" {
					at.pos, at.end = p.pos(0), p.end()
				}
			}
		}
		p := c.producer(d, who, w.self, at)
		return p, p != nil && c.fitField(w, f, p)
	}
	for _, p := range producers {
		if p.name == f.Name() {
			return p, c.fitField(w, f, p)
		}
	}
	for _, s := range d.steps {
		if s.name.Name != f.Name() {
			continue
		}
		if s == w.self {
			c.diags.Add(pos, end, "%s: %s cannot take what it gives itself", who, s.who).
				Fix("remove the field, or name it after another step")
		} else if !s.broken {
			c.diags.Add(pos, end, "%s: %s gives nothing", who, s.name.Name).
				Fix(`remove the field; tag the step after:"%s" if it has to wait`, s.name.Name)
		}
		return nil, false
	}

	var exact, almost []*producer
	if hasName(f.Type()) {
		for _, p := range producers {
			switch {
			case p.typ == nil:
			case types.Identical(p.given(w.result), f.Type()):
				exact = append(exact, p)
			case types.Identical(optional(p.typ), f.Type()), types.Identical(p.typ, f.Type()):
				almost = append(almost, p)
			}
		}
	}
	switch {
	case len(exact) == 1:
		return exact[0], true
	case len(exact) > 1 && d.unclear(exact, w.result):
		return nil, false
	case len(exact) > 1:
		c.ambiguous(pos, end, fmt.Sprintf("%s: %s comes from", who, c.name(f.Type())), exact, "name it after one of them, or tag it")
		return nil, false
	case len(almost) == 1:
		return almost[0], c.fitField(w, f, almost[0])
	case d.unclear(producers, w.result) || !c.valid(f.Type()):
		return nil, false
	}
	var names []string
	for _, p := range producers {
		names = append(names, p.name)
	}
	b := c.diags.Add(pos, end, "%s: there is no step %s, and nothing gives %s", who, f.Name(), c.name(f.Type()))
	if near := nearest.Name(f.Name(), names); near != "" {
		p := producers[slices.Index(names, near)]
		if b.Fix("did you mean %s? %s", near, c.gives(p, w.result)); types.Identical(p.given(w.result), f.Type()) {
			b.Fix("did you mean %s?", near).Edit(pos, end, near)
		}
	} else {
		b.Fix(`name it after what gives it, or tag it from:"…": %s`, strings.Join(names, ", "))
	}
	return nil, false
}

// fitField checks the type of a field against its producer.
func (c *checker) fitField(w want, f *types.Var, p *producer) bool {
	if p.unclear(w.result) || !c.valid(f.Type()) {
		return false
	}
	if types.Identical(p.given(w.result), f.Type()) {
		return true
	}
	pos, end := f.Pos(), endOf(f)
	if field := c.fieldAt(f.Pos()); field != nil && len(field.Names) == 1 {
		pos, end = where(field.Type)
	}
	c.mismatch(pos, end, fmt.Sprintf("%s is %s", c.fieldOf(w.typ, f), c.name(f.Type())), f.Type(), p, w.result, fitsField)
	return false
}

// checkNameableField checks that the generated package can name the type of a
// field, since it reads into a struct like that of the user.
func (c *checker) checkNameableField(w want, f *types.Var) bool {
	pos, end := where(w.expr)
	if field := c.fieldAt(f.Pos()); field != nil {
		pos, end = where(field.Type)
	}
	return c.checkNameableAt(c.fieldOf(w.typ, f), f.Type(), pos, end)
}

// fieldAt is the field whose name stands at a position, if that is in the package.
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
