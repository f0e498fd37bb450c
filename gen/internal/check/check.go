// Package check turns declarations into the model, or into everything that is
// wrong with them.
package check

import (
	"cmp"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strconv"
	"strings"

	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/load"
	"github.com/flowc-dev/flowc/gen/internal/model"
)

// Packages checks the declarations of some packages, and what holds between
// them: no two flows with one slug. It returns the flows only as far as nothing
// is wrong.
func Packages(fset *token.FileSet, pkgs []*load.Package) ([]*model.Flow, []diag.Diagnostic) {
	diags := &diag.List{Fset: fset}
	var all []*declaration
	for _, p := range pkgs {
		c := &checker{pkg: p, diags: diags}
		all = append(all, c.check()...)
	}
	checkSlugs(diags, all)
	if diags.Len() > 0 {
		return nil, diags.Sorted()
	}
	flows := make([]*model.Flow, len(all))
	for i, d := range all {
		flows[i] = d.flow
	}
	return flows, nil
}

// A checker checks one package.
type checker struct {
	pkg   *load.Package
	diags *diag.List
	// broken is set if the compiler rejects a type that a declaration reaches.
	broken bool
	// reached are the types of the package that declarations name, directly or
	// not: their problems are told, others are not ours.
	reached map[*types.TypeName]bool
	fields  map[token.Pos]*ast.Field // by the position of a name
	// suspects may be meant as flows, but the compiler rejects what says so.
	suspects []ast.Node
	// nameless are steps that are embedded, so that the compiler sees their names twice.
	nameless []ast.Node
	// importsGenerated is set if the package imports what is generated from it.
	importsGenerated bool
	// storedSeen are the faults of types in JSON that were told.
	storedSeen map[string]bool
	// hiddenSeen are the names that were said to be hidden from the generated package.
	hiddenSeen map[string]bool
}

func (c *checker) check() []*declaration {
	c.reached, c.hiddenSeen, c.storedSeen = map[*types.TypeName]bool{}, map[string]bool{}, map[string]bool{}
	defer c.reportFatal()
	if c.pkg.Types == nil || c.pkg.Info == nil {
		return nil
	}
	if slices.ContainsFunc(c.pkg.Fatal, func(p load.Problem) bool { return !strings.HasPrefix(p.Message, load.ImportCycle) }) {
		return nil // what else there is to say may be its doing
	}
	if c.missesDSL() {
		return nil
	}
	declared := c.declarations()
	for _, d := range declared {
		c.checkFlow(d)
	}
	c.checkPackages(declared)
	c.reportProblems(declared)
	return declared
}

// reportFatal tells what makes the package unreadable. A cycle of imports that
// has been explained needs no second explanation.
func (c *checker) reportFatal() {
	for _, p := range c.pkg.Fatal {
		if !c.importsGenerated || !strings.HasPrefix(p.Message, load.ImportCycle) {
			c.diags.AddAt(diag.DoesNotLoad, p.At, "%s", p.Message).Fix("%s", p.Fix)
		}
	}
}

// missesDSL reports whether package dsl, or what is meant as it, is imported but
// cannot be, so that no declaration can be recognised, and tells why.
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

// where is the source of a node.
func where(n ast.Node) (pos, end token.Pos) { return n.Pos(), n.End() }

// name writes a type as its package would.
func (c *checker) name(t types.Type) string {
	return types.TypeString(t, func(p *types.Package) string {
		if p == c.pkg.Types {
			return ""
		}
		return p.Name()
	})
}

// reportProblems tells, in the compiler's words, what is wrong where a
// declaration stands or a type that it reaches. What is broken elsewhere in the
// package is for go build to tell, unless a declaration is broken for no other
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
		case continued: // a note on what is not told
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

func within(nodes []ast.Node, pos token.Pos) bool {
	return slices.ContainsFunc(nodes, func(n ast.Node) bool { return n.Pos() <= pos && pos <= n.End() })
}

// checkSlugs finds flows that the database could not keep apart. The names of
// its queues ignore case.
func checkSlugs(diags *diag.List, all []*declaration) {
	ordered := slices.Clone(all)
	slices.SortStableFunc(ordered, func(a, b *declaration) int {
		return cmp.Or(cmp.Compare(a.pkg, b.pkg), cmp.Compare(a.spec.Pos(), b.spec.Pos()))
	})
	seen := map[string]*declaration{}
	for _, d := range ordered {
		slug := d.flow.Slug
		if slug == "" {
			continue
		}
		key := strings.ToLower(slug)
		first := seen[key]
		if first == nil {
			seen[key] = d
			continue
		}
		pos, end := d.slugPlace()
		b := diags.Add(diag.DuplicateSlug, pos, end, "%s has the slug %q, and so has %s", d.name, slug, first.name).
			NoteAt(first.spec.Name.Pos(), "%s is declared here, with the slug %q", first.name, first.flow.Slug)
		if slug != first.flow.Slug {
			b.Note("upper and lower case count as one")
		}
		b.Fix(`tag one of them slug:"…" with another one; what a database has already keeps the one it has`)
	}
}

// checkPackages checks the names of the generated packages, and that the
// declaring package does not import them.
func (c *checker) checkPackages(declared []*declaration) {
	seen := map[string]*declaration{}
	for _, d := range declared {
		name := d.flow.Package
		if name == "" {
			continue
		}
		if first := seen[strings.ToLower(name)]; first != nil {
			pos, end := where(d.spec.Name)
			if d.settings.Package != nil {
				pos, end = d.settings.Package.Pos(0), d.settings.Package.End()
			}
			b := c.diags.Add(diag.DuplicatePackage, pos, end, "%s would be generated as package %s, and so would %s", d.name, name, first.name).
				NoteAt(first.spec.Name.Pos(), "%s is declared here", first.name)
			c.suggest(b, "package", free(name, func(s string) bool { return seen[s] != nil }), d.settings.Package, d.field)
			continue
		}
		seen[strings.ToLower(name)] = d
		for _, file := range c.pkg.Files {
			for _, spec := range file.Imports {
				if strings.Trim(spec.Path.Value, "`\"") != d.flow.Path() {
					continue
				}
				c.importsGenerated = true
				pos, end := where(spec.Path)
				c.diags.Add(diag.ImportOfGenerated, pos, end, "package %s declares %s, so it cannot import %s, which is generated from it",
					c.pkg.Name, d.name, d.flow.Path()).
					Fix("move the code that uses it to another package")
			}
		}
	}
}
