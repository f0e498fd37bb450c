package check

import (
	"go/types"

	"github.com/flowc-dev/flowc/gen/internal/cond"
	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/gen/internal/tags"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// checkUnique compiles the paths to what makes two runs of a flow alike. They all lead into
// its input, which alone is the whole of it: all runs of a flow that takes nothing are alike.
func (c *checker) checkUnique(d *declaration) {
	set := d.settings
	paths, ok := cond.CompileUnique(c.inputScope(d), set.Unique)
	for _, p := range paths {
		if p.Type == nil {
			continue // all runs are alike
		}
		if _, basic := p.Type.Underlying().(*types.Basic); !basic {
			ok = c.checkNameableAt(d.name+"'s unique "+p.Text, p.Type, set.Unique.Pos(0), set.Unique.End()) && ok
		}
	}
	if ok {
		d.flow.Unique = &model.Unique{
			By: paths, Per: set.Per, Debounce: set.Debounce, DebounceMax: set.DebounceMax, OnDuplicate: set.OnDuplicate,
		}
	}
}

// inputScope returns the scope of paths that all lead into the input of a flow.
func (c *checker) inputScope(d *declaration) cond.Scope {
	return cond.Scope{
		Diags: c.diags,
		Home:  c.pkg.Types,
		Who:   d.name,
		Subject: func(name tags.Word) (cond.Subject, bool) {
			return cond.Subject{Name: "Input", Key: spec.RunKey, Type: d.flow.In}, true
		},
	}
}
