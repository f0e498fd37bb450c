package check

import (
	"go/ast"
	"go/types"
	"slices"
	"strings"

	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/load"
	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/gen/internal/tags"
)

// declarations finds the flows and jobs of the package.
func (c *checker) declarations() (declared []*declaration) {
	for _, file := range c.pkg.Files {
		if generated(file) {
			continue // it repeats a declaration
		}
		for _, decl := range file.Decls {
			c.refuseHidden(decl)
			if decl, ok := decl.(*ast.GenDecl); ok {
				for _, spec := range decl.Specs {
					if spec, ok := spec.(*ast.TypeSpec); ok {
						if d := c.declaration(decl, spec); d != nil {
							if x := load.Constraint(c.diags.Fset, file); x != nil {
								d.flow.Constraint = x.String()
							}
							declared = append(declared, d)
						}
					}
				}
			}
		}
	}
	return declared
}

// generated reports whether flowc wrote a file.
func generated(file *ast.File) bool {
	return len(file.Comments) > 0 && file.Comments[0].Pos() < file.Package && file.Comments[0].List[0].Text == load.Header
}

// declaration reads a type declaration, if it is one of ours.
func (c *checker) declaration(group *ast.GenDecl, spec *ast.TypeSpec) *declaration {
	name := spec.Name.Name
	pos, end := where(spec.Name)
	fields, ok := ast.Unparen(spec.Type).(*ast.StructType)
	if !ok {
		c.refuseCopy(spec)
		return nil
	}
	heads, steps := c.headsAndSteps(fields)
	var embedded []*ast.Field
	for _, f := range heads {
		if len(f.Names) == 0 {
			embedded = append(embedded, f)
		}
	}
	switch {
	case len(heads) == 0 && c.misspelt(fields):
		c.suspects = append(c.suspects, spec)
		return nil
	case len(heads) == 0 && c.embedsFlow(fields) != nil:
		f := c.embedsFlow(fields)
		c.diags.Add(diag.CopiedFlow, f.Pos(), f.End(), "%s embeds %s, which declares a flow, but that does not make it another one", name, fieldName(f)).
			Fix("write the struct of %s out: its dsl.Flow or dsl.Job, and its steps", fieldName(f))
		return nil
	case len(heads) == 0 && len(steps) == 0:
		return nil
	case len(heads) == 0:
		d := c.diags.Add(diag.MissingFlow, pos, end, "%s has steps but is not a flow", name).
			Fix("embed dsl.Flow[In, Out] as its first field")
		for _, f := range steps {
			d.NoteAt(f.Pos(), "%s is a step", fieldName(f))
		}
		return nil
	case len(embedded) == 0:
		f := heads[0]
		c.diags.Add(diag.NotEmbedded, f.Pos(), f.End(), "%s: dsl.%s is the field %s, but it has to be embedded",
			name, markerOf(c.pkg.Info, f.Type).name, fieldName(f)).
			Fix("remove the name %s", fieldName(f)).Edit(f.Pos(), f.Type.Pos(), "")
		return nil
	case len(heads) > 1:
		second := heads[1]
		if second == embedded[0] {
			second = heads[0]
		}
		c.diags.Add(diag.SeveralFlows, second.Pos(), second.End(), "%s is already a %s", name, strings.ToLower(markerOf(c.pkg.Info, embedded[0].Type).name)).
			NoteAt(embedded[0].Pos(), "by this dsl.%s", markerOf(c.pkg.Info, embedded[0].Type).name).
			Fix("remove one of them; two flows are two structs")
		return nil
	}

	head := embedded[0]
	d := &declaration{
		pkg:      c.pkg.Path,
		name:     name,
		spec:     spec,
		field:    head,
		head:     markerOf(c.pkg.Info, head.Type),
		headExpr: head.Type,
	}
	if !c.declarable(d) {
		return nil
	}
	doc := spec.Doc
	if doc == nil && !group.Lparen.IsValid() {
		doc = group.Doc
	}
	d.flow = &model.Flow{
		Name:      name,
		Base:      base(name),
		Doc:       text(doc),
		Job:       d.head.name == "Job",
		Declaring: c.pkg.Types,
		Dir:       c.pkg.Dir,
	}
	on := tags.OnFlow
	if d.flow.Job {
		on = tags.OnJob
	}
	d.settings = tags.Read(c.diags, head.Tag, on, name)
	if obj := c.pkg.Info.Defs[spec.Name]; obj != nil {
		if t, ok := obj.Type().Underlying().(*types.Struct); ok && t.NumFields() == fields.Fields.NumFields() {
			d.flow.Declared = c.declared(fields, t)
		}
	}
	c.declareSteps(d, fields, head)
	return d
}

