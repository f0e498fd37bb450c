// Package golangci is a plugin of golangci-lint that reports mistakes in declarations of
// flows, as package vet does. Describe a golangci-lint with it in .custom-gcl.yml,
//
//	version: v2.15.0
//	plugins:
//	  - module: github.com/flowc-dev/flowc
//	    import: github.com/flowc-dev/flowc/gen/golangci
//	    path: ../flowc # a clone, as long as there is no release; then a version instead
//
// turn the linter on in .golangci.yml,
//
//	version: "2"
//	linters:
//	  enable: [flowc]
//	  settings:
//	    custom:
//	      flowc:
//	        type: module
//
// and build and run it:
//
//	golangci-lint custom
//	./custom-gcl run ./...
//
// That was run with golangci-lint 2.15.0 and Go 1.26. While a generated package is stale it
// may not compile, and then golangci-lint reports only that; it reports the mistake if it is
// run on the declaring package alone, as `flowc vet` does in any case.
package golangci

import (
	"github.com/golangci/plugin-module-register/register"
	"golang.org/x/tools/go/analysis"

	"github.com/flowc-dev/flowc/gen/vet"
)

func init() {
	register.Plugin(vet.Analyzer.Name, func(any) (register.LinterPlugin, error) { return plugin{}, nil })
}

// A plugin has no settings.
type plugin struct{}

// BuildAnalyzers returns the analyzer.
func (plugin) BuildAnalyzers() ([]*analysis.Analyzer, error) {
	return []*analysis.Analyzer{vet.Analyzer}, nil
}

// GetLoadMode says that the analyzer needs types.
func (plugin) GetLoadMode() string { return register.LoadModeTypesInfo }
