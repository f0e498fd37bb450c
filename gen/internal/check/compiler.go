package check

import (
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strconv"
	"strings"

	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/load"
	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/gen/nearest"
)

// explain adds to what the compiler says of a declaration what to do about it.
func (c *checker) explain(b *diag.Builder, p load.Problem) {
	if name, undefined := strings.CutPrefix(p.Message, "undefined: "); undefined {
		c.explainUndefined(b, p.Pos, name)
	}
	if strings.HasPrefix(p.Message, "not enough type arguments for type ") {
		b.Fix("name both, what goes in and what comes out; dsl.None stands for nothing")
	}
}

// lacksDSL reports whether a problem is that a file uses package dsl without
// importing it, or by another name, and says so once for each file.
func (c *checker) lacksDSL(p load.Problem, told map[*ast.File]bool) bool {
	qualifier, undefined := strings.CutPrefix(p.Message, "undefined: ")
	if !undefined || strings.Contains(qualifier, ".") {
		return false
	}
	file := c.fileAt(p.Pos)
	if file == nil {
		return false
	}
	selected := selectedAt(file, p.Pos)
	if selected == "" {
		return false
	}
	end := p.Pos + token.Pos(len(qualifier))
	for local, imported := range c.importsAt(p.Pos) {
		if imported.Path() == model.DSL && local != qualifier {
			c.diags.Add(diag.MissingDSL, p.Pos, end, "%s", p.Message).
				Fix("write %s, as this file calls %s", local, model.DSL).Edit(p.Pos, end, local)
			return true
		}
	}
	if qualifier != "dsl" && !isMarker(selected) {
		return false
	}
	if !told[file] {
		told[file] = true
		line := strconv.Quote(model.DSL)
		if qualifier != "dsl" {
			line = qualifier + " " + line
		}
		c.diags.Add(diag.MissingDSL, p.Pos, end, "%s", p.Message).
			Fix("import %s", line).Edit(file.Name.End(), file.Name.End(), "\n\nimport "+line)
	}
	return true
}

func isImportOfDSL(spec *ast.ImportSpec) bool {
	return strings.Trim(spec.Path.Value, "`\"") == model.DSL
}

// isMarker reports whether package dsl has a type of a name.
func isMarker(name string) bool {
	return isHead(name) || name == "Step" || name == "Map" || name == "Wait" || name == "None"
}

// selectedAt returns what is selected of the package whose name stands at a place: Job
// of dsl.Job. It is "" if no such name stands there.
func selectedAt(file *ast.File, pos token.Pos) (name string) {
	ast.Inspect(file, func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok && selector.X.Pos() == pos {
			if _, plain := selector.X.(*ast.Ident); plain {
				name = selector.Sel.Name
			}
		}
		return n == nil || n.Pos() <= pos && pos <= n.End()
	})
	return name
}

// explainUndefined finds the type that was probably meant.
func (c *checker) explainUndefined(b *diag.Builder, pos token.Pos, name string) {
	qualifier, short, qualified := strings.Cut(name, ".")
	file := c.fileAt(pos)
	if !qualified && isMarker(name) && file != nil && !slices.ContainsFunc(file.Imports, isImportOfDSL) {
		b.Fix("write dsl.%s, and import %q", name, model.DSL)
		return
	}
	if !qualified {
		short = name
		if near := nearest.Name(name, typeNames(c.pkg.Types, true)); near != "" {
			b.Fix("did you mean %s?", near).Edit(pos, pos+token.Pos(len(name)), near)
			return
		}
	}
	for local, imported := range c.importsAt(pos) {
		names := typeNames(imported, false)
		switch {
		case qualified && local == qualifier:
			if near := nearest.Name(short, names); near != "" {
				b.Fix("did you mean %s.%s?", qualifier, near).Edit(pos, pos+token.Pos(len(short)), near)
			}
			return
		case !qualified && imported.Path() == model.DSL:
			for _, marker := range names {
				if marker == short {
					b.Fix("did you mean %s.%s?", local, short).Edit(pos, pos, local+".")
					return
				}
			}
		}
	}
	switch {
	case qualified:
	case file != nil && selectedAt(file, pos) != "":
		b.Fix("import the package that it is to stand for")
	default:
		b.Fix("declare it: type %s struct { … }", short)
	}
}

