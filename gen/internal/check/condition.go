package check

import (
	"slices"

	"github.com/flowc-dev/flowc/gen/internal/cond"
	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/tags"
	"github.com/flowc-dev/flowc/gen/nearest"
)

// checkConditions compiles the conditions of a step.
func (c *checker) checkConditions(d *declaration, s *step) {
	scope := cond.Scope{
		Diags: c.diags,
		Home:  c.pkg.Types,
		Who:   s.who,
		Subject: func(name tags.Word) (subject cond.Subject, ok bool) {
			p := c.subject(d, s, name)
			if p == nil || p.typ == nil {
				return subject, false
			}
			return cond.Subject{Name: p.name, Key: p.key, Type: p.typ}, true
		},
	}
	if s.settings.If != nil {
		s.model.If = cond.Compile(scope, s.settings.If)
	}
	if s.settings.IfNot != nil {
		s.model.IfNot = cond.Compile(scope, s.settings.IfNot)
	}
}

// subject returns the producer that a condition of a step names, if the step can see it:
// the flow's input if it waits for nothing, otherwise the steps it waits for.
func (c *checker) subject(d *declaration, s *step, name tags.Word) *producer {
	return c.subjectAmong(d, s, name, "condition", d.seenBy(s))
}

// subjectAmong returns the producer of a name in a condition or a path of a step that can
// see some, or nil and says why. what is the condition or the path in messages.
func (c *checker) subjectAmong(d *declaration, s *step, name tags.Word, what string, seen []string) *producer {
	for _, p := range d.producers(nil) {
		switch {
		case p.name != name.Text:
		case slices.Contains(seen, p.name) || !s.bound && p.step != s:
			return p // a step that is not bound may yet turn out to take it
		default:
			c.unseen(s, p, name, what, seen)
			return nil
		}
	}
	c.noSubject(d, s, name, what, seen)
	return nil
}

// seenBy returns what the conditions of a step can look at.
func (d *declaration) seenBy(s *step) (names []string) {
	if len(s.deps) == 0 && d.in != nil {
		return []string{d.in.name}
	}
	for _, dep := range s.deps {
		names = append(names, dep.name.Name)
	}
	return names
}

// unseen reports a condition or a path of a step that looks at p, which the step does not
// see.
func (c *checker) unseen(s *step, p *producer, name tags.Word, what string, seen []string) {
	switch {
	case p.step == s:
		fix := "look at what it takes, once it takes something"
		if len(seen) > 0 {
			fix = "look at a field of " + diag.Enumerate(seen, "or")
		}
		c.diags.Add(diag.SelfReference, name.Pos, name.End, "%s: a %s cannot look at what the step itself gives", s.who, what).Fix("%s", fix)
	case p.step == nil:
		c.diags.Add(diag.ConditionSubject, name.Pos, name.End, "%s waits for %s, so its condition sees what %s, and not the flow's input",
			s.who, diag.Enumerate(seen, "and"), diag.Plural(len(seen), "that gives", "those give")).
			Fix("let %s give it, and look at that", diag.Enumerate(seen, "or"))
	default:
		b := c.diags.Add(diag.ConditionSubject, name.Pos, name.End, "%s does not wait for %s, so its %s cannot look at it", s.who, p.name, what)
		if s.model.Map {
			b.Fix("look at what the flow takes: a map waits for the step that gives its list and for no other")
		} else if after := s.settings.After; after != nil {
			b.Fix(`add it to after: after:"%s, %s"`, after.Value, p.name).Edit(after.End(), after.End(), ", "+p.name)
		} else {
			tags.FixBySetting(b, s.field, "after", p.name)
		}
	}
}

// noSubject reports a condition or a path that names nothing that gives a value.
func (c *checker) noSubject(d *declaration, s *step, name tags.Word, what string, seen []string) {
	if slices.ContainsFunc(d.steps, func(o *step) bool { return o.name.Name == name.Text }) {
		c.diags.Add(diag.GivesNothing, name.Pos, name.End, "%s: %s gives nothing to look at", s.who, name.Text).
			Fix("let it give what the %s asks for", what)
		return
	}
	if d.partial {
		return
	}
	b := c.diags.Add(diag.UnknownStep, name.Pos, name.End, "%s: there is no step %s", s.who, name.Text)
	if near := nearest.Name(name.Text, names(d.producers(nil))); near != "" {
		b.Fix("did you mean %s?", near).Edit(name.Pos, name.End, near)
	} else if len(seen) > 0 {
		b.Fix("a %s here begins with %s", what, diag.Enumerate(seen, "or"))
	} else {
		b.Fix("let the step take what the %s asks for", what)
	}
}