// declareSteps reads the fields of a flow.
func (c *checker) declareSteps(d *declaration, fields *ast.StructType, head *ast.Field) {
	if d.flow.Job {
		d.steps = []*step{c.jobStep(d, head)}
	}
	for _, f := range fields.Fields.List {
		if f == head {
			continue
		}
		pos, end := where(f)
		m := markerOf(c.pkg.Info, f.Type)
		name := fieldName(f)
		switch {
		case d.flow.Job && m != nil && m.name == "Wait":
			c.diags.Add(diag.JobWithFields, pos, end, "%s is a job, which is one step, so it cannot wait for %s", d.name, name).
				Fix("embed dsl.Flow, and declare the work as a dsl.Step beside it")
		case d.flow.Job:
			c.diags.Add(diag.JobWithFields, pos, end, "%s is a job, which has no fields, but it has %s", d.name, name).
				Fix("remove it, or embed dsl.Flow and declare steps")
		case m == nil || !m.step():
			if t := c.pkg.Info.TypeOf(f.Type); t == nil || t == types.Typ[types.Invalid] {
				c.broken, d.broken, d.partial = true, true, true // the compiler says why
				continue
			}
			d.partial = true
			c.diags.Add(diag.NotAStep, pos, end, "%s: the field %s is %s, not a step", d.name, name, c.name(c.pkg.Info.TypeOf(f.Type))).
				Fix("make it a dsl.Step, dsl.Map or dsl.Wait, or move it out: handlers keep their own state")
		case len(f.Names) == 0:
			d.partial = true
			c.nameless = append(c.nameless, f)
			c.diags.Add(diag.UnnamedStep, pos, end, "%s embeds dsl.%s, so the step has no name", d.name, m.name).
				Fix("give it a name in front of dsl.%s", m.name)
		default:
			if m.pointer {
				c.diags.Add(diag.IndirectMarker, f.Type.Pos(), f.Type.End(), "%s.%s is a pointer to a step", d.name, name).
					Fix("declare it dsl.%s itself", m.name).Edit(f.Type.Pos(), f.Type.Pos()+1, "")
			}
			for _, ident := range f.Names {
				c.declareStep(d, f, ident, m)
			}
		}
	}
	if !d.flow.Job && len(fields.Fields.List) == 1 {
		d.partial = true
		c.diags.Add(diag.NoSteps, d.spec.Name.Pos(), d.spec.Name.End(), "%s has no steps", d.name).
			Fix("add a dsl.Step, or embed dsl.Job to make it a job")
	}
}

func (c *checker) declareStep(d *declaration, f *ast.Field, ident *ast.Ident, m *marker) {
	pos, end := where(ident)
	who := d.name + "." + ident.Name
	switch {
	case ident.Name == "_":
		c.diags.Add(diag.UnnamedStep, pos, end, "%s: a step needs a name, for its handler and for the database", d.name).
			Fix("write one that begins with an upper case letter instead of _")
		d.partial = true
		return
	case !ident.IsExported():
		c.diags.Add(diag.UnexportedStep, pos, end, "%s is not exported, so no handler could be written for it", who).
			Fix("%s", exported(ident.Name, d.hasField))
	case ident.Name == "Input":
		c.diags.Add(diag.ReservedName, pos, end, "%s: Input is what the flow takes, so no step can have that name", who).
			Fix("call it something else")
		d.partial = true
		return
	}
	if i := slices.IndexFunc(d.steps, func(s *step) bool { return s.name.Name == ident.Name }); i >= 0 {
		d.steps[i].settings.Unclear = true
		return // the compiler says so
	}
	on := tags.OnStep
	switch m.name {
	case "Map":
		on = tags.OnMap
	case "Wait":
		on = tags.OnWait
	}
	doc := f.Doc
	if doc == nil {
		doc = f.Comment
	}
	s := &step{
		who:      who,
		name:     ident,
		field:    f,
		expr:     f.Type,
		marker:   m,
		settings: tags.Read(c.diags, f.Tag, on, who),
		index:    len(d.steps),
		model:    &model.Step{Name: ident.Name, Doc: text(doc), Map: on == tags.OnMap, Wait: on == tags.OnWait},
	}
	if !ident.IsExported() {
		d.partial, s.settings.Unclear = true, true // it will have another name
	}
	d.steps = append(d.steps, s)
}

// jobStep returns the only step of a job. Its options are those of the flow; what
// only steps have stands in the same tag.
func (c *checker) jobStep(d *declaration, head *ast.Field) *step {
	own := *d.settings
	own.Options, own.Slug = model.Options{}, nil
	return &step{
		who:      d.name,
		name:     d.spec.Name,
		field:    head,
		expr:     head.Type,
		marker:   d.head,
		settings: &own,
		model:    &model.Step{Name: d.name},
	}
}

// text returns a doc comment without slashes and directives. A build constraint of
// the old form is left out too: a comment in another place would make it one.
func text(doc *ast.CommentGroup) string {
	lines := strings.Split(strings.TrimSpace(doc.Text()), "\n")
	kept := lines[:0]
	for _, line := range lines {
		if !strings.HasPrefix(strings.TrimSpace(line), "+build") {
			kept = append(kept, strings.TrimRight(line, "\r\t "))
		}
	}
	return strings.Join(kept, "\n")
}
