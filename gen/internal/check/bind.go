package check

import (
	"fmt"
	"go/token"
	"go/types"
	"slices"

	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/model"
)

// bindStep finds where the input of a step comes from, and so what it waits for.
func (c *checker) bindStep(d *declaration, s *step) {
	after, ok := c.after(d, s)
	var deps []*producer
	switch {
	case d.flow.Job:
		if s.in != nil {
			s.model.Source = model.Source{Kind: model.Input, Type: s.in}
		}
	case s.model.Map:
		if src := c.bindMap(d, s); src != nil {
			deps = []*producer{src}
			s.model.Source = model.Source{Kind: model.Item, Type: s.in}
			s.model.Over = src.key
		} else {
			ok = false
		}
	case s.in == nil:
		if s.settings.From != nil && !s.broken {
			p := s.settings.From
			c.diags.Add(diag.UnusedFrom, p.KeyPos, p.End(), "%s takes nothing, so nothing is from %s", s.who, p.Value).
				Fix("say after, if it has to wait").Edit(p.KeyPos, p.KeyPos+token.Pos(len(p.Key)), "after")
		}
		ok = ok && !s.broken
	default:
		var bound bool
		s.model.Source, deps, bound = c.bind(d, want{
			who:  s.who + "'s input",
			typ:  s.in,
			expr: s.marker.arg(0, s.expr),
			from: s.settings.From,
			tag:  s.settings,
			self: s,
		})
		ok = ok && bound
	}
	s.bound = ok && !s.settings.Unclear
	for _, p := range deps {
		if p.step != nil {
			after = append(after, p.step)
		}
	}
	slices.SortFunc(after, func(a, b *step) int { return a.index - b.index })
	s.deps = slices.Compact(after)
}

// after reads the steps that a step waits for without taking what they give.
func (c *checker) after(d *declaration, s *step) (deps []*step, ok bool) {
	if s.settings.After == nil {
		return nil, true
	}
	ok = true
	for _, w := range s.settings.After.Words() {
		if w.Text == "Input" {
			c.diags.Add(diag.AfterInput, w.Pos, w.End, "%s: the flow's input is there from the start, so nothing comes after it", s.who).
				Fix("remove Input")
			ok = false
			continue
		}
		dep := c.step(d, s, w, "after")
		if dep == nil {
			ok = false
			continue
		}
		deps = append(deps, dep)
	}
	return deps, ok
}

// bind finds where a value comes from, by the rules of the language, and the
// producers it needs. If it is not ok, a mistake is reported, here or before.
func (c *checker) bind(d *declaration, w want) (source model.Source, needs []*producer, ok bool) {
	if w.from != nil {
		return c.bindNamed(d, w)
	}
	pos, end := where(w.expr)
	producers := d.producers(w.self)
	unclear := w.tag.Unclear || d.unclear(producers, w.result)
	exact, almost := candidates(producers, w.typ, w.result)
	switch {
	case len(exact) == 1:
		return whole(exact[0], w.typ), exact, true
	case len(exact) > 1 && unclear:
		return source, nil, false
	case len(exact) > 1:
		c.ambiguous(pos, end, fmt.Sprintf("%s: %s comes from", w.who, c.name(w.typ)), exact, "tag it", "from")
		return source, nil, false
	case len(almost) == 1 && (w.tag.Unclear || almost[0].unclear(w.result)):
		return source, almost, false
	case len(almost) == 1:
		c.mismatch(pos, end, fmt.Sprintf("%s is %s", w.who, c.name(w.typ)), w.typ, almost[0], w.result, fitsExpr)
		return source, almost, false
	}

	if fields, isStruct := w.typ.Underlying().(*types.Struct); isStruct {
		if j := (&join{c, d, w, fields, producers}); j.isMeant(unclear) {
			return j.bind()
		}
	}
	if !unclear {
		c.noProducer(w, producers)
	}
	return source, nil, false
}

// bindNamed binds a value to the producer that the tag from names.
func (c *checker) bindNamed(d *declaration, w want) (source model.Source, needs []*producer, ok bool) {
	p := c.producer(d, w.who, w.self, w.from.Word())
	switch {
	case p == nil:
		return source, nil, false
	case p.unclear(w.result):
		return source, []*producer{p}, false
	case !types.Identical(p.given(w.result), w.typ):
		pos, end := where(w.expr)
		c.mismatch(pos, end, fmt.Sprintf("%s is %s", w.who, c.name(w.typ)), w.typ, p, w.result, fitsExpr)
		return source, []*producer{p}, false
	}
	return whole(p, w.typ), []*producer{p}, true
}

// noProducer reports a value that nothing gives.
func (c *checker) noProducer(w want, producers []*producer) {
	pos, end := where(w.expr)
	b := c.diags.Add(diag.NoProducer, pos, end, "%s: nothing gives %s", w.who, c.name(w.typ))
	for _, p := range producers {
		b.Note("%s", c.gives(p, w.result))
	}
	if len(producers) == 0 {
		b.Fix("let the flow or another step give it")
	} else {
		b.Fix("take one of those, or a struct with a field for each value")
	}
}

// whole returns the source of all that a producer gives.
func whole(p *producer, t types.Type) model.Source {
	if p.step == nil {
		return model.Source{Kind: model.Input, Type: t}
	}
	return model.Source{Kind: model.Output, Type: t, Key: p.key}
}
