// Package check turns declarations into the model, or into everything that is
// wrong with them.
package check

import (
	"go/token"
	"go/types"
	"slices"
	"strings"

	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/load"
	"github.com/flowc-dev/flowc/gen/internal/model"
)

// Packages checks the declarations of some packages, and what holds between
// them: no two flows with one slug, and no gate with two limits. It returns the flows only as far as nothing
// is wrong.
func Packages(fset *token.FileSet, pkgs []*load.Package) ([]*model.Flow, []diag.Diagnostic) {
	diags := &diag.List{Fset: fset}
	var all []*declaration
	for _, p := range pkgs {
		c := &checker{pkg: p, diags: diags}
		all = append(all, c.check()...)
	}
	checkSlugs(diags, all)
	checkGates(diags, all)
	if diags.Len() > 0 {
		return nil, diags.Sorted()
	}
	flows := make([]*model.Flow, len(all))
	for i, d := range all {
		flows[i] = d.flow
	}
	return flows, nil
}

func (c *checker) check() []*declaration {
	c.reached, c.hiddenSeen, c.storedSeen = map[*types.TypeName]bool{}, map[string]bool{}, map[string]bool{}
	defer c.reportFatal()
	if c.pkg.Types == nil || c.pkg.Info == nil {
		return nil
	}
	if slices.ContainsFunc(c.pkg.Fatal, func(p load.Problem) bool { return !strings.HasPrefix(p.Message, load.ImportCycle) }) {
		return nil // what else there is to say may be its doing
	}
	if c.missesDSL() {
		return nil
	}
	declared := c.declarations()
	for _, d := range declared {
		c.checkFlow(d)
	}
	c.checkPackages(declared)
	c.reportProblems(declared)
	return declared
}

// reportFatal reports what makes the package unreadable. A cycle of imports that
// has been explained needs no second explanation.
func (c *checker) reportFatal() {
	for _, p := range c.pkg.Fatal {
		if !c.importsGenerated || !strings.HasPrefix(p.Message, load.ImportCycle) {
			c.diags.AddAt(diag.DoesNotLoad, p.At, "%s", p.Message).Fix("%s", p.Fix)
		}
	}
}
