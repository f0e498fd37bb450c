// Command rooms prints how a Go module is divided: for each package its files,
// lines and exported names, and how far its files hang together.
//
//	go run .tools/rooms/main.go [-v] [directory]
//
// A file depends on another of its package if it uses a name that is declared
// there at package level, or a method. Files that depend on one another in both
// directions are a pair; files that reach one another, directly or through others,
// are a cycle. With -v, pairs are listed with the names that make them, and
// cycles with their files.
//
// It needs the standard library only and reads any checkout, so that an old one and
// a new one can be compared. Tests are counted by lines and otherwise left out.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"log"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

// A listed is a package as go list describes it.
type listed struct {
	ImportPath, Dir, Export            string
	DepOnly                            bool
	GoFiles, TestGoFiles, XTestGoFiles []string
	Module                             *struct{ Path string }
}

// A uses says which names of a file another file uses: by user, then by owner.
type uses map[string]map[string][]string

func main() {
	log.SetFlags(0)
	verbose := flag.Bool("v", false, "list pairs and cycles")
	flag.Parse()
	dir := "."
	if flag.NArg() > 0 {
		dir = flag.Arg(0)
	}
	packages, err := list(dir)
	if err != nil {
		log.Fatal(err)
	}
	exports := map[string]string{}
	for _, p := range packages {
		exports[p.ImportPath] = p.Export
	}
	slices.SortFunc(packages, func(a, b listed) int { return strings.Compare(a.ImportPath, b.ImportPath) })

	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "files\tlines\ttest lines\tnames\tmethods\tfields\tlargest cycle\tpairs\t  package")
	var total figures
	var details strings.Builder
	for _, p := range packages {
		if p.DepOnly || len(p.GoFiles) == 0 {
			continue
		}
		f, err := measure(p, exports)
		if err != nil {
			log.Fatalf("%s: %v", p.ImportPath, err)
		}
		name := "." + strings.TrimPrefix(p.ImportPath, p.Module.Path)
		f.print(w, name)
		total.add(f)
		f.explain(&details, name)
	}
	total.print(w, "in all")
	w.Flush()
	if *verbose {
		fmt.Print(details.String())
	}
}

// list runs go list in a directory, with export data of all that is imported.
func list(dir string) (packages []listed, err error) {
	cmd := exec.Command("go", "list", "-deps", "-export", "-json=ImportPath,Dir,Export,DepOnly,GoFiles,TestGoFiles,XTestGoFiles,Module", "./...")
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list in %s: %w", dir, err)
	}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, err
		}
		packages = append(packages, p)
	}
}

// figures are what is counted in a package.
type figures struct {
	files, lines, testLines, names, methods, fields int

	cycles [][]string
	pairs  [][2]string
	uses   uses
	// cycle and pair are what is printed of cycles and pairs.
	cycle, pair int
}

func (f figures) print(w io.Writer, name string) {
	fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t  %s\n", f.files, f.lines, f.testLines, f.names, f.methods, f.fields, f.cycle, f.pair, name)
}

// add adds the figures of a package to a total, of whose cycles the largest counts.
func (f *figures) add(g figures) {
	f.files, f.lines, f.testLines = f.files+g.files, f.lines+g.lines, f.testLines+g.testLines
	f.names, f.methods, f.fields = f.names+g.names, f.methods+g.methods, f.fields+g.fields
	f.cycle, f.pair = max(f.cycle, g.cycle), f.pair+g.pair
}

// explain writes out the cycles and pairs of a package.
func (f figures) explain(w io.Writer, name string) {
	for _, c := range f.cycles {
		fmt.Fprintf(w, "\n%s: a cycle of %d files: %s\n", name, len(c), strings.Join(c, ", "))
	}
	for _, p := range f.pairs {
		fmt.Fprintf(w, "\n%s: %s and %s\n", name, p[0], p[1])
		fmt.Fprintf(w, "\t%s uses %s\n", p[0], strings.Join(f.uses[p[0]][p[1]], ", "))
		fmt.Fprintf(w, "\t%s uses %s\n", p[1], strings.Join(f.uses[p[1]][p[0]], ", "))
	}
}

