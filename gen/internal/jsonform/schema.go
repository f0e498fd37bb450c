package jsonform

import (
	"bytes"
	"cmp"
	"encoding/json"
	"go/constant"
	"go/token"
	"go/types"
	"math"
	"slices"
)

// A Source is where the declaring package is looked up: what its comments say.
type Source interface {
	// Home is the package.
	Home() *types.Package
	// TypeDoc and FieldDoc return doc comments as one line, "" for those of other packages.
	TypeDoc(*types.TypeName) string
	FieldDoc(*types.Var) string
	// Place returns where something stands.
	Place(token.Pos) token.Position
}

// A schema is a JSON Schema of a value, as far as forms need it.
type schema struct {
	Type            string            `json:"type,omitempty"`
	Title           string            `json:"title,omitempty"`
	Description     string            `json:"description,omitempty"`
	Format          string            `json:"format,omitempty"`
	ContentEncoding string            `json:"contentEncoding,omitempty"`
	Enum            []json.RawMessage `json:"enum,omitempty"`
	EnumNames       []string          `json:"enumNames,omitempty"`
	Minimum         *int64            `json:"minimum,omitempty"`
	Maximum         *int64            `json:"maximum,omitempty"`
	Items           *schema           `json:"items,omitempty"`
	MinItems        *int64            `json:"minItems,omitempty"`
	MaxItems        *int64            `json:"maxItems,omitempty"`
	Properties      *properties       `json:"properties,omitempty"`
	PropertyOrder   []string          `json:"propertyOrder,omitempty"`
	Required        []string          `json:"required,omitempty"`
	Additional      *schema           `json:"additionalProperties,omitempty"`
}

// properties are those of an object, in the order of the fields.
type properties struct {
	names   []string
	schemas map[string]*schema
}

