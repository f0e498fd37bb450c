package emit

import (
	"go/types"
	"slices"
	"strconv"
	"strings"

	"github.com/dave/jennifer/jen"

	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/gen/internal/nameable"
)

// typ writes a type as this file names it.
func (f *file) typ(t types.Type) *jen.Statement {
	switch t := t.(type) {
	case *types.Basic:
		if t.Kind() == types.UnsafePointer {
			return jen.Qual("unsafe", t.Name())
		}
		return jen.Id(t.Name())
	case *types.Alias:
		if !nameable.Type(t.Obj(), f.flow.Path()) {
			return f.typ(t.Rhs())
		}
		return f.named(t.Obj(), t.TypeArgs())
	case *types.Named:
		return f.named(t.Obj(), t.TypeArgs())
	case *types.Pointer:
		return jen.Op("*").Add(f.typ(t.Elem()))
	case *types.Slice:
		return jen.Index().Add(f.typ(t.Elem()))
	case *types.Array:
		return jen.Index(jen.Lit(int(t.Len()))).Add(f.typ(t.Elem()))
	case *types.Map:
		return jen.Map(f.typ(t.Key())).Add(f.typ(t.Elem()))
	case *types.Chan:
		switch t.Dir() {
		case types.SendOnly:
			return jen.Chan().Op("<-").Add(f.typ(t.Elem()))
		case types.RecvOnly:
			return jen.Op("<-").Chan().Add(f.typ(t.Elem()))
		}
		return jen.Chan().Parens(f.typ(t.Elem()))
	case *types.Signature:
		return jen.Func().Add(f.signature(t))
	case *types.Interface:
		return f.iface(t)
	case *types.Struct:
		return f.structure(t, false)
	}
	panic("flowc: no way to write the type " + t.String()) // a type parameter, which check refuses
}

func (f *file) named(obj *types.TypeName, args *types.TypeList) *jen.Statement {
	name := jen.Id(obj.Name())
	if obj.Pkg() != nil {
		f.importPackage(obj.Pkg())
		name = jen.Qual(obj.Pkg().Path(), obj.Name())
	}
	var list []jen.Code
	for t := range args.Types() {
		list = append(list, f.typ(t))
	}
	return name.Types(list...)
}

func (f *file) signature(t *types.Signature) *jen.Statement {
	list := func(tuple *types.Tuple, variadic bool) (codes []jen.Code) {
		for i := range tuple.Len() {
			code := f.typ(tuple.At(i).Type())
			if variadic && i == tuple.Len()-1 {
				code = jen.Op("...").Add(f.typ(tuple.At(i).Type().(*types.Slice).Elem()))
			}
			codes = append(codes, code)
		}
		return codes
	}
	return jen.Params(list(t.Params(), t.Variadic())...).Params(list(t.Results(), false)...)
}

func (f *file) iface(t *types.Interface) *jen.Statement {
	if t.Empty() && t.NumEmbeddeds() == 0 {
		return jen.Id("any")
	}
	var members []jen.Code
	for m := range t.ExplicitMethods() {
		members = append(members, jen.Id(m.Name()).Add(f.signature(m.Signature())))
	}
	for e := range t.EmbeddedTypes() {
		members = append(members, f.typ(e))
	}
	return jen.Interface(members...)
}

// structure writes a struct with its tags. gap leaves a line free after the
// first field, which sets the head of a flow apart.
func (f *file) structure(t *types.Struct, gap bool) *jen.Statement {
	var fields []jen.Code
	for i := range t.NumFields() {
		field := f.field(t.Field(i).Name(), t.Field(i).Embedded(), t.Field(i).Type())
		if tag := t.Tag(i); tag != "" {
			field.Op(tagLiteral(tag))
		}
		fields = append(fields, field)
		if i == 0 && gap && t.NumFields() > 1 {
			fields = append(fields, jen.Empty())
		}
	}
	return jen.Struct(fields...)
}

func (f *file) field(name string, embedded bool, t types.Type) *jen.Statement {
	if embedded {
		return f.typ(t)
	}
	return jen.Id(name).Add(f.typ(t))
}

// tagLiteral returns a tag, or JSON, as a string of the source, in backquotes if it can be.
func tagLiteral(tag string) string {
	if strconv.CanBackquote(strings.ReplaceAll(tag, "\n", "")) {
		return "`" + tag + "`"
	}
	return strconv.Quote(tag)
}

// wire returns the struct that a join is read into: a field for each of the user's
// struct, under the name that it has on the wire. All of them are named: an
// embedded one would lend the struct its methods, of which UnmarshalJSON would
// read the whole.
func (f *file) wire(fields []model.Field) *jen.Statement {
	var list []jen.Code
	for _, field := range fields {
		tag := "`json:" + strconv.Quote(field.Key) + "`"
		list = append(list, f.field(field.Name, false, field.Type).Op(tag))
	}
	return jen.Struct(list...)
}

// joined makes of a wire struct, w, the struct that the user declared. The
// conversion needs the fields of both to be the same, so that a change of the
// user's stops compiling.
func (f *file) joined(s model.Source) *jen.Statement {
	embeds := slices.ContainsFunc(s.Fields, func(field model.Field) bool { return field.Embedded })
	if !embeds {
		return f.typ(s.Type).Call(jen.Id("w"))
	}
	var fields, values []jen.Code
	for _, field := range s.Fields {
		fields = append(fields, f.field(field.Name, field.Embedded, field.Type))
		values = append(values, jen.Id("w").Dot(field.Name))
	}
	return f.typ(s.Type).Call(jen.Struct(fields...).Values(values...))
}

// none returns the type argument that stands for t, or for nothing.
func (f *file) none(t types.Type) *jen.Statement {
	if t == nil {
		return jen.Qual(model.DSL, "None")
	}
	return f.typ(t)
}

// quoted joins words as Go strings.
func quoted(words []string) []jen.Code {
	var list []jen.Code
	for _, w := range words {
		list = append(list, jen.Lit(w))
	}
	return list
}
