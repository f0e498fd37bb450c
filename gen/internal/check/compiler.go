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
	for local, imported := range c.importsAt(pos) {
		names := typeNames(imported, false)
		switch {
		case qualified && local == qualifier:
			if near := diag.Nearest(short, names); near != "" {
				b.Fix("did you mean %s.%s?", qualifier, near).Edit(pos, pos+token.Pos(len(short)), near)
			}
			return
		case !qualified && imported.Path() == model.DSL:
			for _, marker := range names {
				if marker == short {
					b.Fix("did you mean %s.%s?", local, short).Edit(pos, pos, local+".")
					return
				}
			}
		}
	}
	if !qualified {
		b.Fix("declare it: type %s struct { … }", short)
	}
}

// importsAt are the packages that the file of a place imports, by their names there.
func (c *checker) importsAt(pos token.Pos) map[string]*types.Package {
	imports := map[string]*types.Package{}
	for _, file := range c.pkg.Files {
		if pos < file.FileStart || file.FileEnd < pos {
			continue
		}
		for _, spec := range file.Imports {
			if name := c.pkg.Info.PkgNameOf(spec); name != nil {
				imports[name.Name()] = name.Imported()
			}
		}
	}
	return imports
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
