// Package load reads the packages that declare flows: their syntax and types,
// and the types of what they import from export data.
package load

import (
	"context"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/tools/go/packages"
)

// A Package is a package that may declare flows.
type Package struct {
	Path, Name, Dir string
	Module          string // its path; "" if it is not known
	Files           []*ast.File
	Types           *types.Package
	Info            *types.Info
	// Fatal is what makes the package unreadable.
	Fatal []Problem
	// Problems is what the go command and the type checker reject. The
	// package can be read all the same, except where types are invalid.
	Problems []Problem
}

// A Problem is a fault of a package in the words of the go command.
type Problem struct {
	Pos     token.Pos      // if the type checker said it
	At      token.Position // where, as far as it is known
	Message string
	Fix     string // if there is more to do than the message says
}

// ImportCycle begins the go command's message about a cycle of imports.
const ImportCycle = "import cycle"

// A Query is what to load.
type Query struct {
	// Dir is the folder from which patterns are seen.
	Dir string
	// Patterns are packages as the go command names them. A Go file stands for
	// the package that it is a part of.
	Patterns []string
	// Tags are build tags, with commas between them.
	Tags string
}

func (q Query) buildFlags() []string {
	if q.Tags == "" {
		return nil
	}
	return []string{"-tags=" + q.Tags}
}

// twoPackages begins its message about a folder that is no package, though it
// lists the files of one of them.
const twoPackages = "found packages "

// Result is what was loaded.
type Result struct {
	Fset     *token.FileSet
	Packages []*Package
	// Generated are the files that flowc wrote for flows that Packages declare,
	// or that are gone. There are none of a package that was not loaded, or some
	// of whose flows build constraints may hide.
	Generated []Generated
	// Hints say why there may be no flow.
	Hints []Hint
}

// Generated is a file that flowc wrote.
type Generated struct {
	Path string
	// Declaring is the package that declares its flow, or did; nil if nothing is
	// left of it.
	Declaring *Package
}

// A Hint is what keeps a file or a package from having flows, and what to do.
type Hint struct {
	Path, Reason, Fix string
	Declaring         string // the package to look at instead
}

// packagesLoad is the one expensive call; a test counts it.
var packagesLoad = packages.Load

// Load reads the packages that match the patterns. Of those that no pattern
// names, only the ones that import the dsl package, or have generated packages,
// are read.
func Load(ctx context.Context, q Query) (*Result, error) {
	result := &Result{Fset: token.NewFileSet()}
	patterns, files := folders(q)
	found, err := list(ctx, q, patterns)
	if err != nil {
		for _, pattern := range patterns {
			if fix := meant(q.Dir, pattern); fix != "" {
				return nil, fmt.Errorf("%w\n\tfix: %s", err, fix)
			}
		}
		return nil, err
	}
	hidden := map[string]bool{}      // folders with flows that are not seen
	var dirs []string                // to load
	generated := map[string]string{} // files that flowc wrote, and the folders of their declarations
	for _, f := range found {
		left := f.leftOut()
		written := len(below(f.Dir)) > 0
		hidden[f.Dir] = len(left) > 0 || written && len(f.inTests()) > 0
		switch p := f.unreadable(q, left, files); {
		case p != nil:
			hidden[f.Dir] = true
			result.Packages = append(result.Packages, p)
			continue
		case f.named() || f.declares() || written:
			dirs = append(dirs, f.Dir)
		}
		for _, path := range f.own() {
			generated[path] = filepath.Dir(f.Dir)
			result.Hints = append(result.Hints, Hint{Path: f.Dir, Reason: "it is generated", Declaring: filepath.Dir(f.Dir)})
		}
		for _, path := range left {
			why, fix := whyLeftOut(path)
			result.Hints = append(result.Hints, Hint{Path: path, Reason: why, Fix: fix})
		}
	}
	loaded, err := load(ctx, q, result.Fset, dirs)
	if err != nil {
		return nil, err
	}
	for _, f := range found {
		if len(loaded) > 0 && !f.named() && !hidden[f.Dir] {
			continue // tests of whole trees are not worth the reading
		}
		for _, path := range f.inTests() {
			result.Hints = append(result.Hints, Hint{
				Path: path, Reason: "it is a test file, whose flows a generated package could not import",
				Fix: "move them to a file whose name does not end with _test.go",
			})
		}
	}
	declaring := map[string]*Package{}
	for _, p := range loaded {
		result.Packages = append(result.Packages, p)
		declaring[p.Dir] = p
		for _, path := range below(p.Dir) {
			generated[path] = p.Dir
		}
	}
	for _, path := range slices.Sorted(maps.Keys(generated)) {
		dir := generated[path]
		if p := declaring[dir]; !hidden[dir] && (p != nil || empty(dir)) {
			result.Generated = append(result.Generated, Generated{path, p})
		}
	}
	return result, nil
}

// folders replaces patterns that are Go files by their folders. The files are
// absolute, so that they can be found again.
func folders(q Query) (patterns, files []string) {
	for _, pattern := range q.Patterns {
		path := pattern
		if !filepath.IsAbs(path) {
			path = filepath.Join(q.Dir, path)
		}
		if strings.HasSuffix(pattern, ".go") && isFile(path) {
			files = append(files, path)
			pattern = filepath.Dir(path)
		}
		patterns = append(patterns, pattern)
	}
	return patterns, files
}

