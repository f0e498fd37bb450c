package gen

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/gen/internal/check"
	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/loadtest"
	"github.com/flowc-dev/flowc/gen/internal/model"
)

// A spoiled declaration is a valid one with one thing changed: what stands from
// one offset to another.
type spoiled struct {
	what     string
	from, to int
	by       string
	// lines are those in which a mistake may be reported; there is at least one
	// mistake, and only one if one is set.
	lines []int
	one   bool
	// harmless is set if the change may cause no mistake.
	harmless bool
}

// A spoiler changes one thing at a time in a valid file.
type spoiler struct {
	source string
	fset   *token.FileSet
	file   *ast.File
	flows  []*model.Flow
	list   []spoiled
}

func (s *spoiler) offset(pos token.Pos) int { return s.fset.Position(pos).Offset }
func (s *spoiler) line(pos token.Pos) int   { return s.fset.Position(pos).Line }

// lines returns those of a node.
func (s *spoiler) lines(n ast.Node) (lines []int) {
	for i := s.line(n.Pos()); i <= s.line(n.End()); i++ {
		lines = append(lines, i)
	}
	return lines
}

// replace adds the file with what stands between two places replaced.
func (s *spoiler) replace(what string, pos, end token.Pos, by string, d spoiled) {
	old := s.source[s.offset(pos):s.offset(end)]
	d.what = fmt.Sprintf("%s: %d: %s: %q", what, s.line(pos), old, by)
	d.from, d.to, d.by = s.offset(pos), s.offset(end), by
	s.list = append(s.list, d)
}

// spoil makes every change to every flow of the file.
func (s *spoiler) spoil() {
	for _, decl := range s.file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.TYPE {
			continue
		}
		for _, spec := range gen.Specs {
			spec := spec.(*ast.TypeSpec)
			fields, ok := spec.Type.(*ast.StructType)
			if !ok {
				continue
			}
			i := slices.IndexFunc(s.flows, func(f *model.Flow) bool { return f.Name == spec.Name.Name })
			if i >= 0 {
				s.spoilFlow(s.flows[i], fields)
			} else {
				s.spoilJoin(spec.Name.Name, fields)
			}
		}
	}
}

func (s *spoiler) spoilFlow(flow *model.Flow, fields *ast.StructType) {
	for _, f := range fields.Fields.List {
		s.spoilTag(f)
		s.spoilTypes(f)
		if len(f.Names) == 1 {
			s.spoilStep(flow, fields, f)
		}
	}
}

// spoilTag misspells each key of a tag and ruins each value. Both are one
// mistake, whatever else hangs on them.
func (s *spoiler) spoilTag(f *ast.Field) {
	if f.Tag == nil || f.Tag.Value[0] != '`' {
		return
	}
	here := spoiled{lines: s.lines(f), one: true}
	tag := f.Tag.Value
	for i := 1; i < len(tag)-1; {
		colon := i + strings.IndexByte(tag[i:], ':')
		quoted, err := strconv.QuotedPrefix(tag[colon+1:])
		if err != nil {
			return
		}
		at := func(offset int) token.Pos { return f.Tag.Pos() + token.Pos(offset) }
		s.replace("misspelt key", at(colon), at(colon), "q", here)
		s.replace("ruined value", at(colon+2), at(colon+len(quoted)), "?!", here)
		s.replace("empty value", at(colon+2), at(colon+len(quoted)), "", here)
		s.replace("no colon", at(colon), at(colon+1), "=", here)
		s.replace("no quotes", at(colon+1), at(colon+2), "", here)
		i = colon + 1 + len(quoted)
		for i < len(tag)-1 && tag[i] == ' ' {
			i++
		}
	}
}

// spoilTypes misspells each name in the type of a field. A word of the compiler
// about it is enough.
func (s *spoiler) spoilTypes(f *ast.Field) {
	here := spoiled{lines: s.lines(f), one: true}
	ast.Inspect(f.Type, func(n ast.Node) bool {
		if name, ok := n.(*ast.Ident); ok && name.Name != "dsl" {
			if _, isField := n.(*ast.Field); !isField && ast.IsExported(name.Name) {
				s.replace("misspelt type", name.End(), name.End(), "q", here)
			}
		}
		_, anonymous := n.(*ast.StructType)
		return !anonymous
	})
}

