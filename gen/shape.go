package gen

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A NewShape is a flow whose steps are no longer those that its file was
// generated for, while its slug is the same. The database refuses to change the
// shape of a flow that it has.
type NewShape struct {
	// Path is the generated file, Flow the name of the declaration.
	Path string `json:"path"`
	Flow string `json:"flow"`
	// Slug is the slug of both shapes, Version what version of it the new one
	// should be.
	Slug    string `json:"slug"`
	Version int    `json:"version"`
	// Differences are what is different, in words.
	Differences []string `json:"differences"`
}

// String returns what is different and what to do.
func (n NewShape) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s has a new shape, which a database that has the old one will refuse", n.Path, n.Slug)
	for _, d := range n.Differences {
		b.WriteString("\n\t" + d)
	}
	fmt.Fprintf(&b, "\n\tfix: tag %s version:\"%d\", so that runs of the old shape can finish; or leave it, if there is no such run", n.Flow, n.Version)
	return b.String()
}

// A LostForm is a flow whose Go types read less than those that its file was generated
// for have written, under the same slug: what runs in flight have is lost in part, or
// cannot be read.
type LostForm struct {
	// Path is the generated file, Flow the name of the declaration, Slug its slug and
	// Version the next one.
	Path    string `json:"path"`
	Flow    string `json:"flow"`
	Slug    string `json:"slug"`
	Version int    `json:"version"`
	// Differences are what is lost, in words.
	Differences []string `json:"differences"`
}

// String returns what is lost and what to do.
func (l LostForm) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: the types of %s no longer read all that runs in flight have", l.Path, l.Slug)
	for _, d := range l.Differences {
		b.WriteString("\n\t" + d)
	}
	fmt.Fprintf(&b, "\n\tfix: keep the old name with a json tag, or tag %s version:\"%d\", so that runs in flight are worked by the old program; or leave it, if there is no such run (handler.Strict() makes such a run fail rather than lose a value)", l.Flow, l.Version)
	return b.String()
}

// A NewShapesError holds new shapes, and types that read less, under old slugs, with
// Options.Strict.
type NewShapesError struct {
	Shapes []NewShape
	Forms  []LostForm
}

// Error returns the texts of all of them.
func (e *NewShapesError) Error() string {
	var texts []string
	for _, s := range e.Shapes {
		texts = append(texts, s.String())
	}
	for _, l := range e.Forms {
		texts = append(texts, l.String())
	}
	return strings.Join(texts, "\n")
}

// A step in the evolution of a flow is what is different between a generated file and
// what is to replace it.
type evolution struct {
	shape       []string // steps, edges, conditions
	forms       []string // what the new types cannot read
	optionsOnly bool
	replaces    string // the slug of the version before, if the new file is of another
	old         string // the declaration of that version, on one line
}

// evolve compares a generated file with what is to replace it. It is empty if the old
// file cannot be read as one of ours, or is of another flow.
func evolve(before, after []byte, home string) (e evolution) {
	a, okBefore := readShape(before)
	b, okAfter := readShape(after)
	if !okBefore || !okAfter {
		return e
	}
	if a.slug != b.slug {
		was, version := spec.VersionOf(a.slug)
		is, next := spec.VersionOf(b.slug)
		if was == is && version < next {
			e.replaces, e.old = a.slug, oldDeclaration(before, home, a.slug, version)
		}
		return e
	}
	e.shape = a.compare(b)
	e.forms = spec.CompareForms(a.forms, b.forms)
	e.optionsOnly = len(e.shape) == 0 && !slices.Equal(a.options, b.options)
	return e
}

// formsBlock is where the forms stand in a generated file, in Go and in SQL.
var formsBlock = regexp.MustCompile(`(?ms)^\tForms:\s+&spec\.Forms\{.*?^\t\},\r?\n|^  "forms": [^\n]*\n`)

// onlyMoreForms reports whether two files differ in nothing but the forms, and nothing
// is lost from the one to the other.
func onlyMoreForms(before, after []byte) bool {
	a, b := formsBlock.ReplaceAll(before, nil), formsBlock.ReplaceAll(after, nil)
	if !bytes.Equal(a, b) {
		return false
	}
	was, ok := readShape(before)
	is, _ := readShape(after)
	return !ok || was.forms != nil && len(spec.CompareForms(was.forms, is.forms)) == 0
}

