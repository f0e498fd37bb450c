package check

import (
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"

	"github.com/flowc-dev/flowc/gen/internal/cond"
	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/jsonform"
	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/gen/internal/tags"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// checkPaths compiles the paths of a step: those to when it starts, and that to its key.
func (c *checker) checkPaths(d *declaration, s *step) {
	set := s.settings
	if set.StartAt != nil {
		s.model.StartAt = cond.CompilePath(c.pathScope(d, s, "start_at"), set.StartAt, cond.Time)
	}
	if set.DelayFrom != nil {
		s.model.StartDelayFrom = cond.CompilePath(c.pathScope(d, s, "start_delay"), set.DelayFrom, cond.Span)
	}
	switch {
	case set.Key == nil:
	case s.model.Wait:
		if key := cond.CompilePath(c.pathScope(d, s, "key"), set.Key, cond.Key); key != nil &&
			c.checkNameableAt(s.who+"'s key", key.Type, set.Key.Pos(0), set.Key.End()) {
			s.model.Key = key
		}
	case !c.looksIntoElement(d, s):
		s.model.Key = cond.CompilePath(c.pathScope(d, s, "key"), set.Key, cond.Turn)
	}
}

// pathScope returns what the paths of a step can begin with: the flow's input, which every
// step has, and the steps that it waits for.
func (c *checker) pathScope(d *declaration, s *step, key string) cond.Scope {
	return cond.Scope{
		Diags: c.diags,
		Home:  c.pkg.Types,
		Who:   s.who,
		Subject: func(name tags.Word) (subject cond.Subject, ok bool) {
			p := c.pathStart(d, s, name, key)
			if p == nil || p.unclear(false) {
				return subject, false
			}
			subject = cond.Subject{Name: p.name, Key: p.key, Type: p.typ}
			if p.step != nil {
				subject.Absent = len(p.step.skippedBy(false)) > 0
			}
			return subject, true
		},
	}
}

// pathStart returns the producer that a path of a step begins with, or nil and says why.
func (c *checker) pathStart(d *declaration, s *step, name tags.Word, key string) *producer {
	if name.Text == "Input" {
		if d.in == nil {
			c.diags.Add(diag.GivesNothing, name.Pos, name.End, "%s: the flow takes nothing, so its %s cannot begin with Input", s.who, key).
				Fix("name a step that it waits for, or let the flow take something")
		}
		return d.in
	}
	return c.subjectAmong(d, s, name, key, d.pathsFrom(s))
}

// pathsFrom returns what the paths of a step can begin with.
func (d *declaration) pathsFrom(s *step) (names []string) {
	if d.in != nil {
		names = append(names, d.in.name)
	}
	for _, dep := range s.deps {
		names = append(names, dep.name.Name)
	}
	return names
}

// checkWaits looks for waits that do nothing, and describes the answers to the others.
func (c *checker) checkWaits(d *declaration, resultBound bool) {
	for _, s := range d.steps {
		if !s.model.Wait {
			continue
		}
		if s.out != nil && !s.broken {
			s.model.Answer = jsonform.Schema(s.out, c)
		}
		if resultBound && d.unused(s) {
			pos, end := where(s.name)
			b := c.diags.Add(diag.UnusedWait, pos, end, "%s: nothing takes the answer and nothing comes after it, so it would only keep the run from ending", s.who)
			if s.out != nil {
				b.Fix(`let a step or the flow's output take %s, tag a step after:"%s", or remove it`, c.name(s.out), s.name.Name)
			} else {
				b.Fix(`tag a step after:"%s", or remove it`, s.name.Name)
			}
		}
	}
}

// checkSignalNames looks for waits whose function would have the name of the one that answers
// another wait by its key.
func (c *checker) checkSignalNames(d *declaration) {
	for _, s := range d.steps {
		if !s.model.Wait || s.settings.Key == nil {
			continue
		}
		for _, other := range d.steps {
			if other.model.Wait && other.name.Name == s.name.Name+"By" {
				pos, end := where(other.name)
				c.diags.Add(diag.ReservedName, pos, end, "%s: Signal%s%s is what answers %s by its key, so no other wait can be called that", other.who, d.flow.Base, other.name.Name, s.name.Name).
					NoteAt(s.name.Pos(), "%s is declared here, with a key", s.name.Name).
					Fix("call it something else")
			}
		}
	}
}

// unused reports whether nothing takes what a step gives, or comes after it. It is false if
// another mistake stands in the way.
func (d *declaration) unused(s *step) bool {
	if d.broken || d.partial || s.broken || s.settings.Unclear || slices.Contains(resultKeys(d.flow.Result), s.model.Slug) {
		return false
	}
	return !slices.ContainsFunc(d.steps, func(other *step) bool { return !other.bound || slices.Contains(other.deps, s) })
}

// resultKeys returns the slugs of the steps that the output of a flow is made of.
func resultKeys(source model.Source) (keys []string) {
	switch source.Kind {
	case model.Output:
		return []string{source.Key}
	case model.Join:
		for _, f := range source.Fields {
			keys = append(keys, f.Key)
		}
	}
	return slices.DeleteFunc(keys, func(key string) bool { return key == spec.RunKey })
}

// TypeDoc returns the doc comment of a type, "" if it is of another package.
func (c *checker) TypeDoc(t *types.TypeName) string {
	if t.Pkg() != c.pkg.Types {
		return ""
	}
	if c.typeDocs == nil {
		c.typeDocs = map[string]string{}
		for _, file := range c.pkg.Files {
			for _, decl := range file.Decls {
				group, ok := decl.(*ast.GenDecl)
				if !ok || group.Tok != token.TYPE {
					continue
				}
				for _, s := range group.Specs {
					s := s.(*ast.TypeSpec)
					doc := s.Doc
					if doc == nil && !group.Lparen.IsValid() {
						doc = group.Doc
					}
					c.typeDocs[s.Name.Name] = oneLine(doc)
				}
			}
		}
	}
	return c.typeDocs[t.Name()]
}

// FieldDoc returns the doc comment of a field, or else the comment behind it.
func (c *checker) FieldDoc(f *types.Var) string {
	field := c.fieldAt(f.Pos())
	switch {
	case field == nil:
		return ""
	case field.Doc != nil:
		return oneLine(field.Doc)
	}
	return oneLine(field.Comment)
}

// Home returns the package.
func (c *checker) Home() *types.Package { return c.pkg.Types }

// Place returns where something stands.
func (c *checker) Place(pos token.Pos) token.Position { return c.diags.Fset.PositionFor(pos, false) }

// oneLine returns a comment as one line.
func oneLine(doc *ast.CommentGroup) string { return strings.Join(strings.Fields(text(doc)), " ") }
