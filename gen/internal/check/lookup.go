package check

import (
	"slices"
	"strings"

	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/tags"
	"github.com/flowc-dev/flowc/gen/nearest"
)

// step returns the step of a name in a tag of s, or nil and says why.
func (c *checker) step(d *declaration, s *step, w tags.Word, key string) *step {
	var names []string
	for _, other := range d.steps {
		switch {
		case other.name.Name != w.Text:
			if other != s {
				names = append(names, other.name.Name)
			}
		case other == s:
			c.diags.Add(diag.SelfReference, w.Pos, w.End, "%s cannot wait for itself", s.who).Fix("remove %s from %s", w.Text, key)
			return nil
		default:
			return other
		}
	}
	c.unknownStep(d, s.who, w, names)
	return nil
}

// unknownStep reports that a name is that of no step, unless one that was refused
// may be meant.
func (c *checker) unknownStep(d *declaration, who string, w tags.Word, names []string) {
	if d.partial {
		return
	}
	if head, _, dotted := strings.Cut(w.Text, "."); dotted && slices.Contains(names, head) {
		c.diags.Add(diag.PartOfOutput, w.Pos, w.End, "%s: %s is a part of what %s gives, and here a whole is meant", who, w.Text, head).
			Fix("say %s", head).Edit(w.Pos, w.End, head)
		return
	}
	b := c.diags.Add(diag.UnknownStep, w.Pos, w.End, "%s: there is no step %s", who, w.Text)
	if near := nearest.Name(w.Text, names); near != "" {
		b.Fix("did you mean %s?", near).Edit(w.Pos, w.End, near)
	} else if len(names) > 0 {
		b.Fix("choose one of %s", strings.Join(names, ", "))
	} else {
		b.Fix("declare it")
	}
}

// producer returns the producer of a name in a tag of what self wants, or nil and says
// why.
func (c *checker) producer(d *declaration, who string, self *step, w tags.Word) *producer {
	if self != nil && w.Text == self.name.Name {
		c.diags.Add(diag.SelfReference, w.Pos, w.End, "%s cannot come from the step itself", who).Fix("name another step")
		return nil
	}
	var names []string
	for _, p := range d.producers(self) {
		if p.name == w.Text {
			return p
		}
		names = append(names, p.name)
	}
	switch {
	case w.Text == "Input":
		c.diags.Add(diag.GivesNothing, w.Pos, w.End, "%s: the flow takes nothing, so nothing comes from Input", who).
			Fix("name a step, or let the flow take something")
	case slices.ContainsFunc(d.steps, func(s *step) bool { return s.name.Name == w.Text }):
		c.diags.Add(diag.GivesNothing, w.Pos, w.End, "%s: %s gives nothing", who, w.Text).
			Fix("name a step that gives something, or let %s give it", w.Text)
	default:
		c.unknownStep(d, who, w, names)
	}
	return nil
}