// A shape is what the Definition of a generated file says.
type shape struct {
	slug    string
	steps   []shapeStep
	options []string // what can change in place, as it is written
	forms   *spec.Forms
}

// A shapeStep is what the database compares of a step.
type shapeStep struct {
	slug                     string
	typ                      string
	deps                     []string
	cond, condNot            string
	whenUnmet, whenExhausted string
}

// readShape reads the Definition out of a generated file.
func readShape(source []byte) (s shape, ok bool) {
	file, err := parser.ParseFile(token.NewFileSet(), "", source, parser.SkipObjectResolution)
	if err != nil {
		return s, false
	}
	values := map[string]ast.Expr{}
	for _, decl := range file.Decls {
		if gen, ok := decl.(*ast.GenDecl); ok {
			for _, spec := range gen.Specs {
				if v, ok := spec.(*ast.ValueSpec); ok && len(v.Names) == 1 && len(v.Values) == 1 {
					values[v.Names[0].Name] = v.Values[0]
				}
			}
		}
	}
	s.slug = text(values["Slug"])
	fields := keyed(values["Definition"])
	if s.slug == "" || fields == nil {
		return s, false
	}
	for _, field := range fields {
		switch field.Key.(*ast.Ident).Name {
		case "Slug", "Result", "Conditions":
			continue
		case "Forms":
			s.forms = readForms(field.Value)
			continue
		}
		steps, isSteps := field.Value.(*ast.CompositeLit)
		if !isSteps {
			s.options = append(s.options, written(field))
			continue
		}
		for _, literal := range steps.Elts {
			s.readStep(literal)
		}
	}
	return s, true
}

// readForms reads the literal of spec.Forms.
func readForms(expr ast.Expr) *spec.Forms {
	if address, ok := expr.(*ast.UnaryExpr); ok {
		expr = address.X
	}
	forms := &spec.Forms{Steps: map[string]string{}, Types: map[string]map[string]string{}}
	for key, value := range elements(expr) {
		switch key {
		case "Input":
			forms.Input = text(value)
		case "Steps":
			forms.Steps = textMap(value)
		case "Types":
			for _, pair := range pairs(value) {
				forms.Types[text(pair.Key)] = textMap(pair.Value)
			}
		}
	}
	return forms
}

// textMap is a map of texts.
func textMap(expr ast.Expr) map[string]string {
	m := map[string]string{}
	for _, pair := range pairs(expr) {
		m[text(pair.Key)] = text(pair.Value)
	}
	return m
}

func pairs(expr ast.Expr) (all []*ast.KeyValueExpr) {
	if literal, ok := expr.(*ast.CompositeLit); ok {
		for _, e := range literal.Elts {
			if pair, ok := e.(*ast.KeyValueExpr); ok {
				all = append(all, pair)
			}
		}
	}
	return all
}

func (s *shape) readStep(literal ast.Expr) {
	step := shapeStep{slug: s.slug, typ: "TypeSingle", whenUnmet: "ModeSkip", whenExhausted: "ModeFail"}
	for _, field := range keyed(literal) {
		switch field.Key.(*ast.Ident).Name {
		case "Slug":
			if slug := text(field.Value); slug != "" {
				step.slug = slug // a job's is the constant
			}
		case "Type":
			step.typ = selected(field.Value)
		case "Deps":
			for _, dep := range field.Value.(*ast.CompositeLit).Elts {
				step.deps = append(step.deps, text(dep))
			}
			slices.Sort(step.deps)
		case "If":
			step.cond = pattern(field.Value)
		case "IfNot":
			step.condNot = pattern(field.Value)
		case "WhenUnmet":
			step.whenUnmet = selected(field.Value)
		case "WhenExhausted":
			step.whenExhausted = selected(field.Value)
		default:
			s.options = append(s.options, step.slug+"."+written(field))
		}
	}
	s.steps = append(s.steps, step)
}

