package cond

import (
	"go/ast"
	goparser "go/parser"
	"go/token"
	"go/types"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/tags"
	"github.com/flowc-dev/flowc/runtime/spec"
)

const shop = `package shop

type Order struct {
	Plan  string  ` + "`json:\"plan\"`" + `
	Seats int8
	Rate  float32
	Paid  bool    ` + "`json:\",omitempty\"`" + `
	Age   int     ` + "`json:\",string\"`" + `
	Lines []string
	Owner *Owner
	Base
	hidden bool
}

type Owner struct{ Name string }

type Base struct{ Test bool }

type Custom struct{ Name string }

func (Custom) MarshalJSON() ([]byte, error) { return nil, nil }
`

// compile compiles a condition about the flow's input, an Order, and about steps: Charge,
// which gives an Order, Check, which gives a bool, and Odd, which has a JSON of its own.
func compile(t *testing.T, condition string) (pattern string, codes []diag.Code) {
	t.Helper()
	fset := token.NewFileSet()
	file, err := goparser.ParseFile(fset, "shop.go", shop+"\ntype T struct {\n\tF int `if:\""+condition+"\"`\n}\n", 0)
	require.NoError(t, err)
	p, err := (&types.Config{}).Check("shop", fset, []*ast.File{file}, nil)
	require.NoError(t, err)
	var pairs []*tags.Pair
	ast.Inspect(file, func(n ast.Node) bool {
		if f, ok := n.(*ast.Field); ok {
			pairs, _ = tags.Parse(f.Tag)
		}
		return true
	})
	require.Len(t, pairs, 1)
	typ := func(name string) types.Type { return p.Scope().Lookup(name).Type() }
	subjects := map[string]Subject{
		"Input":  {Name: "Input", Key: spec.RunKey, Type: typ("Order")},
		"Charge": {Name: "Charge", Key: "charge_it", Type: types.NewPointer(typ("Order"))},
		"Check":  {Name: "Check", Key: "check", Type: types.Typ[types.Bool]},
		"Odd":    {Name: "Odd", Key: "odd", Type: typ("Custom")},
	}
	diags := &diag.List{Fset: fset}
	compiled := Compile(Scope{Diags: diags, Home: p, Who: "Shop.Ship", Subject: func(name tags.Word) (Subject, bool) {
		s, ok := subjects[name.Text]
		return s, ok
	}}, pairs[0])
	for _, d := range diags.Sorted() {
		codes = append(codes, d.Code)
	}
	if compiled != nil {
		pattern = compiled.Pattern
	}
	return pattern, codes
}

func TestCompile(t *testing.T) {
	t.Parallel()
	for condition, want := range map[string]string{
		"Input.Paid":                                 `{"Paid":true}`,
		"Input.Plan == 'it''s'":                      `{"plan":"it's"}`,
		"Input.Seats == -3 && Input.Rate == 0.5":     `{"Seats":-3,"Rate":0.5}`,
		"Input.Age == 18":                            `{"Age":"18"}`,
		"Input.Owner.Name == 'Ada'":                  `{"Owner":{"Name":"Ada"}}`,
		"Input.Test":                                 `{"Test":true}`,
		"Input.Base.Test":                            `{"Test":true}`,
		"Check":                                      `{"check":true}`,
		"Check == false && Charge.Plan == 'a'":       `{"check":false,"charge_it":{"plan":"a"}}`,
		"Charge.Owner.Name == '' && Charge.Seats==1": `{"charge_it":{"Owner":{"Name":""},"Seats":1}}`,
	} {
		t.Run(condition, func(t *testing.T) {
			t.Parallel()
			pattern, codes := compile(t, condition)
			require.Empty(t, codes)
			require.Equal(t, want, pattern)
		})
	}
}

func TestCompileMistakes(t *testing.T) {
	t.Parallel()
	for condition, want := range map[string]diag.Code{
		"Input.Plan != 'a'":                  diag.BadCondition,
		"Input.Paid || Check":                diag.BadCondition,
		"Input.":                             diag.BadCondition,
		"Input.Plan == 'a":                   diag.BadCondition,
		"Input":                              diag.ConditionSubject,
		"Input.Plan":                         diag.ConditionType,
		"Input.Plan == 3":                    diag.ConditionType,
		"Input.Seats == 300":                 diag.ConditionType,
		"Input.Lines == 'a'":                 diag.ConditionType,
		"Input.Rate == 0.1234567890123":      diag.ConditionNever,
		"Input.Paid == false":                diag.ConditionNever,
		"Input.hidden":                       diag.ConditionNotJSON,
		"Odd.Name == 'a'":                    diag.ConditionNotJSON,
		"Input.Paln == 'a'":                  diag.UnknownField,
		"Check.Name == 'a'":                  diag.UnknownField,
		"Input.Seats == 1 && Input.Seats==2": diag.ConditionTwice,
	} {
		t.Run(condition, func(t *testing.T) {
			t.Parallel()
			pattern, codes := compile(t, condition)
			require.Equal(t, []diag.Code{want}, codes)
			require.Empty(t, pattern)
		})
	}
}

func TestCompileOfUnknownSubject(t *testing.T) {
	t.Parallel()
	pattern, codes := compile(t, "Nothing.X")
	require.Empty(t, pattern)
	require.Empty(t, codes, "it is for the scope to report")
}
