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

// File returns the source of the package that is generated for a flow. It depends on
// nothing but the flow.
func File(flow *model.Flow) ([]byte, error) {
	f := &file{
		File:    jen.NewFilePathName(flow.Path(), flow.Package),
		flow:    flow,
		imports: map[string]string{},
		joins:   map[*model.Step]string{},

		stepNamed: map[*model.Step]string{},
		waits:     map[*model.Step]waitNames{},
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
	f.waitFunctions()
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
