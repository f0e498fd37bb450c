package cond

import (
	"encoding/json"
	"fmt"
	"go/types"
	"math/big"
	"strconv"

	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/jsonform"
)

// literal returns what a term compares with, as JSON and as Go.
func (c *compiler) literal(t term, leaf member) (raw json.RawMessage, source string, ok bool) {
	last := t.path[len(t.path)-1]
	pos, end := c.pair.Pos(t.path[0].start), c.pair.Pos(last.end)
	where := path(t.path)
	typ, _ := jsonform.Pointee(leaf.typ)
	basic, isBasic := typ.Underlying().(*types.Basic)
	if !isBasic || jsonform.Marshaler(leaf.typ, true) != "" || basic.Info()&(types.IsBoolean|types.IsNumeric|types.IsString) == 0 || basic.Info()&types.IsComplex != 0 {
		c.Diags.Add(diag.ConditionType, pos, end, "%s: %s is %s, which a condition cannot compare", c.Who, where, c.name(leaf.typ)).
			Fix("look at a bool, a number or a string")
		return nil, "", false
	}
	kind := stringKind
	example := "'x'"
	switch {
	case basic.Info()&types.IsBoolean != 0:
		kind, example = boolean, "true"
	case basic.Info()&types.IsNumeric != 0:
		kind, example = number, "1"
	}
	l := t.literal
	if l.kind == absent {
		if kind != boolean {
			c.Diags.Add(diag.ConditionType, pos, end, "%s: %s is %s, so it has to be compared", c.Who, where, c.name(leaf.typ)).
				Fix(`%s:"%s == %s"`, c.pair.Key, where, example)
			return nil, "", false
		}
		l.text = "true"
	} else if l.kind == number && basic.Info()&types.IsFloat != 0 && !fitsFloat(l.text, basic) {
		b := c.Diags.Add(diag.ConditionNever, c.pair.Pos(l.start), c.pair.Pos(l.end), "%s: %s is %s, which cannot be exactly %s, so its JSON is never that",
			c.Who, where, c.name(leaf.typ), l.text)
		if rounded := round(l.text, basic); fitsFloat(rounded, basic) {
			b.Fix("compare it with %s, which is what JSON has for it", rounded).Edit(c.pair.Pos(l.start), c.pair.Pos(l.end), rounded)
		} else {
			b.Fix("compare it with a smaller number")
		}
		return nil, "", false
	} else if l.kind != kind || kind == number && !fitsNumber(l.text, basic) {
		c.Diags.Add(diag.ConditionType, c.pair.Pos(l.start), c.pair.Pos(l.end), "%s: %s is %s, and %s is not", c.Who, where, c.name(leaf.typ), c.pair.Value[l.start:l.end]).
			Fix("compare it with %s", kindOf(basic))
		return nil, "", false
	}
	if zero := isZero(l); zero && leaf.omitted {
		c.Diags.Add(diag.ConditionNever, pos, c.pair.Pos(l.end), "%s: %s is left out of the JSON when it is %s, so this never holds", c.Who, where, c.pair.Value[l.start:l.end]).
			Fix("remove omitempty and omitzero from %s, or turn the condition around with %s", last.name, opposite(c.pair.Key))
		return nil, "", false
	}
	raw, source = json.RawMessage(l.text), l.text
	if kind == stringKind {
		raw, source = jsonform.Quote(l.text), strconv.Quote(l.text)
	}
	if leaf.quoted {
		raw = jsonform.Quote(string(raw))
	}
	return raw, source, true
}

func opposite(key string) string {
	if key == "if" {
		return "if_not"
	}
	return "if"
}

func isZero(l literal) bool {
	switch l.kind {
	case boolean:
		return l.text == "false"
	case number:
		f, err := strconv.ParseFloat(l.text, 64)
		return err == nil && f == 0
	case stringKind:
		return l.text == ""
	}
	return false
}

// fitsNumber reports whether a number is one of a type.
func fitsNumber(s string, t *types.Basic) bool {
	if t.Info()&types.IsFloat != 0 {
		return true // fitsFloat has more to say
	}
	bits := map[types.BasicKind]int{
		types.Int8: 8, types.Int16: 16, types.Int32: 32, types.Uint8: 8, types.Uint16: 16, types.Uint32: 32,
	}[t.Kind()]
	if bits == 0 {
		bits = 64
	}
	var err error
	if t.Info()&types.IsUnsigned != 0 {
		_, err = strconv.ParseUint(s, 10, bits)
	} else {
		_, err = strconv.ParseInt(s, 10, bits)
	}
	return err == nil
}

// fitsFloat reports whether a float of a type is written in JSON as the number
// that s is: only then can it be found.
func fitsFloat(s string, t *types.Basic) bool {
	want, okWant := new(big.Rat).SetString(s)
	have, okHave := new(big.Rat).SetString(round(s, t))
	return okWant && okHave && want.Cmp(have) == 0
}

// round returns a number as a float of a type is written.
func round(s string, t *types.Basic) string {
	bits := 64
	if t.Kind() == types.Float32 {
		bits = 32
	}
	f, _ := strconv.ParseFloat(s, bits) // if it is too large, infinity is no number
	return strconv.FormatFloat(f, 'g', -1, bits)
}

func kindOf(t *types.Basic) string {
	switch {
	case t.Info()&types.IsBoolean != 0:
		return "true or false"
	case t.Info()&types.IsString != 0:
		return "a text in single quotes"
	case t.Info()&types.IsFloat != 0:
		return "a number"
	}
	return fmt.Sprintf("a whole number that fits %s", t.Name())
}
