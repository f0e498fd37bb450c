// Package gen is the compiler of flowc, for programs that call it. On the command line it
// is `flowc generate`, `flowc vet` and `flowc graph`.
//
//	result, err := gen.Generate(ctx, gen.Options{Patterns: []string{"./..."}})
//
// Generate writes the packages of declared flows, Vet only checks declarations, Graphs
// returns what they look like and Declarations their definitions. Mistakes come together,
// as a [*MistakesError]; nothing is written unless everything is right.
//
// It works in stages, each a package below internal: load reads the declaring packages,
// check turns declarations into the model or into mistakes, and emit writes the model as
// Go.
package gen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/emit"
	"github.com/flowc-dev/flowc/gen/internal/load"
	"github.com/flowc-dev/flowc/gen/internal/model"
)

// A Result reports what was written. Its paths are relative to Options.Dir.
type Result struct {
	// Flows is how many flows and jobs are declared.
	Flows int `json:"flows"`
	// Written are the files that are new or differ from what they were.
	Written []string `json:"written,omitempty"`
	// NewOptions are those of Written in which only options of a flow are
	// different: they change in place.
	NewOptions []string `json:"new_options,omitempty"`
	// NewShapes are the flows among Written that have a new shape under their
	// old slug.
	NewShapes []NewShape `json:"new_shapes,omitempty"`
	// LostForms are the flows among Written whose types no longer read all that runs in
	// flight have. With Options.Check they are those among the files that are stale.
	LostForms []LostForm `json:"lost_forms,omitempty"`
	// Replaced are flows of which a new version takes the place.
	Replaced []Replaced `json:"replaced,omitempty"`
	// Removed are files that flowc wrote for flows that are gone.
	Removed []string `json:"removed,omitempty"`
	// Kept are files that flowc wrote for flows that may be gone: the package
	// that would declare them does not compile.
	Kept []KeptFile `json:"kept,omitempty"`
}

// A KeptFile is a generated file whose flow was not found where there may be one.
type KeptFile struct {
	// Path is relative to Options.Dir.
	Path string `json:"path"`
	// Problem is what the compiler says first of the package that would declare
	// the flow.
	Problem string `json:"problem"`
}

// String returns what was done with the file, and why.
func (k KeptFile) String() string {
	return fmt.Sprintf("kept %s: its flow is gone, or hidden by what does not compile\n\t%s\n\tfix: mend that, and run go generate again", k.Path, k.Problem)
}

// Generate writes the packages of the flows that some packages declare. Files
// that would not change are left alone, and so is everything that flowc has not
// written itself.
//
// Mistakes in declarations are a [*MistakesError]; with Options.Check, files
// that are not up to date are a [*OutdatedError]; with Options.Strict, new
// shapes, and types that read less, under old slugs are a [*NewShapesError]. In none of these cases is
// anything written.
func Generate(ctx context.Context, opts Options) (Result, error) {
	c, err := compile(ctx, opts)
	if err != nil {
		return Result{}, err
	}
	sqlDir := opts.SQL
	if sqlDir != "" && !filepath.IsAbs(sqlDir) {
		sqlDir = filepath.Join(c.dir, sqlDir)
	}
	plan, err := plan(c, sqlDir, opts.Check)
	if err != nil {
		return Result{}, err
	}
	if len(c.flows) == 0 && len(plan.remove) == 0 && len(plan.kept) == 0 {
		return Result{}, c.noFlow()
	}
	if opts.Check {
		err := plan.outdated()
		if refused := plan.strictly(); opts.Strict && refused != nil {
			err = errors.Join(refused, err)
		}
		return Result{Flows: len(c.flows), LostForms: plan.lostForms, Kept: plan.kept}, err
	}
	if err := plan.strictly(); opts.Strict && err != nil {
		return Result{}, err
	}
	result, err := plan.carryOut()
	result.Flows = len(c.flows)
	return result, err
}

// An output is a file as it should be.
type output struct {
	flow   *model.Flow
	path   string
	source []byte
	// instead says how to have the file in another place.
	instead string
}

// outputs emits every flow. Formatting is most of the work after loading, so
// all processors share it.
func outputs(c *compilation, sqlDir string) ([]output, error) {
	perFlow := make([][]output, len(c.flows))
	faults := make([]error, len(c.flows))
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(c.flows)) {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(c.flows)); i = next.Add(1) - 1 {
				perFlow[i], faults[i] = outputsOf(c.flows[i], sqlDir)
			}
		})
	}
	group.Wait()
	return slices.Concat(perFlow...), errors.Join(faults...)
}