// spoilStep removes a step, renames it, and gives it another type, which are
// mistakes for those who take from it and for no others.
func (s *spoiler) spoilStep(flow *model.Flow, fields *ast.StructType, f *ast.Field) {
	name := f.Names[0]
	users := spoiled{lines: append(s.users(flow, fields, name.Name), s.lines(f)...), harmless: true}
	removed := users
	removed.lines = append(slices.Clone(users.lines), s.waitsBefore(flow, fields, name.Name)...)
	s.replace("removed step", f.Pos(), f.End(), "", removed)
	s.replace("renamed step", name.End(), name.End(), "q", users)

	runes := []rune(name.Name)
	runes[0] = unicode.ToLower(runes[0])
	own := spoiled{lines: s.lines(f), one: true}
	s.replace("unexported step", name.Pos(), name.End(), string(runes), own)
	s.replace("blank step", name.Pos(), name.End(), "_", own)
	s.replace("pointer to a step", f.Type.Pos(), f.Type.Pos(), "*", own)
	s.replace("embedded step", name.Pos(), name.End(), "", own)
	twice := s.source[s.offset(f.Pos()):s.offset(f.Type.End())] + "\n"
	s.replace("step twice", f.Pos(), f.Pos(), twice, spoiled{lines: append(s.lines(f), s.line(f.End())+1), one: true})

	generic, ok := f.Type.(*ast.IndexListExpr)
	if !ok {
		return
	}
	s.replace("one type", generic.Indices[0].End(), generic.Indices[1].End(), "", own)
	out := generic.Indices[1]
	for _, other := range []string{"chan int", "struct{ X func() }", "dsl.None", "[]struct{ Other int }"} {
		s.replace("another output", out.Pos(), out.End(), other, users)
	}
	s.replace("another input", generic.Indices[0].Pos(), generic.Indices[0].End(), "[]struct{ Other int }", own)
}

// spoilJoin changes the fields of a struct that a step or the result takes, if it
// is one. A field that is found by its type may have any name.
func (s *spoiler) spoilJoin(name string, fields *ast.StructType) {
	isJoin := func(source model.Source) bool {
		return source.Kind == model.Join && strings.HasSuffix(source.Type.String(), "."+name)
	}
	if !slices.ContainsFunc(s.flows, func(f *model.Flow) bool {
		return isJoin(f.Result) || slices.ContainsFunc(f.Steps, func(step *model.Step) bool { return isJoin(step.Source) })
	}) {
		return
	}
	for _, f := range fields.Fields.List {
		here := spoiled{lines: s.lines(f), one: true}
		s.spoilTypes(f)
		s.replace("another type", f.Type.Pos(), f.Type.End(), "struct{ Other int }", here)
		s.replace("channel", f.Type.Pos(), f.Type.End(), "chan int", here)
		if len(f.Names) != 1 {
			continue
		}
		first := f.Names[0]
		s.replace("unexported field", first.Pos(), first.Pos()+1, strings.ToLower(first.Name[:1]), here)
		perhaps := spoiled{lines: s.lines(f), harmless: true}
		s.replace("renamed field", first.End(), first.End(), "q", perhaps)
		s.replace("field of no step", f.Pos(), f.Pos(), "Nowhere string\n", here)
	}
}

// users returns the lines of those who take what a step gives, or look at it: steps
// with the structs that they take, and the flow's output.
func (s *spoiler) users(flow *model.Flow, fields *ast.StructType, name string) (lines []int) {
	slug := ""
	for _, step := range flow.Steps {
		if step.Name == name {
			slug = step.Slug
		}
	}
	for _, step := range flow.Steps {
		if slices.Contains(step.Deps, slug) {
			for _, f := range fields.Fields.List {
				if len(f.Names) == 1 && f.Names[0].Name == step.Name {
					lines = append(lines, s.lines(f)...)
				}
			}
			lines = append(lines, s.linesOf(step.Source)...)
		}
	}
	return append(append(lines, s.lines(fields.Fields.List[0])...), s.linesOf(flow.Result)...)
}

