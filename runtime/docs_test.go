package runtime_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// declarations returns the exported functions and methods of a package, as Func or
// Type.Method, and the other exported names, each with whether it has a comment.
func declarations(t *testing.T, dir string, test bool) (funcs map[string]*ast.FuncDecl, bare []string) {
	t.Helper()
	funcs = map[string]*ast.FuncDecl{}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") != test {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		require.NoError(t, err)
		for _, decl := range file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if name := funcName(d); name != "" {
					funcs[name] = d
					if d.Doc == nil {
						bare = append(bare, dir+": "+name)
					}
				}
			case *ast.GenDecl:
				for _, name := range bareNames(d) {
					bare = append(bare, dir+": "+name)
				}
			}
		}
	}
	return funcs, bare
}

// funcName returns the name of an exported function or of a method of an exported type,
// and the empty string for others.
func funcName(d *ast.FuncDecl) string {
	if !d.Name.IsExported() {
		return ""
	}
	if d.Recv == nil {
		return d.Name.Name
	}
	receiver := d.Recv.List[0].Type
	for {
		switch r := receiver.(type) {
		case *ast.StarExpr:
			receiver = r.X
		case *ast.IndexExpr:
			receiver = r.X
		case *ast.IndexListExpr:
			receiver = r.X
		case *ast.Ident:
			if !r.IsExported() {
				return ""
			}
			return r.Name + "." + d.Name.Name
		}
	}
}

// bareNames returns the exported names of a declaration that have no comment, neither on
// the name nor on its group.
func bareNames(d *ast.GenDecl) (names []string) {
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			if s.Name.IsExported() && s.Doc == nil && d.Doc == nil {
				names = append(names, s.Name.Name)
			}
		case *ast.ValueSpec:
			for _, name := range s.Names {
				if name.IsExported() && s.Doc == nil && s.Comment == nil && d.Doc == nil {
					names = append(names, name.Name)
				}
			}
		}
	}
	return names
}

// Every exported name of the packages that programs use says what it is. Methods
// that an interface of the standard library names need not.
func TestEverythingIsDocumented(t *testing.T) {
	t.Parallel()
	usual := []string{".Error", ".Unwrap", ".Is", ".String", ".MarshalJSON", ".UnmarshalJSON", ".ServeHTTP"}
	var bare []string
	for _, root := range []string{"../dsl", "../gen", "."} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.IsDir() {
				return err
			}
			if entry.Name() == "internal" || entry.Name() == "testdata" {
				return filepath.SkipDir
			}
			_, found := declarations(t, path, false)
			bare = append(bare, found...)
			return nil
		})
		require.NoError(t, err)
	}
	bare = slices.DeleteFunc(bare, func(name string) bool {
		return slices.ContainsFunc(usual, func(method string) bool { return strings.HasSuffix(name, method) })
	})
	require.Empty(t, bare)
}

// Every function that asks the database has an example of its own and is in the
// tests of odd arguments; every other function, and every method of runs and flows,
// is in some example, unless it is there for generated code and workers.
func TestEverythingIsShown(t *testing.T) {
	t.Parallel()
	shown := inExamples(t)
	odd := allCalls(t.Context(), nil, "")
	for _, dir := range []string{".", "ops"} {
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			testShown(t, dir, shown, odd)
		})
	}
}

func testShown(t *testing.T, dir string, shown map[string]bool, odd map[string]func() error) {
	t.Helper()
	funcs, _ := declarations(t, dir, false)
	examples, _ := declarations(t, dir, true)
	var unshown, untested []string
	for _, name := range slices.Sorted(maps.Keys(funcs)) {
		function := funcs[name]
		of, method, isMethod := strings.Cut(name, ".")
		switch {
		case isMethod && of != "Run" && of != "Flow", ours(function.Doc.Text()):
			continue
		case isMethod:
			if !shown[method] {
				unshown = append(unshown, name)
			}
		case takesDB(function):
			if !hasExample(examples, "Example"+name) {
				unshown = append(unshown, name)
			}
		case !shown[name]:
			unshown = append(unshown, name)
		}
		waits := strings.HasSuffix(name, "Sync")             // which transactions have another error for
		several := name == "ListShards" || name == "ShardOf" // which query several databases only
		if takesDB(function) && !waits && !several && odd[name] == nil {
			untested = append(untested, name)
		}
	}
	require.Empty(t, unshown, "not in an example")
	require.Empty(t, untested, "not in allCalls")
}

// ours reports whether a comment says that programs do not call the function.
func ours(doc string) bool {
	doc = strings.ReplaceAll(doc, "\n", " ")
	for _, words := range []string{"Generated code calls", "Workers call", "Backends that", "Workers do this", "It is called once"} {
		if strings.Contains(doc, words) {
			return true
		}
	}
	return false
}

// inExamples returns the names that the files of examples use, with those of packages ops
// and handler.
func inExamples(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	var files []string
	for _, dir := range []string{".", "ops", "handler"} {
		found, err := filepath.Glob(filepath.Join(dir, "*example*_test.go"))
		require.NoError(t, err)
		files = append(files, found...)
	}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				names[s.Sel.Name] = true
			}
			return true
		})
	}
	return names
}

func hasExample(examples map[string]*ast.FuncDecl, name string) bool {
	for have := range examples {
		if have == name || strings.HasPrefix(have, name+"_") {
			return true
		}
	}
	return false
}

func takesDB(function *ast.FuncDecl) bool {
	return slices.ContainsFunc(function.Type.Params.List, func(f *ast.Field) bool {
		name, ok := f.Type.(*ast.Ident)
		if selector, qualified := f.Type.(*ast.SelectorExpr); qualified { // runtime.DB
			name, ok = selector.Sel, true
		}
		return ok && name.Name == "DB" && function.Name.Name != "Via"
	})
}