// outputsOf emits one flow.
func outputsOf(flow *model.Flow, sqlDir string) ([]output, error) {
	source, err := emit.File(flow)
	if err != nil {
		return nil, err
	}
	list := []output{{
		flow:    flow,
		path:    filepath.Join(flow.Dir, flow.Package, flow.Package+load.GeneratedSuffix),
		source:  source,
		instead: fmt.Sprintf("tag %s package:\"…\" with another name", flow.Name),
	}}
	if sqlDir == "" {
		return list, nil
	}
	up, down, err := emit.Migration(flow)
	instead := "choose another folder"
	return append(list,
		output{flow: flow, path: filepath.Join(sqlDir, flow.Slug+".up.sql"), source: up, instead: instead},
		output{flow: flow, path: filepath.Join(sqlDir, flow.Slug+".down.sql"), source: down, instead: instead},
	), err
}

// plan compares what should be with what is there.
//
// When it only checks, fields that are new and nothing else make no difference: adding
// one does not require generating again.
func plan(c *compilation, sqlDir string, check bool) (*changes, error) {
	wanted, err := outputs(c, sqlDir)
	if err != nil {
		return nil, err
	}
	plan := &changes{dir: c.dir, flows: c.flows, check: check}
	kept := map[string]bool{}
	var faults []error
	for _, out := range wanted {
		kept[out.path] = true
		if err := plan.add(out); err != nil {
			faults = append(faults, err)
		}
	}
	for _, file := range c.generated {
		switch {
		case kept[file.Path]:
		case file.Declaring != nil && len(file.Declaring.Problems) > 0:
			problem := file.Declaring.Problems[0]
			problem.At.Filename = diag.Relative(problem.At.Filename, c.dir)
			plan.kept = append(plan.kept, KeptFile{
				Path: diag.Relative(file.Path, c.dir), Problem: fmt.Sprintf("%s: %s", problem.At, problem.Message),
			})
		default:
			plan.remove = append(plan.remove, file.Path)
		}
	}
	return plan, errors.Join(faults...)
}

// add notes what has to be done for a file, if anything.
func (c *changes) add(out output) error {
	old, err := os.ReadFile(out.path)
	exists := err == nil
	dir := filepath.Dir(out.path)
	switch {
	case err != nil && leadsNowhere(dir):
		return fmt.Errorf("flowc: %s is a link that leads nowhere, but %s is to be generated into it\n\tfix: remove it, or %s",
			diag.Relative(dir, c.dir), filepath.Base(out.path), out.instead)
	case err != nil && isFile(dir):
		return fmt.Errorf("flowc: %s is not a folder, but %s is to be generated into it\n\tfix: move it, or %s",
			diag.Relative(dir, c.dir), filepath.Base(out.path), out.instead)
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("flowc: %w", err)
	case exists && !load.IsGenerated(out.path):
		return fmt.Errorf("%s:1:1: not generated by flowc, so not overwritten\n\tfix: move it, or %s",
			diag.Relative(out.path, c.dir), out.instead)
	case exists && (bytes.Equal(unixLines(old), out.source) || c.check && onlyMoreForms(unixLines(old), out.source)): // git may have written it with other line ends
		return nil
	}
	if other := otherPackage(out.path, out.flow.Package); other != "" {
		return fmt.Errorf("%s:1:1: its package is not %s, which is to be generated in the same folder\n\tfix: move it, or %s",
			diag.Relative(other, c.dir), out.flow.Package, out.instead)
	}
	c.write = append(c.write, change{path: out.path, old: unixLines(old), new: out.source, exists: exists})
	if exists {
		c.evolve(out.flow, diag.Relative(out.path, c.dir), unixLines(old), out.source)
	}
	return nil
}

// unixLines returns a text with the line ends of Unix.
func unixLines(text []byte) []byte { return bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")) }

// isFile reports whether there is something that is not a folder.
func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

// leadsNowhere reports whether there is a link whose end is missing.
func leadsNowhere(path string) bool {
	_, err := os.Lstat(path)
	_, target := os.Stat(path)
	return err == nil && errors.Is(target, os.ErrNotExist)
}

// otherPackage returns a Go file beside path that belongs to another package, or "".
func otherPackage(path, name string) string {
	if filepath.Ext(path) != ".go" {
		return ""
	}
	dir := filepath.Dir(path)
	entries, _ := os.ReadDir(dir) // there may be none yet
	for _, entry := range entries {
		file := filepath.Join(dir, entry.Name())
		if file == path || !load.IsGo(dir, entry) || strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.PackageClauseOnly)
		if err == nil && parsed.Name.Name != name {
			return file
		}
	}
	return ""
}
