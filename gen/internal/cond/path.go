package cond

import (
	"fmt"
	"go/token"
	"go/types"
	"slices"
	"unicode/utf8"

	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/jsonform"
	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/gen/internal/tags"
)

// A Target is what a path has to lead to.
type Target int

const (
	Time   Target = iota // a time.Time, or a pointer to one
	Span                 // a time.Duration, or a pointer to one
	Key                  // a string or a whole number that is always there
	Turn                 // a string or a whole number, or a pointer to one
	Unique               // a value that is the same if its JSON is: no float, no time
)

// CompilePath compiles a path to the names that the database follows. It returns nil if a
// mistake is reported.
func CompilePath(scope Scope, p *tags.Pair, target Target) *model.Path {
	c := &compiler{scope, p}
	return c.path(c.segments(0, len(p.Value)), target)
}

// CompileUnique compiles the paths of a list into the flow's input, from which they begin
// with or without Input. ok is false if a mistake is reported.
func CompileUnique(scope Scope, p *tags.Pair) (paths []*model.Path, ok bool) {
	c := &compiler{scope, p}
	ok = true
	for _, word := range p.Words() {
		path := c.path(c.inputSegments(word.Start, word.Start+len(word.Text)), Unique)
		if path == nil {
			ok = false
			continue
		}
		if slices.ContainsFunc(paths, func(other *model.Path) bool { return slices.Equal(other.Keys, path.Keys) }) {
			c.Diags.Add(diag.BadPath, word.Pos, word.End, "%s: %s has %s twice", c.Who, p.Key, word.Text).Fix("name it once")
			ok = false
		}
		paths = append(paths, path)
	}
	return paths, ok
}

// CompileRunKey compiles the path to the key of runs, into the flow's input, from which it
// begins with or without Input. It returns nil if a mistake is reported.
func CompileRunKey(scope Scope, p *tags.Pair) *model.Path {
	c := &compiler{scope, p}
	return c.path(c.inputSegments(0, len(p.Value)), Turn)
}

// inputSegments are the names of a path into the flow's input, which may leave out Input.
func (c *compiler) inputSegments(start, end int) []segment {
	segments := c.segments(start, end)
	if segments != nil && segments[0].name != input {
		segments = append([]segment{{input, start, start}}, segments...)
	}
	return segments
}

// input is the name of the flow's input in paths.
const input = "Input"

// path compiles the names of a path. It returns nil if there are none, or if a mistake is
// reported.
func (c *compiler) path(segments []segment, target Target) *model.Path {
	if segments == nil {
		return nil
	}
	p := c.pair
	first := segments[0]
	from, ok := c.Subject(tags.Word{Text: first.name, Pos: p.Pos(first.start), End: p.Pos(first.end)})
	if !ok {
		return nil
	}
	if from.Type == nil && len(segments) > 1 {
		pos, end := p.Pos(first.start), p.Pos(segments[len(segments)-1].end)
		c.Diags.Add(diag.GivesNothing, pos, end, "%s: the flow takes nothing to look at, and all its runs are alike", c.Who).
			Fix(`write unique:"Input", for one run at a time`).Edit(pos, end, input)
		return nil
	} else if from.Type == nil {
		return &model.Path{Text: input, Keys: []string{from.Key}, Way: model.Term{Key: from.Key, Start: from.Name}}
	}
	leaf, keys, hops, ok := c.walk(from, segments[1:])
	if !ok || !c.leadsTo(target, from, segments, leaf, hops) {
		return nil
	}
	way := model.Term{Key: from.Key, Start: from.Name, Path: hops}
	way.Type, _ = jsonform.Pointee(from.Type)
	text := p.Value[segments[0].start:segments[len(segments)-1].end]
	return &model.Path{Text: text, Keys: append([]string{from.Key}, keys...), Type: leaf.typ, Way: way, Omitted: leaf.omitted}
}

