package jsonform

import (
	"encoding/json"
	"go/token"
	"go/types"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/gen/internal/loadtest"
	"github.com/flowc-dev/flowc/gen/internal/model"
)

const shop = `package shop

import (
	"sync"
	"time"
)

type Order struct {
	ID     string
	At     time.Time
	Lines  []Line
	Next   *Order
	Counts map[int]uint8
	Lock   sync.Mutex ` + "`json:\"-\"`" + `
	Any    any
}

type Line struct{ SKU string }

type Lost struct {
	ID   string
	card string
}

type Empty struct{ id string }

type Skipped struct {
	ID   string
	card string ` + "`json:\"-\"`" + `
}

type Chan struct{ C chan int }

type Key struct{ M map[Line]int }

type Complex complex128

type Writes string

func (Writes) MarshalJSON() ([]byte, error) { return nil, nil }

type Both string

func (Both) MarshalText() ([]byte, error) { return nil, nil }
func (*Both) UnmarshalText([]byte) error  { return nil }

type ByValue struct{ s string }

func (*ByValue) MarshalJSON() ([]byte, error) { return nil, nil }
func (*ByValue) UnmarshalJSON([]byte) error   { return nil }

type Named struct {
	A string ` + "`json:\"x\"`" + `
	B string ` + "`json:\"x\"`" + `
}

type Borrowed struct {
	time.Time
	Zone string
}

type Reader interface{ Read() }
`

func check(t *testing.T) (*types.Package, func(name string) types.Type) {
	t.Helper()
	tree, err := loadtest.Load("/house", map[string]string{"shop.go": shop})
	require.NoError(t, err)
	p := tree.Packages[0].Types
	return p, func(name string) types.Type { return p.Scope().Lookup(name).Type() }
}

func TestCheck(t *testing.T) {
	t.Parallel()
	p, typ := check(t)
	c := Checker{Home: p, Module: loadtest.Module}
	for name, want := range map[string][]string{
		"Order":    nil,
		"Both":     nil,
		"Skipped":  nil,
		"Lost":     {"card is not exported, so it would be lost"},
		"Empty":    {"Empty has only fields that are not exported, so it would be stored empty"},
		"Chan":     {"a channel has no JSON form"},
		"Key":      {"a map with the key Line has no JSON form"},
		"Complex":  {"a complex128 has no JSON form"},
		"Writes":   {"Writes has MarshalJSON but no UnmarshalJSON, so it cannot be read back"},
		"ByValue":  {"MarshalJSON is a method of *ByValue, so it is not used where the value itself stands"},
		"Named":    {`A and B of Named are both "x" in JSON, which writes neither`},
		"Borrowed": {"Borrowed gets MarshalJSON from the time.Time that it embeds, which writes nothing else, so Zone is lost"},
		"Reader":   {"nothing says which type to read an interface with methods back into"},
	} {
		t.Run(name, func(t *testing.T) {
			var whys []string
			for _, f := range c.Check(typ(name)) {
				whys = append(whys, f.Why)
				require.NotEmpty(t, f.Fix)
				require.NotEmpty(t, f.Key, "it can be changed, so it is reported once")
			}
			require.Equal(t, want, whys)
		})
	}
}

func TestForms(t *testing.T) {
	t.Parallel()
	p, typ := check(t)
	forms := Forms(&model.Flow{Declaring: p, In: typ("Order"), Steps: []*model.Step{
		{Slug: "pack", Out: typ("Line")}, {Slug: "tell", Out: typ("Both")}, {Slug: "mail"},
	}})
	text, err := json.Marshal(forms)
	require.NoError(t, err)
	require.JSONEq(t, `{
		"input": "Order",
		"steps": {"pack": "Line", "tell": "Both"},
		"types": {
			"Line": {"SKU": "string"},
			"Order": {"ID": "string", "At": "time.Time", "Lines": "[]Line", "Next": "Order", "Counts": "map[int]uint8", "Any": "any"}
		}
	}`, string(text))
}

// TestTag holds that a name is read from a tag as encoding/json reads it.
func TestTag(t *testing.T) {
	t.Parallel()
	for tag, want := range map[string]string{
		`json:"a"`: "a", `json:"a,omitempty"`: "a", `json:",omitempty"`: "F", `json:"a b"`: "a b", `json:"it's"`: "F", `yaml:"a"`: "F", ``: "F", `json:"-,"`: "-",
	} {
		t.Run(tag, func(t *testing.T) {
			t.Parallel()
			f := types.NewField(token.NoPos, nil, "F", types.Typ[types.Int], false)
			fields := fieldsOf(types.NewStruct([]*types.Var{f}, []string{tag}))
			require.Len(t, fields, 1)
			require.Equal(t, want, fields[0].Name)
		})
	}
	_, _, skip := Tag(`json:"-"`)
	require.True(t, skip)
}
