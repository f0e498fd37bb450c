// Package nameable knows which types a generated package can name.
package nameable

import (
	"go/types"
	"strings"
)

// Type reports whether a package, of which importer is the path, can name a
// type of another: it is exported, at package level, and of a package that the
// go command lets it import.
func Type(obj *types.TypeName, importer string) bool {
	if obj.Pkg() == nil {
		return true // predeclared
	}
	return obj.Exported() && obj.Parent() == obj.Pkg().Scope() && Importable(obj.Pkg(), importer)
}

// Importable reports whether the go command lets a package import another.
func Importable(p *types.Package, importer string) bool {
	if p.Name() == "main" && !strings.HasPrefix(importer, p.Path()+"/") {
		return false // that its own flows are in it is another matter
	}
	for _, element := range []string{"internal", "vendor"} {
		path := "/" + p.Path() + "/"
		i := strings.LastIndex(path, "/"+element+"/")
		if i < 0 {
			continue
		}
		parent := path[:i+1] // those below it may
		if element == "vendor" || i == 0 || !strings.HasPrefix("/"+importer+"/", parent) {
			return false
		}
	}
	return true
}