// measure parses and checks a package and counts what is in it.
func measure(p listed, exports map[string]string) (f figures, err error) {
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range p.GoFiles {
		file, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return f, err
		}
		files = append(files, file)
		f.lines += fset.File(file.FileStart).LineCount()
	}
	f.files = len(files)
	for _, name := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
		text, err := os.ReadFile(filepath.Join(p.Dir, name))
		if err != nil {
			return f, err
		}
		f.testLines += bytes.Count(text, []byte("\n"))
	}
	config := types.Config{Importer: importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	})}
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	pkg, err := config.Check(p.ImportPath, fset, files, info)
	if err != nil {
		return f, err
	}
	f.count(pkg)
	f.uses = fileUses(fset, pkg, info)
	f.pairs, f.cycles = f.uses.pairs(), f.uses.cycles()
	f.pair = len(f.pairs)
	for _, c := range f.cycles {
		f.cycle = max(f.cycle, len(c))
	}
	return f, nil
}

// count counts the exported names of a package, and the methods and fields of its
// exported types.
func (f *figures) count(pkg *types.Package) {
	for _, name := range pkg.Scope().Names() {
		obj := pkg.Scope().Lookup(name)
		if !obj.Exported() {
			continue
		}
		f.names++
		t, ok := obj.(*types.TypeName)
		if !ok || t.IsAlias() {
			continue
		}
		if named, ok := t.Type().(*types.Named); ok {
			for m := range named.Methods() {
				if m.Exported() {
					f.methods++
				}
			}
		}
		if s, ok := t.Type().Underlying().(*types.Struct); ok {
			for v := range s.Fields() {
				if v.Exported() {
					f.fields++
				}
			}
		}
	}
}

// fileUses finds what each file of a package uses of the others.
func fileUses(fset *token.FileSet, pkg *types.Package, info *types.Info) uses {
	u := uses{}
	file := func(pos token.Pos) string { return filepath.Base(fset.Position(pos).Filename) }
	for ident, obj := range info.Uses {
		if f, ok := obj.(*types.Func); ok {
			obj = f.Origin()
		}
		f, isFunc := obj.(*types.Func)
		isMethod := isFunc && f.Signature().Recv() != nil
		if obj.Pkg() != pkg || obj.Parent() != pkg.Scope() && !isMethod {
			continue
		}
		from, to := file(ident.Pos()), file(obj.Pos())
		if from == to {
			continue
		}
		if u[from] == nil {
			u[from] = map[string][]string{}
		}
		if names := u[from][to]; !slices.Contains(names, obj.Name()) {
			u[from][to] = append(names, obj.Name())
			slices.Sort(u[from][to])
		}
	}
	return u
}

// pairs returns the files that use one another.
func (u uses) pairs() (pairs [][2]string) {
	for _, a := range slices.Sorted(maps.Keys(u)) {
		for _, b := range slices.Sorted(maps.Keys(u[a])) {
			if a < b && u[b][a] != nil {
				pairs = append(pairs, [2]string{a, b})
			}
		}
	}
	return pairs
}

// cycles returns the groups of files of which each reaches all others, the largest first.
func (u uses) cycles() (cycles [][]string) {
	reach := map[string]map[string]bool{}
	for a := range u {
		reach[a] = map[string]bool{}
		for todo := []string{a}; len(todo) > 0; {
			next := todo[0]
			todo = todo[1:]
			for b := range u[next] {
				if !reach[a][b] {
					reach[a][b] = true
					todo = append(todo, b)
				}
			}
		}
	}
	done := map[string]bool{}
	for _, a := range slices.Sorted(maps.Keys(u)) {
		if done[a] || !reach[a][a] {
			continue
		}
		var cycle []string
		for b := range reach[a] {
			if reach[b][a] {
				cycle = append(cycle, b)
				done[b] = true
			}
		}
		slices.Sort(cycle)
		cycles = append(cycles, cycle)
	}
	slices.SortStableFunc(cycles, func(a, b []string) int { return len(b) - len(a) })
	return cycles
}