// importsAt returns the packages that the file of a place imports, by their names there.
func (c *checker) importsAt(pos token.Pos) map[string]*types.Package {
	imports := map[string]*types.Package{}
	if file := c.fileAt(pos); file != nil {
		for _, spec := range file.Imports {
			if name := c.pkg.Info.PkgNameOf(spec); name != nil {
				imports[name.Name()] = name.Imported()
			}
		}
	}
	return imports
}

// fileAt returns the file of a place, or nil.
func (c *checker) fileAt(pos token.Pos) *ast.File {
	for _, file := range c.pkg.Files {
		if file.FileStart <= pos && pos <= file.FileEnd {
			return file
		}
	}
	return nil
}

// typeNames returns the types of a package.
func typeNames(p *types.Package, hidden bool) (names []string) {
	for _, name := range p.Scope().Names() {
		if t, ok := p.Scope().Lookup(name).(*types.TypeName); ok && (hidden || t.Exported()) {
			names = append(names, name)
		}
	}
	return names
}

// reportProblems reports, in the compiler's words, what is wrong where a
// declaration stands or a type that it reaches. What is broken elsewhere in the
// package is for go build to report, unless a declaration is broken for no other
// reason.
func (c *checker) reportProblems(declared []*declaration) {
	ranges := c.suspects
	for _, d := range declared {
		ranges = append(ranges, d.spec)
	}
	for _, file := range c.pkg.Files {
		for _, decl := range file.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.TYPE {
				continue
			}
			for _, spec := range gen.Specs {
				name, _ := c.pkg.Info.Defs[spec.(*ast.TypeSpec).Name].(*types.TypeName)
				if name != nil && c.reached[name] {
					ranges = append(ranges, spec)
				}
			}
		}
	}
	var inside []load.Problem
	for _, p := range c.pkg.Problems {
		if within(ranges, p.Pos) {
			inside = append(inside, p)
		}
	}
	if len(inside) == 0 && c.broken {
		inside = c.pkg.Problems
	}
	var last *diag.Builder
	noDSL := map[*ast.File]bool{} // files that were said to lack dsl
	for _, p := range inside {
		more, continued := strings.CutPrefix(p.Message, "\t") // the compiler's own way to add a note
		switch {
		case continued && last != nil:
			last.NoteAt(p.Pos, "%s", more)
		case continued: // a note on what is not reported
		case strings.HasSuffix(p.Message, " redeclared") && within(c.nameless, p.Pos):
			last = nil
		case c.lacksDSL(p, noDSL):
			last = nil
		case p.Pos.IsValid():
			last = c.diags.Add(diag.DoesNotCompile, p.Pos, token.NoPos, "%s", p.Message)
			c.explain(last, p)
		default:
			c.diags.AddAt(diag.DoesNotCompile, p.At, "%s", p.Message)
		}
	}
}

// missesDSL reports whether package dsl, or what is meant as it, is imported but
// cannot be, so that no declaration can be recognised, and reports why.
func (c *checker) missesDSL() bool {
	for _, file := range c.pkg.Files {
		for _, spec := range file.Imports {
			name := c.pkg.Info.PkgNameOf(spec)
			path := strings.Trim(spec.Path.Value, "`\"")
			if !load.MeansDSL(path) || name != nil && name.Imported().Complete() {
				continue
			}
			if path != model.DSL {
				c.diags.Add(diag.MissingDSL, spec.Path.Pos(), spec.Path.End(), "there is no package %s", path).
					Fix("did you mean %s?", model.DSL).
					Edit(spec.Path.Pos(), spec.Path.End(), strconv.Quote(model.DSL))
				return true
			}
			message := "package " + model.DSL + " cannot be imported"
			at := c.diags.Fset.Position(spec.Path.Pos())
			if i := slices.IndexFunc(c.pkg.Problems, func(p load.Problem) bool { return p.At == at }); i >= 0 {
				message = c.pkg.Problems[i].Message
			}
			c.diags.Add(diag.MissingDSL, spec.Path.Pos(), spec.Path.End(), "%s", message)
			return true
		}
	}
	return false
}
