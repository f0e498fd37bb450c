package check

import (
	"go/ast"
	"go/types"

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
	if d.settings.Unique != nil && !d.broken {
		c.checkUnique(d)
	}
	if d.settings.Key != nil && !d.flow.Job && !d.broken {
		c.checkRunKey(d)
	}
	for _, s := range d.steps {
		c.bindStep(d, s)
	}
	if !c.checkOrder(d) {
		return // what follows walks the graph
	}
	for _, s := range d.steps {
		c.checkConditions(d, s)
		c.checkPaths(d, s)
	}
	resultBound := c.bindResult(d)
	c.checkWaits(d, resultBound)
	c.checkSignalNames(d)
	c.finish(d)
}

// checkSchedule checks the cron expression of a declaration.
func (c *checker) checkSchedule(d *declaration) {
	p := d.settings.Cron
	if d.flow.In != nil {
		c.diags.Add(diag.CronWithInput, p.KeyPos, p.End(), "%s: cron starts it with nothing, but it takes %s", d.name, c.typeName(d.flow.In)).
			Fix("let it take dsl.None, and read the tick with handler.Tick")
		return
	}
	if tags.CheckCron(c.diags, p, d.name) {
		d.flow.Cron = p.Value
	}
}

// finish copies what was found out into the model.
func (c *checker) finish(d *declaration) {
	d.flow.Options, d.flow.Version, d.flow.Deadline = d.settings.Options, d.settings.Version, d.settings.Deadline
	if !d.flow.Job { // whose only step has the limit
		d.flow.Concurrency = d.settings.Concurrency
	}
	for _, s := range d.steps {
		m := s.model
		m.Options = s.settings.Options
		m.StartDelay, m.MaxWait, m.Keep = s.settings.StartDelay, s.settings.MaxWait, s.settings.Keep
		m.Tx = s.settings.Tx
		m.Concurrency, m.Rate, m.StrictOrder = s.settings.Concurrency, s.settings.Rate, s.settings.StrictOrder
		if s.settings.Gate != nil {
			m.Gate = s.settings.Gate.Value
		}
		m.WhenUnmet = s.settings.WhenUnmet
		m.WhenExhausted = s.settings.WhenExhausted
		m.In, m.Out = s.in, s.out
		for _, dep := range s.deps {
			m.Deps = append(m.Deps, dep.model.Slug)
		}
	}
}

// bindResult says where the output of the flow comes from. It is not ok if a mistake is
// reported, here or before.
func (c *checker) bindResult(d *declaration) (ok bool) {
	if d.flow.Out == nil {
		return !d.broken
	}
	if d.flow.Job {
		s := d.steps[0]
		if s.gives == nil || s.settings.Unclear || s.broken {
			return false
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
			return false
		}
		return true
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
	return ok
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
