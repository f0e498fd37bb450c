package load

import (
	"go/ast"
	"go/build"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io"
	"path/filepath"
	"strings"
)

// Constraint returns what a build has to meet for a file to be part of it: its build
// constraint, the system in its name, and cgo if it needs that. It is nil if
// every build has the file.
func Constraint(fset *token.FileSet, file *ast.File) constraint.Expr {
	all := written(file)
	name := fset.PositionFor(file.Package, false).Filename
	if original, generated := strings.CutSuffix(filepath.Base(name), ".cgo1.go"); generated { // by the cgo tool
		name = original + ".go"
	}
	for _, tag := range systems(filepath.Base(name)) {
		all = append(all, &constraint.TagExpr{Tag: tag})
	}
	if usesCgo(file) || strings.HasSuffix(fset.PositionFor(file.Package, false).Filename, ".cgo1.go") {
		all = append(all, &constraint.TagExpr{Tag: "cgo"})
	}
	if len(all) == 0 {
		return nil
	}
	whole := all[0]
	for _, x := range all[1:] {
		whole = &constraint.AndExpr{X: whole, Y: x}
	}
	return whole
}

// written returns the constraints that stand above the package clause. A line of the
// new form replaces those of the old one.
func written(file *ast.File) (all []constraint.Expr) {
	for _, group := range file.Comments {
		for _, line := range group.List {
			if line.Pos() > file.Package {
				return all
			}
			x, err := constraint.Parse(line.Text)
			switch {
			case err != nil: // a comment like others
			case constraint.IsGoBuild(line.Text):
				return []constraint.Expr{x}
			case group != file.Doc: // one that touches the package clause means nothing
				all = append(all, x)
			}
		}
	}
	return all
}

// systems returns the GOOS and GOARCH that the name of a file stands for, which the
// go command reads out of it.
func systems(name string) (tags []string) {
	base, _, _ := strings.Cut(name, ".")
	words := strings.Split(base, "_")
	n := len(words)
	if n < 2 || matches("x_"+words[n-1], build.Context{}) {
		return nil
	}
	if n > 2 && !matches("x_"+words[n-2]+"_"+words[n-1], build.Context{GOARCH: words[n-1]}) {
		return words[n-2:]
	}
	return words[n-1:]
}

// matches reports whether a build has a file, as far as its name decides.
func matches(name string, system build.Context) bool {
	system.OpenFile = func(string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader("package x\n")), nil
	}
	ok, err := system.MatchFile("", name+".go")
	return ok || err != nil
}

// OnlySome reports whether only some systems would build a file of this name
// without its extension.
func OnlySome(name string) bool { return systems(name+".go") != nil }

func usesCgo(file *ast.File) bool {
	for _, spec := range file.Imports {
		if spec.Path.Value == `"C"` {
			return true
		}
	}
	return false
}

// whyLeftOut says which builds have a file that this one leaves out, and how to
// get one.
func whyLeftOut(path string) (why, fix string) {
	fix = "give the tags that it needs with -tags, or set GOFLAGS, GOOS or GOARCH"
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.ImportsOnly|parser.SkipObjectResolution)
	if err != nil {
		return "build constraints leave it out", fix
	}
	x := Constraint(fset, file)
	if x == nil {
		return "build constraints leave it out", fix
	}
	if tags := wanted(x); tags != nil {
		fix = "-tags " + strings.Join(tags, ",") + ", or GOFLAGS=-tags=" + strings.Join(tags, ",")
	}
	return "build constraints leave it out: it needs " + x.String(), fix
}

// wanted returns the tags that together meet a constraint, if it is no more than a
// list of tags of the user's own.
func wanted(x constraint.Expr) []string {
	switch x := x.(type) {
	case *constraint.TagExpr:
		if x.Tag != "cgo" && !OnlySome("x_"+x.Tag) && x.Tag != "unix" && !strings.HasPrefix(x.Tag, "go1.") {
			return []string{x.Tag}
		}
	case *constraint.AndExpr:
		if a, b := wanted(x.X), wanted(x.Y); a != nil && b != nil {
			return append(a, b...)
		}
	}
	return nil
}
