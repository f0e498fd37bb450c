package cond

import (
	"go/token"
	"go/types"
	"unicode/utf8"

	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/jsonform"
	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/gen/internal/tags"
)

// A Target is what a path has to lead to.
type Target int

const (
	Time Target = iota // a time.Time, or a pointer to one
	Span               // a time.Duration, or a pointer to one
	Key                // a string or a whole number
)

// CompilePath compiles a path to the names that the database follows. It returns nil if a
// mistake is reported.
func CompilePath(scope Scope, p *tags.Pair, target Target) *model.Path {
	c := &compiler{scope, p}
	segments := c.segments()
	if segments == nil {
		return nil
	}
	first := segments[0]
	from, ok := c.Subject(tags.Word{Text: first.name, Pos: p.Pos(first.start), End: p.Pos(first.end)})
	if !ok {
		return nil
	}
	leaf, keys, hops, ok := c.walk(from, segments[1:])
	if !ok || !c.leadsTo(target, from, segments, leaf, hops) {
		return nil
	}
	way := model.Term{Key: from.Key, Start: from.Name, Path: hops}
	way.Type, _ = jsonform.Pointee(from.Type)
	return &model.Path{Text: p.Value, Keys: append([]string{from.Key}, keys...), Type: leaf.typ, Way: way}
}

// segments reads the names of a path, or returns nil and says what is wrong.
func (c *compiler) segments() (list []segment) {
	p := &parser{source: c.pair.Value}
	for {
		start := p.i
		name := p.name()
		if name == "" {
			break
		}
		list = append(list, segment{name, start, p.i})
		if p.i == len(p.source) {
			return list
		}
		if !p.take(".") {
			break
		}
	}
	end := p.i
	if end < len(p.source) {
		_, size := utf8.DecodeRuneInString(p.source[end:])
		end += size
	}
	c.Diags.Add(diag.BadPath, c.pair.Pos(p.i), c.pair.Pos(end), "%s: %s %q is not a path", c.Who, c.pair.Key, c.pair.Value).
		Fix("write Input or a step, and names of fields after it, as in Input.ID")
	return nil
}

// leadsTo reports whether a path leads to what it should, and says so if not.
func (c *compiler) leadsTo(target Target, from Subject, path []segment, leaf member, hops []model.Hop) bool {
	pos, end := c.pair.Pos(0), c.pair.End()
	switch {
	case target == Key:
		return c.isKey(from, path, leaf, hops)
	case target == Time && !isNamed(leaf.typ, "Time"):
		b := c.Diags.Add(diag.PathType, pos, end, "%s: %s is %s, and start_at needs a time.Time", c.Who, c.pair.Value, c.name(leaf.typ))
		if isNamed(leaf.typ, "Duration") {
			at := c.pair.KeyPos
			b.Fix("say start_delay, to wait that long").Edit(at, at+token.Pos(len("start_at")), "start_delay")
		} else {
			b.Fix("look at a field that is a time.Time")
		}
		return false
	case target == Span && !isNamed(leaf.typ, "Duration"):
		b := c.Diags.Add(diag.PathType, pos, end, "%s: %s is %s, and start_delay needs a time.Duration", c.Who, c.pair.Value, c.name(leaf.typ))
		if isNamed(leaf.typ, "Time") {
			at := c.pair.KeyPos
			b.Fix("say start_at, to start then").Edit(at, at+token.Pos(len("start_delay")), "start_at")
		} else {
			b.Fix(`look at a field that is a time.Duration, or write one, such as start_delay:"5m"`)
		}
		return false
	case leaf.quoted:
		c.Diags.Add(diag.PathType, pos, end, "%s: %s is written as a text in JSON, and start_delay needs a number", c.Who, c.pair.Value).
			Fix("remove the option string from its tag json")
		return false
	}
	return true
}

// isKey reports whether a path leads to what can be a key, and says so if not. What may be
// absent can be none: a run without a key could not be found.
func (c *compiler) isKey(from Subject, path []segment, leaf member, hops []model.Hop) bool {
	pos, end := c.pair.Pos(0), c.pair.End()
	if from.Absent {
		c.Diags.Add(diag.PathType, c.pair.Pos(0), c.pair.Pos(path[0].end), "%s: %s may be skipped, and then there would be no key", c.Who, from.Name).
			Fix("look at Input, or at a step that always runs")
		return false
	}
	if _, pointer := jsonform.Pointee(from.Type); pointer {
		c.Diags.Add(diag.PathType, c.pair.Pos(0), c.pair.Pos(path[0].end), "%s: %s is %s, and if it is nil, there is no key", c.Who, from.Name, c.name(from.Type)).
			Fix("look at a value that is always there")
		return false
	}
	for _, hop := range hops {
		if !hop.Pointer {
			continue
		}
		what := c.pair.Value + " leads through the pointer " + hop.Name
		if hop.Name == path[len(path)-1].name {
			what = c.pair.Value + " is a pointer"
		}
		c.Diags.Add(diag.PathType, pos, end, "%s: %s, and if it is nil, there is no key", c.Who, what).
			Fix("look at a value that is always there")
		return false
	}
	if method := jsonform.Marshaler(leaf.typ, true); method != "" {
		c.Diags.Add(diag.PathType, pos, end, "%s: %s is %s, which has %s, and a key is a string or a whole number as it is", c.Who, c.pair.Value, c.name(leaf.typ), method).
			Fix("look at a field of a plain type, such as an ID")
		return false
	}
	basic, ok := leaf.typ.Underlying().(*types.Basic)
	if !ok || basic.Info()&(types.IsString|types.IsInteger) == 0 {
		c.Diags.Add(diag.PathType, pos, end, "%s: %s is %s, and a key is a string or a whole number", c.Who, c.pair.Value, c.name(leaf.typ)).
			Fix("look at a field that is one, such as an ID")
		return false
	}
	if leaf.quoted && basic.Info()&types.IsString != 0 {
		c.Diags.Add(diag.PathType, pos, end, "%s: %s has quotes in its JSON, which would be part of the key", c.Who, c.pair.Value).
			Fix("remove the option string from its tag json")
		return false
	}
	return true
}

// isNamed reports whether a type, or what it points to, is one of package time.
func isNamed(t types.Type, name string) bool {
	if p, ok := types.Unalias(t).(*types.Pointer); ok {
		t = p.Elem()
	}
	named, ok := types.Unalias(t).(*types.Named)
	return ok && named.Obj().Pkg() != nil && named.Obj().Pkg().Path() == "time" && named.Obj().Name() == name
}