// meant says which folder or file was meant by a pattern that matches nothing, if
// there is one.
func meant(dir, pattern string) string {
	absolute := pattern
	if !filepath.IsAbs(pattern) {
		absolute = filepath.Join(dir, pattern)
	}
	folder := strings.TrimSuffix(absolute, string(filepath.Separator)+"...")
	name := "./" + strings.TrimPrefix(path.Clean(filepath.ToSlash(pattern)), "./")
	switch {
	case pattern == "" || strings.Contains(folder, "..."):
		return ""
	case strings.HasSuffix(pattern, ".go") && isFolder(filepath.Dir(absolute)):
		if filepath.IsAbs(pattern) {
			name = filepath.ToSlash(pattern)
		}
		name = path.Dir(name)
		if !path.IsAbs(name) && name != "." {
			name = "./" + name
		}
		return "name the folder, " + name + ", or a file that is in it"
	case filepath.IsAbs(pattern), strings.HasPrefix(pattern, "."), !isFolder(folder):
		return ""
	}
	return "did you mean " + name + "?"
}

// unreadable returns a package that cannot be loaded, with what is wrong with it,
// or nil.
func (f *folder) unreadable(q Query, leftOut, files []string) *Package {
	p := &Package{Path: f.ImportPath, Dir: f.Dir}
	switch {
	case f.Dir == "": // there is none, and the go command says so
		problem := Problem{Message: f.Error.Err, Fix: meant(q.Dir, f.ImportPath)}
		if strings.Contains(problem.Message, "does not contain main module") {
			problem.Fix = "run it in a folder of the module: below its go.mod, which \"go mod init\" writes"
		}
		p.Fatal = append(p.Fatal, problem)
	default:
		all := len(f.GoFiles) == 0 && len(f.CgoFiles) == 0 && f.named()
		for _, file := range leftOut {
			if all || slices.Contains(files, file) {
				why, fix := whyLeftOut(file)
				p.Fatal = append(p.Fatal, Problem{At: token.Position{Filename: file}, Message: why, Fix: fix})
			}
		}
	}
	if p.Fatal == nil {
		return nil
	}
	return p
}

// load loads and type-checks the packages of some folders.
func load(ctx context.Context, q Query, fset *token.FileSet, dirs []string) ([]*Package, error) {
	if len(dirs) == 0 {
		return nil, nil
	}
	slices.Sort(dirs)
	loaded, err := packagesLoad(&packages.Config{
		Context:    ctx,
		Dir:        q.Dir,
		Fset:       fset,
		Mode:       packages.LoadSyntax | packages.NeedModule,
		BuildFlags: q.buildFlags(),
	}, dirs...)
	if err != nil {
		return nil, err
	}
	if len(loaded) == 0 {
		return nil, fmt.Errorf("%s matched no packages", strings.Join(q.Patterns, " "))
	}
	var converted []*Package
	for _, p := range loaded {
		converted = append(converted, convert(p))
	}
	return converted, nil
}

func convert(p *packages.Package) *Package {
	converted := &Package{
		Path:  p.PkgPath,
		Name:  p.Name,
		Dir:   p.Dir,
		Files: p.Syntax,
		Types: p.Types,
		Info:  p.TypesInfo,
	}
	if p.Module != nil {
		converted.Module = p.Module.Path
	}
	told := map[string]bool{} // the lines of syntax errors, of which the first says it
	syntax := slices.ContainsFunc(p.Errors, func(e packages.Error) bool { return e.Kind == packages.ParseError })
	for _, e := range p.Errors {
		problem := Problem{At: position(e.Pos), Message: strings.TrimSpace(e.Msg)}
		switch {
		case e.Kind == packages.TypeError:
			// They come with a Pos in TypeErrors.
		case strings.HasPrefix(problem.Message, "# "):
			// The compiler's list of what the type checker says too.
		case e.Kind == packages.ParseError:
			if line := fmt.Sprint(problem.At.Filename, ":", problem.At.Line); !told[line] {
				told[line] = true
				converted.Fatal = append(converted.Fatal, problem)
			}
		case len(p.Syntax) == 0, strings.HasPrefix(problem.Message, ImportCycle), strings.HasPrefix(problem.Message, twoPackages):
			if !syntax {
				converted.Fatal = append(converted.Fatal, problem)
			}
		default:
			converted.Problems = append(converted.Problems, problem)
		}
	}
	for _, e := range p.TypeErrors {
		converted.Problems = append(converted.Problems, Problem{Pos: e.Pos, At: e.Fset.Position(e.Pos), Message: reason(p, e.Msg)})
	}
	return converted
}

// reason returns a message of the type checker, or, if that is about a package that
// could not be imported, what the go command says of it.
func reason(p *packages.Package, message string) string {
	rest, missing := strings.CutPrefix(message, "could not import ")
	path, _, _ := strings.Cut(rest, " ")
	if imported := p.Imports[path]; missing && imported != nil && len(imported.Errors) > 0 {
		return strings.TrimSpace(imported.Errors[0].Msg)
	}
	return message
}

// position reads file:line:col, the last two optional, and "-" for nowhere.
func position(s string) (at token.Position) {
	rest, column := cutNumber(s)
	file, line := cutNumber(rest)
	if line == 0 {
		file, line, column = rest, column, 0
	}
	if file != "-" {
		at.Filename, at.Line, at.Column = file, line, column
	}
	return at
}

func cutNumber(s string) (rest string, n int) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, 0
	}
	n, err := strconv.Atoi(s[i+1:])
	if err != nil {
		return s, 0
	}
	return s[:i], n
}
