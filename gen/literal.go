package gen

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"reflect"
	"strconv"
	"time"

	"github.com/flowc-dev/flowc/runtime/spec"
)

// readDefinition reads the definition out of a generated file, which is there as a Go
// literal. It is not ok if there is none.
func readDefinition(source []byte) (def spec.Flow, ok bool) {
	file, err := parser.ParseFile(token.NewFileSet(), "", source, parser.SkipObjectResolution)
	if err != nil {
		return def, false
	}
	values := literals{}
	var definition ast.Expr
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.GenDecl:
			for _, s := range d.Specs {
				if v, ok := s.(*ast.ValueSpec); ok && len(v.Names) == 1 && len(v.Values) == 1 {
					values[v.Names[0].Name] = v.Values[0]
				}
			}
		case *ast.FuncDecl:
			if d.Recv == nil && d.Name.Name == "Definition" {
				definition = returned(d)
			}
		}
	}
	ok = values.read(definition, reflect.ValueOf(&def).Elem()) && def.Slug != ""
	return def, ok
}

// returned returns what a function returns that does nothing else, nil if it does more.
func returned(f *ast.FuncDecl) ast.Expr {
	if f.Body == nil || len(f.Body.List) != 1 {
		return nil
	}
	if r, ok := f.Body.List[0].(*ast.ReturnStmt); ok && len(r.Results) == 1 {
		return r.Results[0]
	}
	return nil
}

// literals are the constants and variables of a file. They read what is written in it
// as the emitter writes it.
type literals map[string]ast.Expr

// constants are those of other packages that a definition names.
var constants = map[string]reflect.Value{
	"TypeSingle": reflect.ValueOf(spec.TypeSingle), "TypeMap": reflect.ValueOf(spec.TypeMap),
	"TypeWait":     reflect.ValueOf(spec.TypeWait),
	"PriorityHigh": reflect.ValueOf(spec.PriorityHigh), "PriorityNormal": reflect.ValueOf(spec.PriorityNormal), "PriorityLow": reflect.ValueOf(spec.PriorityLow),
	"ModeFail": reflect.ValueOf(spec.ModeFail), "ModeSkip": reflect.ValueOf(spec.ModeSkip), "ModeSkipCascade": reflect.ValueOf(spec.ModeSkipCascade),
	"DuplicateKeep": reflect.ValueOf(spec.DuplicateKeep), "DuplicateReplace": reflect.ValueOf(spec.DuplicateReplace), "DuplicateError": reflect.ValueOf(spec.DuplicateError),
	"TxPgx": reflect.ValueOf(spec.TxPgx), "TxSQL": reflect.ValueOf(spec.TxSQL),
	"Second": reflect.ValueOf(time.Second), "Minute": reflect.ValueOf(time.Minute), "Hour": reflect.ValueOf(time.Hour),
}

// read reads an expression into a value of the type that it has. It reports whether it
// could.
func (l literals) read(expr ast.Expr, into reflect.Value) bool {
	switch e := expr.(type) {
	case *ast.BasicLit:
		return readBasic(e, into)
	case *ast.Ident:
		if e.Name == "true" && into.Kind() == reflect.Bool {
			into.SetBool(true)
			return true
		}
		value := l[e.Name]
		delete(l, e.Name) // so that what names itself comes to an end
		ok := value != nil && l.read(value, into)
		l[e.Name] = value
		return ok
	case *ast.SelectorExpr: // spec.TypeMap
		value, known := constants[e.Sel.Name]
		switch {
		case known && value.Type() == into.Type():
			into.Set(value)
		case known && value.CanInt() && into.CanInt():
			into.SetInt(value.Int())
		default:
			return false
		}
		return true
	case *ast.BinaryExpr: // 5 * time.Minute
		var n, unit int64
		ok := e.Op == token.MUL && into.CanInt() && l.read(e.X, reflect.ValueOf(&n).Elem()) && l.read(e.Y, reflect.ValueOf(&unit).Elem())
		if ok {
			into.SetInt(n * unit)
		}
		return ok
	case *ast.UnaryExpr: // &spec.Result{…}
		return l.readPointer(e.X, into)
	case *ast.CallExpr: // spec.Set(…), or a conversion
		if len(e.Args) != 1 {
			return false
		}
		if into.Kind() == reflect.Pointer {
			return l.readPointer(e.Args[0], into)
		}
		if into.Type() == reflect.TypeFor[json.RawMessage]() {
			var text string
			ok := l.read(e.Args[0], reflect.ValueOf(&text).Elem())
			into.SetBytes([]byte(text))
			return ok
		}
		return l.read(e.Args[0], into)
	case *ast.CompositeLit:
		return l.readComposite(e, into)
	}
	return false
}

func readBasic(literal *ast.BasicLit, into reflect.Value) bool {
	switch {
	case literal.Kind == token.STRING && into.Kind() == reflect.String:
		text, err := strconv.Unquote(literal.Value)
		into.SetString(text)
		return err == nil
	case literal.Kind == token.INT && into.CanInt():
		n, err := strconv.ParseInt(literal.Value, 0, 64)
		into.SetInt(n)
		return err == nil
	}
	return false
}

func (l literals) readPointer(expr ast.Expr, into reflect.Value) bool {
	if into.Kind() != reflect.Pointer {
		return false
	}
	into.Set(reflect.New(into.Type().Elem()))
	return l.read(expr, into.Elem())
}

func (l literals) readComposite(literal *ast.CompositeLit, into reflect.Value) bool {
	switch into.Kind() {
	case reflect.Slice:
		for _, expr := range literal.Elts {
			element := reflect.New(into.Type().Elem()).Elem()
			if !l.read(expr, element) {
				return false
			}
			into.Set(reflect.Append(into, element))
		}
		return true
	case reflect.Map:
		into.Set(reflect.MakeMap(into.Type()))
	case reflect.Struct:
	default:
		return false
	}
	for _, expr := range literal.Elts {
		pair, ok := expr.(*ast.KeyValueExpr)
		if !ok || !l.readPair(pair, into) {
			return false
		}
	}
	return true
}

// readPair reads a field of a struct or an entry of a map.
func (l literals) readPair(pair *ast.KeyValueExpr, into reflect.Value) bool {
	if into.Kind() == reflect.Map {
		key, value := reflect.New(into.Type().Key()).Elem(), reflect.New(into.Type().Elem()).Elem()
		if !l.read(pair.Key, key) || !l.read(pair.Value, value) {
			return false
		}
		into.SetMapIndex(key, value)
		return true
	}
	name, ok := pair.Key.(*ast.Ident)
	if !ok {
		return false
	}
	field := into.FieldByName(name.Name)
	if field.IsValid() && field.Type() == reflect.TypeFor[[]spec.Condition]() {
		return true // which are functions, and not stored
	}
	return field.IsValid() && l.read(pair.Value, field)
}

// written returns a node as Go.
func written(n ast.Node) string {
	var b bytes.Buffer
	_ = printer.Fprint(&b, token.NewFileSet(), n) // into memory
	return b.String()
}