func (p *properties) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	for i, name := range p.names {
		raw, err := encode(p.schemas[name])
		if err != nil {
			return nil, err
		}
		b.WriteByte("{,"[min(i, 1)])
		b.Write(Quote(name))
		b.WriteByte(':')
		b.Write(raw)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// encode returns a value as JSON, with the signs of HTML as they are.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}

// maxDepth is how deep a schema describes what is within structs and lists. What is deeper
// is any value.
const maxDepth = 6

// Schema returns a JSON Schema of a type, of which forms are made. It has the kinds of
// values, doc comments, the constants of a type as its enum, and which fields are always
// there: those that are no pointer, list or map, and are not left out if they are empty.
// As JSON objects lose the order of their names, propertyOrder keeps that of the fields;
// enumNames are the names of constants that are numbers.
func Schema(t types.Type, source Source) json.RawMessage {
	w := &schemaWriter{Source: source}
	s := w.schema(t)
	if named, ok := types.Unalias(deref(t)).(*types.Named); ok {
		s.Title = named.Obj().Name()
	}
	raw, _ := encode(s) // which has nothing that JSON has not
	return lines(raw)
}

// lines sets each property of an object on a line of its own.
func lines(schema json.RawMessage) json.RawMessage {
	const properties = `"properties":{`
	var b bytes.Buffer
	depth, open := 0, 0 // open is the depth of the properties
	for i := 0; i < len(schema); i++ {
		c := schema[i]
		switch {
		case c == '"':
			end := i + 1
			for ; schema[end] != '"'; end++ {
				if schema[end] == '\\' {
					end++
				}
			}
			if open == 0 && depth == 1 && bytes.HasPrefix(schema[i:], []byte(properties)) {
				end = i + len(properties) - 1
				open, depth = 2, 2
				b.WriteString(properties + "\n\t")
			} else {
				b.Write(schema[i : end+1])
			}
			i = end
			continue
		case c == '{' || c == '[':
			depth++
		case (c == '}' || c == ']') && depth == open:
			b.WriteByte('\n')
			depth, open = depth-1, -1
		case c == '}' || c == ']':
			depth--
		}
		b.WriteByte(c)
		if c == ',' && depth == open {
			b.WriteString("\n\t")
		}
	}
	return b.Bytes()
}

type schemaWriter struct {
	Source
	open []types.Type // the named types around
}

func (w *schemaWriter) schema(t types.Type) *schema {
	t = types.Unalias(deref(t))
	named, isNamed := t.(*types.Named)
	if isNamed {
		if s, ok := w.known(named); ok {
			return s
		}
	}
	if len(w.open) >= maxDepth || slices.Contains(w.open, t) {
		return &schema{}
	}
	w.open = append(w.open, t)
	defer func() { w.open = w.open[:len(w.open)-1] }()
	s := w.underlying(t)
	if isNamed {
		s.Description = w.TypeDoc(named.Obj())
		w.enum(s, named)
	}
	return s
}

// known returns the schema of a type with a form of its own.
func (w *schemaWriter) known(t *types.Named) (s *schema, ok bool) {
	path := ""
	if t.Obj().Pkg() != nil {
		path = t.Obj().Pkg().Path()
	}
	switch path + "." + t.Obj().Name() {
	case "time.Time":
		return &schema{Type: "string", Format: "date-time"}, true
	case "time.Duration":
		return &schema{Type: "integer", Format: "nanoseconds"}, true
	}
	if !ownJSON(t) {
		return nil, false
	}
	s = &schema{Description: w.TypeDoc(t.Obj())}
	if Marshaler(t, true) == "MarshalText" && unmarshaler(t) == "UnmarshalText" {
		s.Type = "string"
	}
	return s, true
}

func (w *schemaWriter) underlying(t types.Type) *schema {
	switch u := t.Underlying().(type) {
	case *types.Basic:
		return basicSchema(u)
	case *types.Pointer:
		return w.schema(u.Elem())
	case *types.Slice:
		if IsBytes(u) && !ownJSON(u.Elem()) {
			return &schema{Type: "string", ContentEncoding: "base64"}
		}
		return &schema{Type: "array", Items: w.schema(u.Elem())}
	case *types.Array:
		n := u.Len()
		return &schema{Type: "array", Items: w.schema(u.Elem()), MinItems: &n, MaxItems: &n}
	case *types.Map:
		return &schema{Type: "object", Additional: w.schema(u.Elem())}
	case *types.Struct:
		return w.object(u)
	}
	return &schema{}
}

func (w *schemaWriter) object(u *types.Struct) *schema {
	s := &schema{Type: "object", Properties: &properties{schemas: map[string]*schema{}}}
	for _, f := range fieldsOf(u) {
		field := w.schema(f.Var.Type())
		if doc := w.FieldDoc(f.Var); doc != "" {
			field.Description = doc
		}
		if f.Quoted {
			field = &schema{Type: "string", Description: field.Description}
		}
		s.Properties.names = append(s.Properties.names, f.Name)
		s.Properties.schemas[f.Name] = field
		if f.required {
			s.Required = append(s.Required, f.Name)
		}
	}
	if s.PropertyOrder = s.Properties.names; s.PropertyOrder == nil {
		s.Properties = nil
	}
	return s
}

// basicSchema returns the schema of a type of the language. Limits that a browser's
// numbers cannot hold are left out.
func basicSchema(t *types.Basic) *schema {
	limits := map[types.BasicKind][2]int64{
		types.Int8: {math.MinInt8, math.MaxInt8}, types.Int16: {math.MinInt16, math.MaxInt16}, types.Int32: {math.MinInt32, math.MaxInt32},
		types.Uint8: {0, math.MaxUint8}, types.Uint16: {0, math.MaxUint16}, types.Uint32: {0, math.MaxUint32},
	}
	switch info := t.Info(); {
	case info&types.IsBoolean != 0:
		return &schema{Type: "boolean"}
	case info&types.IsInteger != 0:
		s := &schema{Type: "integer"}
		if limit, ok := limits[t.Kind()]; ok {
			s.Minimum, s.Maximum = &limit[0], &limit[1]
		} else if info&types.IsUnsigned != 0 {
			s.Minimum = new(int64)
		}
		return s
	case info&types.IsFloat != 0:
		return &schema{Type: "number"}
	case info&types.IsString != 0:
		return &schema{Type: "string"}
	}
	return &schema{}
}

// enum adds the constants of a type: as declared, numbers by their value. Flags, which are
// added up, are no enum.
func (w *schemaWriter) enum(s *schema, t *types.Named) {
	if t.Obj().Pkg() == nil || t.TypeArgs().Len() > 0 {
		return
	}
	var found []*types.Const
	scope := t.Obj().Pkg().Scope()
	for _, name := range scope.Names() {
		c, ok := scope.Lookup(name).(*types.Const)
		if ok && types.Identical(c.Type(), t) && (c.Exported() || t.Obj().Pkg() == w.Home()) {
			found = append(found, c)
		}
	}
	kind := constant.Unknown
	if len(found) > 0 {
		kind = found[0].Val().Kind()
	}
	switch kind {
	case constant.String:
		slices.SortStableFunc(found, w.byPlace)
		for _, c := range found {
			s.add(string(Quote(constant.StringVal(c.Val()))), "")
		}
	case constant.Int:
		slices.SortStableFunc(found, func(a, b *types.Const) int {
			switch {
			case constant.Compare(a.Val(), token.LSS, b.Val()):
				return -1
			case constant.Compare(a.Val(), token.GTR, b.Val()):
				return 1
			}
			return w.byPlace(a, b)
		})
		if areFlags(found) {
			return
		}
		for _, c := range found {
			s.add(c.Val().ExactString(), c.Name())
		}
	}
}

// add adds a value to an enum, once.
func (s *schema) add(value, name string) {
	if slices.ContainsFunc(s.Enum, func(v json.RawMessage) bool { return string(v) == value }) {
		return
	}
	s.Enum = append(s.Enum, json.RawMessage(value))
	if name != "" {
		s.EnumNames = append(s.EnumNames, name)
	}
}

func (w *schemaWriter) byPlace(a, b *types.Const) int {
	x, y := w.Place(a.Pos()), w.Place(b.Pos())
	return cmp.Or(cmp.Compare(x.Filename, y.Filename), cmp.Compare(x.Line, y.Line), cmp.Compare(a.Name(), b.Name()))
}

// areFlags reports whether constants are bits: each is zero or a power of two, and one of
// them is at least 4.
func areFlags(list []*types.Const) bool {
	highest := uint64(0)
	for _, c := range list {
		n, exact := constant.Uint64Val(c.Val())
		if !exact || n&(n-1) != 0 {
			return false
		}
		highest = max(highest, n)
	}
	return highest >= 4
}

// Quote returns a text as JSON, with the signs of HTML as they are.
func Quote(text string) json.RawMessage {
	raw, _ := encode(text) // a text always has a form
	return raw
}
