// Package loadtest loads packages from memory, so that thousands of
// declarations can be tried in the time that the go command needs for one.
package loadtest

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/tools/go/packages"

	"github.com/flowc-dev/flowc/gen/internal/load"
	"github.com/flowc-dev/flowc/gen/internal/model"
)

// Module is the path of the module that the files of a test make.
const Module = "example.com/shop"

// imports are the packages that tests may import. They are loaded once.
var imports = []string{
	model.DSL, "github.com/flowc-dev/flowc/runtime", "github.com/flowc-dev/flowc/runtime/handler", "github.com/flowc-dev/flowc/runtime/spec",
	"context", "database/sql", "encoding/json", "errors", "fmt", "log/slog",
	"math/big", "net/netip", "net/url", "sync", "time",
	"github.com/google/uuid",
}

// shared loads the imports from export data, with all that they import.
var shared = sync.OnceValues(func() (map[string]*types.Package, error) {
	loaded, err := packages.Load(&packages.Config{Mode: packages.LoadTypes}, imports...)
	if err != nil {
		return nil, err
	}
	known := map[string]*types.Package{}
	var add func(p *types.Package)
	add = func(p *types.Package) {
		if known[p.Path()] == nil && p.Complete() {
			known[p.Path()] = p
		}
		for _, i := range p.Imports() {
			if known[i.Path()] == nil {
				add(i)
			}
		}
	}
	for _, p := range loaded {
		for _, e := range p.Errors {
			return nil, e
		}
		add(p.Types)
	}
	return known, nil
})

// A Tree is a module in memory.
type Tree struct {
	*load.Result
	known map[string]*types.Package
}

// Load parses and type-checks files, whose names are relative to the module,
// as load.Load does with those on disk. dir is where they pretend to be.
func Load(dir string, files map[string]string) (*Tree, error) {
	known, err := shared()
	if err != nil {
		return nil, err
	}
	t := &Tree{Result: &load.Result{Fset: token.NewFileSet()}, known: maps.Clone(known)}
	byFolder := map[string]*load.Package{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		folder := path.Dir(name)
		p := byFolder[folder]
		if p == nil {
			p = &load.Package{Path: path.Join(Module, folder), Module: Module, Dir: path.Join(dir, folder)}
			byFolder[folder] = p
			t.Packages = append(t.Packages, p)
		}
		file, err := parser.ParseFile(t.Fset, path.Join(dir, name), files[name], parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		p.Files = append(p.Files, file)
	}
	if err := t.checkAll(); err != nil {
		return nil, err
	}
	return t, nil
}

// checkAll type-checks the packages, those that are imported first.
func (t *Tree) checkAll() error {
	byPath := map[string]*load.Package{}
	for _, p := range t.Packages {
		byPath[p.Path] = p
	}
	var visit func(p *load.Package) error
	visit = func(p *load.Package) error {
		if p.Info != nil {
			return nil
		}
		p.Info = &types.Info{
			Types: map[ast.Expr]types.TypeAndValue{}, Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{},
			Instances: map[*ast.Ident]types.Instance{}, Implicits: map[ast.Node]types.Object{},
			Selections: map[*ast.SelectorExpr]*types.Selection{}, Scopes: map[ast.Node]*types.Scope{},
		}
		for _, file := range p.Files {
			for _, spec := range file.Imports {
				imported, _ := strconv.Unquote(spec.Path.Value)
				if other := byPath[imported]; other != nil {
					if err := visit(other); err != nil {
						return err
					}
				}
			}
		}
		var faults []types.Error
		config := types.Config{Importer: importer(t.known), Error: func(err error) {
			var fault types.Error
			if errors.As(err, &fault) {
				faults = append(faults, fault)
			}
		}}
		p.Types, _ = config.Check(p.Path, t.Fset, p.Files, p.Info)
		p.Name = p.Types.Name()
		for _, e := range faults {
			p.Problems = append(p.Problems, load.Problem{Pos: e.Pos, At: t.Fset.Position(e.Pos), Message: e.Msg})
		}
		t.known[p.Path] = p.Types
		return nil
	}
	for _, p := range t.Packages {
		if err := visit(p); err != nil {
			return err
		}
	}
	return nil
}

// Compile type-checks a generated package that imports the packages of the tree.
func (t *Tree) Compile(importPath string, source []byte) error {
	file, err := parser.ParseFile(t.Fset, path.Base(importPath)+load.GeneratedSuffix, source, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	var faults []string
	config := types.Config{Importer: importer(t.known), Error: func(err error) { faults = append(faults, err.Error()) }}
	p, _ := config.Check(importPath, t.Fset, []*ast.File{file}, nil)
	if len(faults) > 0 {
		return fmt.Errorf("%s", strings.Join(faults, "\n"))
	}
	t.known[importPath] = p
	return nil
}

type importer map[string]*types.Package

func (known importer) Import(path string) (*types.Package, error) {
	if p := known[path]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("package %s is not there", path)
}
