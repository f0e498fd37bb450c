// Package emit writes the package that is generated for a flow.
package emit

import (
	"bytes"
	"fmt"
	"go/format"

	"github.com/dave/jennifer/jen"

	"github.com/flowc-dev/flowc/gen/internal/load"
	"github.com/flowc-dev/flowc/gen/internal/model"
)

// The packages that generated code calls.
const (
	runtimePath = "github.com/flowc-dev/flowc/runtime"
	specPath    = runtimePath + "/spec"
	handlerPath = runtimePath + "/handler"
)

// A file is a generated file being written.
type file struct {
	*jen.File
	flow *model.Flow
	// imports are the names of the imported packages in this file, by path.
	imports map[string]string
	// taken are the names that an import cannot have.
	taken map[string]bool
	// joins are the names of the variables that hold the sources of steps.
	joins map[*model.Step]string
	// stepNamed are the names of the constants for the slugs of steps.
	stepNamed map[*model.Step]string
}

// File is the source of the package that is generated for a flow. It depends on
// nothing but the flow.
func File(flow *model.Flow) ([]byte, error) {
	f := &file{
		File:    jen.NewFilePathName(flow.Path(), flow.Package),
		flow:    flow,
		imports: map[string]string{},
		joins:   map[*model.Step]string{},

		stepNamed: map[*model.Step]string{},
	}
	f.NoFormat = true
	f.HeaderComment(load.Header)
	if flow.Constraint != "" {
		f.HeaderComment("//go:build " + flow.Constraint)
	}
	f.reserveNames()
	for _, line := range f.packageDoc() {
		f.PackageComment(comment(line))
	}
	f.definition()
	if flow.Job {
		f.enqueue()
	} else {
		f.start()
	}
	f.manage()
	if flow.Job {
		f.handler()
	} else {
		f.handlers()
	}
	f.flowVar()
	f.stepInputs()
	f.guard()

	var raw bytes.Buffer
	if err := f.Render(&raw); err != nil {
		return nil, fmt.Errorf("flowc: emitting %s: %w", flow.Name, err)
	}
	source, err := format.Source(groupImports(raw.Bytes()))
	if err != nil {
		return nil, fmt.Errorf("flowc: emitting %s: %w", flow.Name, err)
	}
	return source, nil
}

// ctx and db are the first parameters of every function that talks to the database.
func (f *file) ctx() jen.Code { return jen.Id("ctx").Qual("context", "Context") }
func (f *file) db() jen.Code  { return jen.Id("db").Qual(runtimePath, "DB") }

// runtime, spec and handlerPkg are names of these packages.
func (f *file) runtime(name string) *jen.Statement    { return jen.Qual(runtimePath, name) }
func (f *file) spec(name string) *jen.Statement       { return jen.Qual(specPath, name) }
func (f *file) handlerPkg(name string) *jen.Statement { return jen.Qual(handlerPath, name) }

// comment adds a doc comment, broken into lines.
func (f *file) comment(text string) { f.comments(wrap(text)...) }

// comments adds a doc comment of several lines.
func (f *file) comments(lines ...string) {
	for _, line := range lines {
		f.Comment(comment(line))
	}
}

// comment is a line of a comment. jennifer leaves alone what begins with slashes.
func comment(line string) string {
	if line == "" {
		return "//"
	}
	if line[0] == '\t' {
		return "//" + line
	}
	return "// " + line
}
