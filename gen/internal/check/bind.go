package check

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"

	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/gen/nearest"
)

// A want is an input that has to come from somewhere: of a step, or the output
// of the flow, which is as the input of a last step.
type want struct {
	who    string // in messages: ProcessOrder.Charge's input
	typ    types.Type
	expr   ast.Expr // typ in the source
	from   *pair
	tag    *settings // of who wants it
	self   *step     // who wants it, and cannot give it to itself
	result bool      // it is the output of the flow
}

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
		if s.settings.from != nil && !s.broken {
			p := s.settings.from
			c.diags.Add(p.keyPos, p.end(), "%s takes nothing, so nothing is from %s", s.who, p.value).
				Fix("say after, if it has to wait").Edit(p.keyPos, p.keyPos+4, "after")
		}
		ok = ok && !s.broken
	default:
		var bound bool
		s.model.Source, deps, bound = c.bind(d, want{
			who:  s.who + "'s input",
			typ:  s.in,
			expr: s.marker.arg(0, s.expr),
			from: s.settings.from,
			tag:  s.settings,
			self: s,
		})
		ok = ok && bound
	}
	s.bound = ok && !s.settings.unclear
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
	if s.settings.after == nil {
		return nil, true
	}
	ok = true
	for _, w := range s.settings.after.words() {
		if w.text == "Input" {
			c.diags.Add(w.pos, w.end, "%s: the flow's input is there from the start, so nothing comes after it", s.who).
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

// step is the step of a name in a tag of s.
func (c *checker) step(d *declaration, s *step, w word, key string) *step {
	var names []string
	for _, other := range d.steps {
		switch {
		case other.name.Name != w.text:
			if other != s {
				names = append(names, other.name.Name)
			}
		case other == s:
			c.diags.Add(w.pos, w.end, "%s cannot wait for itself", s.who).Fix("remove %s from %s", w.text, key)
			return nil
		default:
			return other
		}
	}
	c.unknownStep(d, s.who, w, names)
	return nil
}

// unknownStep says that a name is that of no step, unless one that was refused
// may be meant.
func (c *checker) unknownStep(d *declaration, who string, w word, names []string) {
	if d.partial {
		return
	}
	if head, _, dotted := strings.Cut(w.text, "."); dotted && slices.Contains(names, head) {
		c.diags.Add(w.pos, w.end, "%s: %s is a part of what %s gives, and here a whole is meant", who, w.text, head).
			Fix("say %s", head).Edit(w.pos, w.end, head)
		return
	}
	b := c.diags.Add(w.pos, w.end, "%s: there is no step %s", who, w.text)
	if near := nearest.Name(w.text, names); near != "" {
		b.Fix("did you mean %s?", near).Edit(w.pos, w.end, near)
	} else if len(names) > 0 {
		b.Fix("choose one of %s", strings.Join(names, ", "))
	} else {
		b.Fix("declare it")
	}
}

// producer is the producer of a name in a tag of what self wants. It is nil,
// and said so, if there is none.
func (c *checker) producer(d *declaration, who string, self *step, w word) *producer {
	if self != nil && w.text == self.name.Name {
		c.diags.Add(w.pos, w.end, "%s cannot come from the step itself", who).Fix("name another step")
		return nil
	}
	var names []string
	for _, p := range d.producers(self) {
		if p.name == w.text {
			return p
		}
		names = append(names, p.name)
	}
	switch {
	case w.text == "Input":
		c.diags.Add(w.pos, w.end, "%s: the flow takes nothing, so nothing comes from Input", who).
			Fix("name a step, or let the flow take something")
	case slices.ContainsFunc(d.steps, func(s *step) bool { return s.name.Name == w.text }):
		c.diags.Add(w.pos, w.end, "%s: %s gives nothing", who, w.text).
			Fix("name a step that gives something, or let %s give it", w.text)
	default:
		c.unknownStep(d, who, w, names)
	}
	return nil
}

// bind finds where a value comes from, by the rules of the language, and the
// producers it needs. If it is not ok, a mistake is reported, here or before.
func (c *checker) bind(d *declaration, w want) (source model.Source, needs []*producer, ok bool) {
	pos, end := where(w.expr)
	if w.from != nil {
		p := c.producer(d, w.who, w.self, word{w.from.value, w.from.pos(0), w.from.end()})
		if p == nil || p.unclear(w.result) {
			return source, needsOf(p), false
		}
		if !types.Identical(p.given(w.result), w.typ) {
			c.mismatch(pos, end, fmt.Sprintf("%s is %s", w.who, c.name(w.typ)), w.typ, p, w.result, fitsExpr)
			return source, needsOf(p), false
		}
		return whole(p, w.typ), needsOf(p), true
	}

	producers := d.producers(w.self)
	unclear := w.tag.unclear || d.unclear(producers, w.result)
	var exact, almost []*producer
	for _, p := range producers {
		switch {
		case p.typ == nil:
		case types.Identical(p.given(w.result), w.typ):
			exact = append(exact, p)
		case types.Identical(optional(p.typ), w.typ), types.Identical(p.typ, w.typ):
			almost = append(almost, p)
		}
	}
	switch {
	case len(exact) == 1:
		return whole(exact[0], w.typ), exact, true
	case len(exact) > 1 && unclear:
		return source, nil, false
	case len(exact) > 1:
		c.ambiguous(pos, end, fmt.Sprintf("%s: %s comes from", w.who, c.name(w.typ)), exact, "tag it")
		return source, nil, false
	case len(almost) == 1 && (w.tag.unclear || almost[0].unclear(w.result)):
		return source, almost, false
	case len(almost) == 1:
		c.mismatch(pos, end, fmt.Sprintf("%s is %s", w.who, c.name(w.typ)), w.typ, almost[0], w.result, fitsExpr)
		return source, almost, false
	}

	if fields, isStruct := w.typ.Underlying().(*types.Struct); isStruct && c.isJoin(d, w, fields, unclear) {
		return c.join(d, w, fields, producers)
	}
	if unclear {
		return source, nil, false
	}
	b := c.diags.Add(pos, end, "%s: nothing gives %s", w.who, c.name(w.typ))
	for _, p := range producers {
		b.Note("%s", c.gives(p, w.result))
	}
	if len(producers) == 0 {
		b.Fix("let the flow or another step give it")
	} else {
		b.Fix("take one of those, or a struct with a field for each value")
	}
	return source, nil, false
}

func needsOf(p *producer) []*producer {
	if p == nil {
		return nil
	}
	return []*producer{p}
}

// whole is the source of all that a producer gives.
func whole(p *producer, t types.Type) model.Source {
	if p.step == nil {
		return model.Source{Kind: model.Input, Type: t}
	}
	return model.Source{Kind: model.Output, Type: t, Key: p.key}
}

// gives says what a producer gives.
func (c *checker) gives(p *producer, result bool) string {
	if p.step == nil {
		return "Input is " + c.name(p.typ)
	}
	return p.name + " gives " + c.name(p.given(result))
}

func (c *checker) ambiguous(pos, end token.Pos, what string, from []*producer, fix string) {
	var names, tags []string
	for _, p := range from {
		names = append(names, p.name)
		tags = append(tags, `from:"`+p.name+`"`)
	}
	c.diags.Add(pos, end, "%s %s; say which", what, enumerate(names, "and")).Fix("%s %s", fix, enumerate(tags, "or"))
}

// enumerate joins words: a, b and c.
func enumerate(words []string, last string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	n := len(words) - 1
	return strings.Join(words[:n], ", ") + " " + last + " " + words[n]
}

// fits says how to change what is at a place to a type: a type argument, or the
// type of a field.
type fits func(name string) string

func fitsExpr(name string) string  { return "take " + name }
func fitsField(name string) string { return "make it " + name }

// mismatch reports a value of type t that is to come from p, which gives
// another type.
func (c *checker) mismatch(pos, end token.Pos, what string, t types.Type, p *producer, result bool, fit fits) {
	given := p.given(result)
	name := c.name(given)
	switch {
	case types.Identical(p.typ, t): // given is optional
		b := c.diags.Add(pos, end, "%s, but %s may be skipped", what, p.name)
		causes := p.step.skippedBy(result)
		for _, cause := range causes {
			b.NoteAt(cause.keyPos, "%s has %s", cause.step.name.Name, cause)
		}
		words := fit(name) + ", nil when " + p.name + " did not run"
		if !result && len(causes) == 1 {
			key := "when_unmet"
			if causes[0].key == "when_exhausted" {
				key = causes[0].key
			}
			words += fmt.Sprintf(`; or tag %s %s:"skip-cascade" to skip this too`, p.name, key)
		}
		b.Fix("%s", words).Edit(pos, end, name)
	case types.Identical(optional(p.typ), t):
		c.diags.Add(pos, end, "%s, but %s always gives its %s", what, p.name, name).
			Fix("%s", fit(name)).Edit(pos, end, name)
	default:
		c.diags.Add(pos, end, "%s, but %s", what, c.gives(p, result)).
			Fix("%s", fit(name)).Edit(pos, end, name)
	}
}
