package check

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"strings"

	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/gen/internal/tags"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// checkFlow checks a declaration and completes its model. It goes on after a
// mistake, but does not draw conclusions from what is wrong.
func (c *checker) checkFlow(d *declaration) {
	c.nameFlow(d)
	c.nameSteps(d)
	c.readTypes(d)
	if d.settings.Cron != nil && !d.broken {
		c.checkSchedule(d)
	}
	for _, s := range d.steps {
		c.bindStep(d, s)
	}
	if !c.checkOrder(d) {
		return // what follows walks the graph
	}
	for _, s := range d.steps {
		c.checkConditions(d, s)
	}
	c.bindResult(d)
	c.finish(d)
}

// checkSchedule checks the cron expression of a declaration.
func (c *checker) checkSchedule(d *declaration) {
	p := d.settings.Cron
	if d.flow.In != nil {
		c.diags.Add(diag.CronWithInput, p.KeyPos, p.End(), "%s: cron starts it with nothing, but it takes %s", d.name, c.typeName(d.flow.In)).
			Fix("let it take dsl.None, and read the tick with handler.ScheduledAt")
		return
	}
	if tags.CheckCron(c.diags, p, d.name) {
		d.flow.Cron = p.Value
	}
}

// finish copies what was found out into the model.
func (c *checker) finish(d *declaration) {
	d.flow.Options, d.flow.Version = d.settings.Options, d.settings.Version
	for _, s := range d.steps {
		m := s.model
		m.Options = s.settings.Options
		m.StartDelay = s.settings.StartDelay
		m.WhenUnmet = s.settings.WhenUnmet
		m.WhenExhausted = s.settings.WhenExhausted
		m.In, m.Out = s.in, s.out
		for _, dep := range s.deps {
			m.Deps = append(m.Deps, dep.model.Slug)
		}
	}
}

// nameFlow decides and checks the slug and the package.
func (c *checker) nameFlow(d *declaration) {
	slug := snake(d.name)
	if d.settings.Slug != nil {
		slug = d.settings.Slug.Value
	}
	pos, end := d.slugPlace()
	if c.checkSlug(d.name, slug, instead(d.name, "flow"), d.settings.Slug, d.field, pos, end) {
		if d.settings.Version > 1 {
			slug += fmt.Sprintf("_v%d", d.settings.Version)
		}
		if len(slug) > spec.MaxFlowSlug {
			c.diags.Add(diag.LongSlug, pos, end, "%s: the slug %q has %d characters, and the database allows %d", d.name, slug, len(slug), spec.MaxFlowSlug).
				Fix(`tag it slug:"…" with a shorter one`)
		}
		d.flow.Slug = slug
	}

	name := strings.ToLower(d.name)
	if d.settings.Package != nil {
		name = d.settings.Package.Value
		pos, end = d.settings.Package.Pos(0), d.settings.Package.End()
	} else {
		pos, end = where(d.spec.Name)
	}
	if fault := packageFault(name); fault != "" {
		b := c.diags.Add(diag.BadPackage, pos, end, "%s cannot be generated as package %q, which %s", d.name, name, fault)
		better := strings.Trim(asSlug(name), "_")
		if packageFault(better) != "" {
			better = strings.ReplaceAll(better, "_", "")
		}
		if packageFault(better) != "" {
			better += "flow"
		}
		if asSlug(name) == "" {
			better = ""
		}
		c.suggest(b, "package", better, d.settings.Package, d.field)
		return
	}
	d.flow.Package = name
}

// nameSteps decides and checks the slugs of the steps.
func (c *checker) nameSteps(d *declaration) {
	if d.flow.Job {
		d.steps[0].model.Slug = d.flow.Slug
		d.steps[0].model.Name = d.flow.Base
		return
	}
	seen := map[string]*step{}
	for _, s := range d.steps {
		slug := snake(s.name.Name)
		if s.settings.Slug != nil {
			slug = s.settings.Slug.Value
		}
		s.model.Slug = slug
		pos, end := s.slugPlace()
		if !c.checkSlug(s.who, slug, instead(s.name.Name, "step"), s.settings.Slug, s.field, pos, end) {
			continue
		}
		if !s.name.IsExported() && s.settings.Slug == nil {
			continue // it will have another one
		}
		if len(slug) > spec.MaxStepSlug {
			c.diags.Add(diag.LongSlug, pos, end, "%s: the slug %q has %d characters, and the database allows %d", s.who, slug, len(slug), spec.MaxStepSlug).
				Fix(`tag it slug:"…" with a shorter one`)
		}
		// encoding/json would take one for the other if they differed only by case.
		if first := seen[strings.ToLower(slug)]; first != nil {
			b := c.diags.Add(diag.DuplicateSlug, pos, end, "%s has the slug %q, and so has %s", s.who, slug, first.name.Name).
				NoteAt(first.name.Pos(), "%s is declared here, with the slug %q", first.name.Name, first.model.Slug)
			if slug != first.model.Slug {
				b.Note("upper and lower case count as one")
			}
			c.suggest(b, "slug", free(slug, func(s string) bool { return seen[strings.ToLower(s)] != nil }), s.settings.Slug, s.field)
			continue
		}
		seen[strings.ToLower(slug)] = s
	}
}

