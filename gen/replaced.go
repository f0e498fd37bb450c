package gen

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strconv"
	"strings"
)

// A Replaced is a version of a flow that a new one replaces. Runs of it may not have ended.
type Replaced struct {
	// Path is the generated file, Flow the name of the declaration.
	Path string `json:"path"`
	Flow string `json:"flow"`
	// Old is the slug of the version before, Slug that of the new one.
	Old  string `json:"old"`
	Slug string `json:"slug"`
	// Declaration declares the old version, on one line, under a name and a slug of its
	// own. Package is the name of the package that is generated for it.
	Declaration string `json:"declaration"`
	Package     string `json:"package"`
}

// String returns what to do so that runs of the old version can end.
func (r Replaced) String() string {
	return fmt.Sprintf("%s: %s takes the place of %s, whose runs are stuck unless a worker serves it\n\tfix: keep the old shape declared until its runs have ended, with the line below, and give a worker %s.Serve(h), too\n\t%s",
		r.Path, r.Slug, r.Old, r.Package, r.Declaration)
}

// oldDeclaration turns the guard in a generated file into a declaration of the same flow
// under another name, on one line. home is the import path of the declaring package.
func oldDeclaration(source []byte, home, slug string, version int) string {
	file, err := parser.ParseFile(token.NewFileSet(), "", source, parser.SkipObjectResolution)
	if err != nil {
		return ""
	}
	own := "" // what the declaring package is called in the file
	for _, spec := range file.Imports {
		if path, _ := strconv.Unquote(spec.Path.Value); path == home {
			own = path[strings.LastIndex(path, "/")+1:]
			if spec.Name != nil {
				own = spec.Name.Name
			}
		}
	}
	var guard *ast.StructType
	name := ""
	for _, decl := range file.Decls {
		d, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.Name == "goGenerateIsDue" {
					guard, _ = s.Type.(*ast.StructType)
				}
			case *ast.ValueSpec: // var _ goGenerateIsDue = shop.ProcessOrder{}
				if len(s.Values) != 1 {
					continue
				}
				if used, ok := s.Type.(*ast.Ident); ok && used.Name == "goGenerateIsDue" {
					if literal, ok := s.Values[0].(*ast.CompositeLit); ok {
						if selector, ok := literal.Type.(*ast.SelectorExpr); ok {
							name = selector.Sel.Name
							if x, ok := selector.X.(*ast.Ident); ok {
								own = x.Name
							}
						}
					}
				}
			}
		}
	}
	if guard == nil || name == "" || len(guard.Fields.List) == 0 {
		return ""
	}
	unqualify(guard, own)
	var fields []string
	for i, field := range guard.Fields.List {
		line := written(field.Type)
		if len(field.Names) > 0 {
			line = field.Names[0].Name + " " + line
		}
		tag := ""
		if field.Tag != nil {
			tag, _ = strconv.Unquote(field.Tag.Value)
		}
		if i == 0 {
			tag = headTag(tag, slug, oldPackage(name, version))
		}
		if tag != "" {
			line += " " + quoteTag(tag)
		}
		fields = append(fields, strings.Join(strings.Fields(line), " "))
	}
	return fmt.Sprintf("type %s struct { %s }", oldName(name, version), strings.Join(fields, "; "))
}

// headTag returns the tag of an old version's head: without its own name, version and
// package, which are given anew, and without a schedule, which is the new version's.
func headTag(tag, slug, pkg string) string {
	for _, key := range []string{"slug", "version", "package", "cron"} {
		if value, ok := reflect.StructTag(tag).Lookup(key); ok {
			tag = strings.TrimSpace(strings.Replace(tag, key+":"+strconv.Quote(value), "", 1))
		}
	}
	return strings.TrimSpace(fmt.Sprintf("slug:%q package:%q %s", slug, pkg, tag))
}

func oldName(name string, version int) string    { return fmt.Sprintf("%sV%d", name, version) }
func oldPackage(name string, version int) string { return strings.ToLower(oldName(name, version)) }

func quoteTag(tag string) string {
	if strconv.CanBackquote(tag) {
		return "`" + tag + "`"
	}
	return strconv.Quote(tag)
}

// unqualify removes the name of a package wherever it qualifies another.
func unqualify(n ast.Node, pkg string) {
	take := func(e *ast.Expr) {
		if s, ok := (*e).(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == pkg {
				*e = s.Sel
			}
		}
	}
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			take(&n.Type)
		case *ast.IndexExpr:
			take(&n.X)
			take(&n.Index)
		case *ast.IndexListExpr:
			take(&n.X)
			for i := range n.Indices {
				take(&n.Indices[i])
			}
		case *ast.ArrayType:
			take(&n.Elt)
		case *ast.MapType:
			take(&n.Key)
			take(&n.Value)
		case *ast.StarExpr:
			take(&n.X)
		case *ast.Ellipsis:
			take(&n.Elt)
		case *ast.ChanType:
			take(&n.Value)
		}
		return true
	})
}
