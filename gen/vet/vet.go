// Package vet has the checks of the generator as an analyzer, for editors and linters that
// take one. The command flowc is a tool of go vet:
//
//	go vet -vettool=$(go tool -n flowc) ./...
//
// Package golangci makes a plugin of golangci-lint of it.
package vet

import (
	"strings"

	"golang.org/x/tools/go/analysis"

	"github.com/flowc-dev/flowc/gen/internal/check"
	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/load"
)

// Analyzer reports mistakes in the declarations of flows: the same, in the same
// words and at the same places as the generator does. It looks at one package
// at a time, so that two flows of different packages with one slug, and their steps with
// one gate and different limits, are for the generator to find. Mechanical fixes come as
// suggested fixes.
var Analyzer = &analysis.Analyzer{
	Name:             "flowc",
	Doc:              "check the declarations of flows\n\nReports what keeps a struct that embeds dsl.Flow or dsl.Job from being generated.",
	URL:              "https://pkg.go.dev/github.com/flowc-dev/flowc/gen/vet",
	RunDespiteErrors: true, // a misspelt type is a mistake like any other
	Run:              run,
}

func run(pass *analysis.Pass) (any, error) {
	p := &load.Package{
		Path:  pass.Pkg.Path(),
		Name:  pass.Pkg.Name(),
		Files: pass.Files,
		Types: pass.Pkg,
		Info:  pass.TypesInfo,
	}
	if pass.Module != nil {
		p.Module = pass.Module.Path
	}
	for _, e := range pass.TypeErrors {
		p.Problems = append(p.Problems, load.Problem{Pos: e.Pos, At: e.Fset.Position(e.Pos), Message: e.Msg})
	}
	_, found := check.Packages(pass.Fset, []*load.Package{p})
	for _, d := range found {
		reported := report(d)
		if strings.HasSuffix(pass.Fset.PositionFor(d.Pos, false).Filename, ".cgo1.go") {
			reported.SuggestedFixes = nil // they are about what cgo made of the file
		}
		pass.Report(reported)
	}
	return nil, nil
}

// report returns a mistake as drivers of analyzers take it. Other places involved are
// related information, which drivers print by themselves; all else that there
// is to say is the message. The code is the category.
func report(d diag.Diagnostic) analysis.Diagnostic {
	reported := analysis.Diagnostic{Pos: d.Pos, End: d.End, Category: string(d.Code)}
	var facts []diag.Note
	for _, n := range d.Notes {
		if n.Pos.IsValid() {
			reported.Related = append(reported.Related, analysis.RelatedInformation{Pos: n.Pos, Message: n.Message})
		} else {
			facts = append(facts, n)
		}
	}
	d.Notes = facts
	reported.Message = d.Headline() + d.Explanation("")
	if len(d.Edits) > 0 {
		fix := analysis.SuggestedFix{Message: d.Fix}
		for _, e := range d.Edits {
			fix.TextEdits = append(fix.TextEdits, analysis.TextEdit{Pos: e.Pos, End: e.End, NewText: []byte(e.New)})
		}
		reported.SuggestedFixes = append(reported.SuggestedFixes, fix)
	}
	return reported
}