// checkSlug checks the form of a slug that is in a tag, or else made from a name.
// instead is what it could be if it is reserved.
func (c *checker) checkSlug(who, slug, instead string, tag *tags.Pair, field *ast.Field, pos, end token.Pos) bool {
	switch {
	case strings.EqualFold(slug, spec.RunKey):
		b := c.diags.Add(diag.ReservedName, pos, end, "%s: %q is what the database calls the run's own input", who, slug)
		c.suggest(b, "slug", instead, tag, field)
	case !slugForm.MatchString(slug):
		b := c.diags.Add(diag.BadSlug, pos, end, "%s: %q is not a slug: a letter or underscore, then letters, digits and underscores, all of them ASCII", who, slug)
		c.suggest(b, "slug", asSlug(slug), tag, field)
	default:
		return true
	}
	return false
}

// instead is a slug for a name that is not the one that is reserved.
func instead(name, kind string) string {
	if slug := snake(name); slug != spec.RunKey {
		return slug
	}
	return spec.RunKey + "_" + kind
}

// suggest makes another value of a naming tag the fix of a mistake; an empty one
// is for the user to find.
func (c *checker) suggest(b *diag.Builder, key, value string, tag *tags.Pair, field *ast.Field) {
	switch {
	case value == "" && tag != nil:
		b.Fix("choose another %s", key)
	case value == "":
		b.Fix(`tag it %s:"…" with one of ASCII letters`, key)
	case tag != nil:
		b.Fix(`%s:"%s"`, key, value).Edit(tag.Pos(0), tag.End(), value)
	default:
		tags.FixBySetting(b, field, key, value)
	}
}

// free is a name that is not taken yet.
func free(name string, taken func(string) bool) string {
	for i := 2; ; i++ {
		if candidate := fmt.Sprintf("%s_%d", name, i); !taken(candidate) {
			return candidate
		}
	}
}

// bindResult says where the output of the flow comes from.
func (c *checker) bindResult(d *declaration) {
	if d.flow.Out == nil {
		return
	}
	if d.flow.Job {
		s := d.steps[0]
		if s.gives == nil || s.settings.Unclear || s.broken {
			return
		}
		d.flow.Result = model.Source{Kind: model.Output, Type: d.flow.Out, Key: s.model.Slug}
		if given := s.gives.given(true); !types.Identical(given, d.flow.Out) {
			pos, end := where(d.head.arg(1, d.headExpr))
			b := c.diags.Add(diag.MayBeSkipped, pos, end, "%s's output is %s, but it may be skipped", d.name, c.name(d.flow.Out))
			for _, p := range s.skippedBy(true) {
				b.NoteAt(p.KeyPos, "it has %s", p)
			}
			b.Fix("declare it dsl.Job[%s, %s]: nil if it was skipped", c.typeName(d.flow.In), c.name(given)).
				Edit(pos, pos, "*")
		}
		return
	}
	source, _, ok := c.bind(d, want{
		who:    d.name + "'s output",
		typ:    d.flow.Out,
		expr:   d.head.arg(1, d.headExpr),
		from:   d.settings.From,
		tag:    d.settings,
		result: true,
	})
	if ok {
		d.flow.Result = source
	}
}

// readTypes reads the types that the flow and its steps take and give.
func (c *checker) readTypes(d *declaration) {
	read := func(m *marker, expr ast.Expr, i int) (t types.Type, ok bool) {
		if m.args == nil || !c.valid(m.args[i]) {
			c.broken, d.broken = true, true
			return nil, false
		}
		if isNone(m.args[i]) {
			return nil, true
		}
		return m.args[i], true
	}
	in, okIn := read(d.head, d.headExpr, 0)
	out, okOut := read(d.head, d.headExpr, 1)
	d.flow.In, d.flow.Out = in, out
	if in != nil || !okIn {
		d.in = &producer{name: "Input", key: spec.RunKey, typ: in}
	}
	if in != nil {
		c.checkStored(d.name+"'s input", in, d.head.arg(0, d.headExpr))
	}
	if out != nil {
		c.checkNameable(d.name+"'s output", out, d.head.arg(1, d.headExpr))
	}
	for _, s := range d.steps {
		if d.flow.Job {
			s.in, s.out, s.broken = in, out, !okIn || !okOut
			if out != nil {
				c.checkStored(d.name+"'s output", out, d.head.arg(1, d.headExpr))
				s.gives = &producer{name: s.name.Name, key: s.model.Slug, step: s, typ: out}
			}
			continue
		}
		in, okIn := read(s.marker, s.expr, 0)
		out, okOut := read(s.marker, s.expr, 1)
		s.in, s.out = in, out
		s.broken = !okIn || !okOut
		if in != nil {
			c.checkNameable(s.who+"'s input", in, s.marker.arg(0, s.expr))
		}
		switch {
		case !okOut:
			s.gives = &producer{name: s.name.Name, key: s.model.Slug, step: s}
		case out != nil:
			c.checkStored(s.who+"'s output", out, s.marker.arg(1, s.expr))
			if s.model.Map {
				out = types.NewSlice(out)
			}
			s.gives = &producer{name: s.name.Name, key: s.model.Slug, step: s, typ: out}
		}
	}
}

// typeName is the name of a type, or of nothing.
func (c *checker) typeName(t types.Type) string {
	if t == nil {
		return "dsl.None"
	}
	return c.name(t)
}