// elements are the values of a literal by key.
func elements(expr ast.Expr) map[string]ast.Expr {
	byKey := map[string]ast.Expr{}
	for _, field := range keyed(expr) {
		byKey[field.Key.(*ast.Ident).Name] = field.Value
	}
	return byKey
}

// keyed are the key: value pairs of a literal.
func keyed(expr ast.Expr) (fields []*ast.KeyValueExpr) {
	literal, ok := expr.(*ast.CompositeLit)
	if !ok {
		return nil
	}
	for _, e := range literal.Elts {
		if field, ok := e.(*ast.KeyValueExpr); ok {
			if _, named := field.Key.(*ast.Ident); named {
				fields = append(fields, field)
			}
		}
	}
	return fields
}

// text is the value of a string literal, or "".
func text(expr ast.Expr) string {
	literal, ok := expr.(*ast.BasicLit)
	if !ok {
		return ""
	}
	s, _ := strconv.Unquote(literal.Value)
	return s
}

// selected is the X of spec.X.
func selected(expr ast.Expr) string {
	if selector, ok := expr.(*ast.SelectorExpr); ok {
		return selector.Sel.Name
	}
	return ""
}

// pattern is the JSON of json.RawMessage(`…`), its members in order.
func pattern(expr ast.Expr) string {
	call, ok := expr.(*ast.CallExpr)
	if !ok || len(call.Args) != 1 {
		return ""
	}
	raw := text(call.Args[0])
	var v any
	d := json.NewDecoder(strings.NewReader(raw))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return raw
	}
	ordered, _ := json.Marshal(v) // it was JSON
	return string(ordered)
}

// written is a node as Go.
func written(n ast.Node) string {
	var b bytes.Buffer
	_ = printer.Fprint(&b, token.NewFileSet(), n) // into memory
	return b.String()
}

// compare says what is different in b, in the way the database looks at it: step
// by step, in their order.
func (a shape) compare(b shape) (differences []string) {
	say := func(format string, args ...any) { differences = append(differences, fmt.Sprintf(format, args...)) }
	before, after := a.slugs(), b.slugs()
	for _, s := range a.steps {
		if !slices.Contains(after, s.slug) {
			say("step %s is gone", s.slug)
		}
	}
	for _, s := range b.steps {
		if !slices.Contains(before, s.slug) {
			say("step %s is new", s.slug)
		}
	}
	if len(differences) == 0 && !slices.Equal(before, after) {
		say("the order of the steps was %s, and is %s", strings.Join(before, ", "), strings.Join(after, ", "))
	}
	for _, old := range a.steps {
		i := slices.Index(after, old.slug)
		if i < 0 {
			continue
		}
		s := b.steps[i]
		if old.typ != s.typ {
			say("step %s was a %s, and is a %s", s.slug, kind(old.typ), kind(s.typ))
		}
		if !slices.Equal(old.deps, s.deps) {
			say("step %s waited for %s, and waits for %s", s.slug, orNone(strings.Join(old.deps, ", ")), orNone(strings.Join(s.deps, ", ")))
		}
		for _, c := range []struct{ name, old, new string }{
			{"if", old.cond, s.cond},
			{"if_not", old.condNot, s.condNot},
			{"when_unmet", mode(old.whenUnmet), mode(s.whenUnmet)},
			{"when_exhausted", mode(old.whenExhausted), mode(s.whenExhausted)},
		} {
			if c.old != c.new {
				say("the %s of step %s was %s, and is %s", c.name, s.slug, orNone(c.old), orNone(c.new))
			}
		}
	}
	return differences
}

func (a shape) slugs() (slugs []string) {
	for _, s := range a.steps {
		slugs = append(slugs, s.slug)
	}
	return slugs
}

// mode is a mode as it stands in a tag.
func mode(name string) string {
	switch name {
	case "ModeFail":
		return string(model.Fail)
	case "ModeSkip":
		return string(model.Skip)
	}
	return string(model.SkipCascade)
}

// kind is the type of a step in words.
func kind(typ string) string {
	if typ == "TypeMap" {
		return "map"
	}
	return "single step"
}

func orNone(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}