// segments reads the names of a path that stands from one byte of the value to another, or
// returns nil and says what is wrong.
func (c *compiler) segments(from, to int) (list []segment) {
	p := &parser{source: c.pair.Value[:to], i: from}
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
		Fix("%s", pathForm(c.pair.Key))
	return nil
}

// pathForm says how paths are written.
func pathForm(key string) string {
	if key == "unique" {
		return "write fields of the flow's input, with commas between them, as in AccountID, Region.Code"
	}
	return "write Input or a step, and names of fields after it, as in Input.ID"
}

// leadsTo reports whether a path leads to what it should, and says so if not.
func (c *compiler) leadsTo(target Target, from Subject, path []segment, leaf member, hops []model.Hop) bool {
	pos, end := c.pair.Pos(0), c.pair.End()
	switch {
	case target == Key:
		return c.isThere(from, path, hops) && c.isKey(leaf)
	case target == Turn:
		return c.isKey(leaf)
	case target == Unique:
		return c.isUnique(from, path, leaf, hops)
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

// isThere reports whether a path leads to what is never absent, and says so if not: a run
// without a key could not be found.
func (c *compiler) isThere(from Subject, path []segment, hops []model.Hop) bool {
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
	return true
}

// isKey reports whether a path leads to what can be a key, and says so if not.
func (c *compiler) isKey(leaf member) bool {
	pos, end := c.pair.Pos(0), c.pair.End()
	if method := jsonform.Marshaler(leaf.typ, true); method != "" {
		c.Diags.Add(diag.PathType, pos, end, "%s: %s is %s, which has %s, and a key is a string or a whole number as it is", c.Who, c.pair.Value, c.name(leaf.typ), method).
			Fix("look at a field of a plain type, such as an ID")
		return false
	}
	typ, _ := jsonform.Pointee(leaf.typ)
	basic, ok := typ.Underlying().(*types.Basic)
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

// isUnique reports whether a path leads to a value by which runs can be alike, and says so if
// not: one that is always there, and is the same in JSON if and only if it is in Go.
func (c *compiler) isUnique(from Subject, path []segment, leaf member, hops []model.Hop) bool {
	first, last := path[0], path[len(path)-1]
	pos, end := c.pair.Pos(first.start), c.pair.Pos(last.end)
	text := c.pair.Value[first.start:last.end]
	refuse := func(fix, format string, args ...any) bool {
		c.Diags.Add(diag.PathType, pos, end, "%s: %s %s", c.Who, text, fmt.Sprintf(format, args...)).Fix("%s", fix)
		return false
	}
	const always = "look at a value that is always there"
	if _, pointer := jsonform.Pointee(from.Type); pointer {
		return refuse(always, "looks into %s, and if that is nil, all such runs would be alike", c.name(from.Type))
	}
	for _, hop := range hops {
		switch {
		case hop.Pointer && hop.Name == last.name:
			return refuse(always, "is a pointer, and if it is nil, all such runs would be alike")
		case hop.Pointer:
			return refuse(always, "leads through the pointer %s, and if it is nil, all such runs would be alike", hop.Name)
		}
	}
	if isNamed(leaf.typ, "Time") {
		return refuse("give the input a field with the day, or whatever else has to be the same", "is a time.Time, and hardly ever the same twice")
	}
	method := jsonform.Marshaler(leaf.typ, true)
	basic, ok := leaf.typ.Underlying().(*types.Basic)
	switch {
	case method == "MarshalText":
		return true
	case method != "":
		return refuse("look at a field of a plain type, such as an ID", "is %s, which has %s, so nothing is known of its JSON", c.name(leaf.typ), method)
	case ok && basic.Info()&types.IsFloat != 0:
		return refuse("look at a whole number or a string", "is %s, and fractions are hardly ever the same", c.name(leaf.typ))
	case !ok || basic.Info()&(types.IsString|types.IsInteger|types.IsBoolean) == 0:
		return refuse("look at a field that is one, such as an ID", "is %s, and runs are alike by strings, whole numbers and bools", c.name(leaf.typ))
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