// waitsBefore returns the lines of the waits that a step comes after, which may have
// nothing after them without it.
func (s *spoiler) waitsBefore(flow *model.Flow, fields *ast.StructType, name string) (lines []int) {
	for _, step := range flow.Steps {
		for _, before := range flow.Steps {
			if step.Name != name || !before.Wait || !slices.Contains(step.Deps, before.Slug) {
				continue
			}
			for _, f := range fields.Fields.List {
				if len(f.Names) == 1 && f.Names[0].Name == before.Name {
					lines = append(lines, s.lines(f)...)
				}
			}
		}
	}
	return lines
}

// linesOf returns the lines of the struct that a source fills.
func (s *spoiler) linesOf(source model.Source) (lines []int) {
	if source.Type == nil {
		return nil
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.TypeSpec); ok && strings.HasSuffix(source.Type.String(), "."+spec.Name.Name) {
			lines = append(lines, s.lines(spec)...)
		}
		return true
	})
	return lines
}

func (d spoiled) apply(source string) string { return source[:d.from] + d.by + source[d.to:] }

// check checks the spoiled file.
func (s *spoiler) check(t *testing.T, name, source string) (found []diag.Diagnostic, told string) {
	t.Helper()
	tree, err := loadtest.Load(root, map[string]string{name: source})
	if err != nil {
		t.Skip("not Go: ", err)
	}
	_, found = check.Packages(tree.Fset, tree.Packages)
	return found, texts(found, map[string]string{name: source})
}

// TestOneMistakeIsOne spoils valid declarations in one place, in every way that
// is known to it, and in two. What hangs on a mistake is not another one.
func TestOneMistakeIsOne(t *testing.T) {
	t.Parallel()
	files := goldenFiles(t)
	tried, pairs := 0, 0
	for _, name := range []string{"shop/shop.go", "skips/skips.go", "conditions/conditions.go", "options/options.go", "none/none.go", "zoo/zoo.go", "waits/waits.go", "limits/limits.go"} {
		source := files[name]
		s := &spoiler{source: source, fset: token.NewFileSet()}
		file, err := parser.ParseFile(s.fset, name, source, parser.ParseComments)
		require.NoError(t, err)
		s.file = file
		_, s.flows, _ = generate(t, map[string]string{name: source})
		s.spoil()
		tried += len(s.list)
		for _, c := range s.list {
			t.Run(c.what, func(t *testing.T) {
				t.Parallel()
				found, told := s.check(t, name, c.apply(source))
				if !c.harmless {
					require.NotEmpty(t, found)
				}
				if c.one {
					require.True(t, len(found) == 1, told)
				}
				for _, d := range found {
					require.True(t, slices.ContainsFunc(places(d), func(line int) bool { return slices.Contains(c.lines, line) }),
						"not one of lines %v\n%s", c.lines, told)
				}
			})
		}
		// One in seven pairs is enough, and of a long file fewer: they have much in common.
		every := 7
		if len(s.list) > 400 {
			every = 101
		}
		for i, second := range s.list {
			for j, first := range s.list[:i] {
				if (i+j)%every != 0 || !first.one || !second.one || first.to >= second.from {
					continue
				}
				pairs++
				t.Run(first.what+" and "+second.what, func(t *testing.T) {
					t.Parallel()
					found, told := s.check(t, name, first.apply(second.apply(source)))
					require.NotEmpty(t, found)
					require.True(t, len(found) <= 2, told)
				})
			}
		}
	}
	t.Logf("%d changes, %d pairs of them", tried, pairs)
	require.Greater(t, tried, 500)
	require.Greater(t, pairs, 2000)
}

// places returns the lines that a mistake is about.
func places(d diag.Diagnostic) []int {
	lines := []int{d.At.Line}
	for _, n := range d.Notes {
		lines = append(lines, n.At.Line)
	}
	return lines
}
