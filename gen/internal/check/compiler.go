package check

import (
	"go/token"
	"go/types"
	"strings"

	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/load"
	"github.com/flowc-dev/flowc/gen/internal/model"
)

// explain adds to what the compiler says of a declaration what to do about it.
func (c *checker) explain(b *diag.Builder, p load.Problem) {
	if name, undefined := strings.CutPrefix(p.Message, "undefined: "); undefined {
		c.explainUndefined(b, p.Pos, name)
	}
	if strings.HasPrefix(p.Message, "not enough type arguments for type ") {
		b.Fix("name both, what goes in and what comes out; dsl.None stands for nothing")
	}
}

// explainUndefined finds the type that was probably meant.
func (c *checker) explainUndefined(b *diag.Builder, pos token.Pos, name string) {
	qualifier, short, qualified := strings.Cut(name, ".")
	if !qualified {
		short = name
		if near := diag.Nearest(name, typeNames(c.pkg.Types, true)); near != "" {
			b.Fix("did you mean %s?", near).Edit(pos, pos+token.Pos(len(name)), near)
			return
		}
	}
	for _, imported := range c.pkg.Types.Imports() {
		names := typeNames(imported, false)
		switch {
		case qualified && imported.Name() == qualifier:
			if near := diag.Nearest(short, names); near != "" {
				b.Fix("did you mean %s.%s?", qualifier, near).Edit(pos, pos+token.Pos(len(short)), near)
			}
			return
		case !qualified && imported.Path() == model.DSL:
			for _, marker := range names {
				if marker == short {
					b.Fix("did you mean %s.%s?", imported.Name(), short).Edit(pos, pos, imported.Name()+".")
					return
				}
			}
		}
	}
	if !qualified {
		b.Fix("declare it: type %s struct { … }", short)
	}
}

// typeNames are the types of a package.
func typeNames(p *types.Package, hidden bool) (names []string) {
	for _, name := range p.Scope().Names() {
		if t, ok := p.Scope().Lookup(name).(*types.TypeName); ok && (hidden || t.Exported()) {
			names = append(names, name)
		}
	}
	return names
}
