package jsonform

import (
	"go/token"
	"go/types"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/gen/internal/loadtest"
)

const answers = `package shop

import (
	"encoding/json"
	"time"

	"example.com/shop/other"
)

type Answer struct {
	Yes      bool ` + "`json:\"yes\"`" + `
	Small    int8
	Big      uint64
	Price    float32 ` + "`json:\"price,omitempty\"`" + `
	Level    Level
	Far      other.Level
	When     time.Time
	Span     time.Duration
	Maybe    *string
	Raw      json.RawMessage
	Bytes    []byte
	Pair     [2]Rank
	Counts   map[string]int
	Quoted   int ` + "`json:\",string\"`" + `
	Next     *Answer
	Text     Text
	Own      Own
	Gone     string ` + "`json:\"-\"`" + `
	Embedded
	*Further
}

type Embedded struct{ In string }

type Further struct{ Out string }

type Level string

const (
	Low    Level = "low"
	High   Level = "high"
	hidden Level = "hidden"
	same         = High
)

type Rank int

const (
	Second Rank = 2
	First  Rank = 1
	Third  Rank = 3
)

type Flags uint8

const (
	A Flags = 1 << iota
	B
	C
)

type Text string

func (t Text) MarshalText() ([]byte, error)  { return []byte(t), nil }
func (t *Text) UnmarshalText(b []byte) error { return nil }

type Own string

func (o Own) MarshalJSON() ([]byte, error)  { return nil, nil }
func (o *Own) UnmarshalJSON(b []byte) error { return nil }

type Many []Answer

type Bits struct{ Flags Flags }
`

// comments stand in for those of a package: every type and field has one.
type comments struct{ home *types.Package }

func (c comments) Home() *types.Package { return c.home }

func (c comments) TypeDoc(t *types.TypeName) string {
	if t.Pkg() != c.home {
		return ""
	}
	return t.Name() + " is a type."
}

func (c comments) FieldDoc(f *types.Var) string {
	if f.Name() == "Yes" {
		return "Yes is a field."
	}
	return ""
}

func (c comments) Place(pos token.Pos) token.Position { return token.Position{Line: int(pos)} }

func TestSchema(t *testing.T) {
	t.Parallel()
	tree, err := loadtest.Load("/house", map[string]string{
		"shop/shop.go":   answers,
		"other/other.go": "package other\n\ntype Level int\n\nconst (\n\tUp Level = iota\n\tDown\n\tinner\n)\n",
	})
	require.NoError(t, err)
	var home *types.Package
	for _, p := range tree.Packages {
		require.Empty(t, p.Problems)
		if p.Name == "shop" {
			home = p.Types
		}
	}
	schema := func(name string) string {
		return string(Schema(home.Scope().Lookup(name).Type(), comments{home}))
	}
	require.JSONEq(t, `{"type": "object", "title": "Answer", "description": "Answer is a type.",
		"properties": {
			"yes": {"type": "boolean", "description": "Yes is a field."},
			"Small": {"type": "integer", "minimum": -128, "maximum": 127},
			"Big": {"type": "integer", "minimum": 0},
			"price": {"type": "number"},
			"Level": {"type": "string", "description": "Level is a type.", "enum": ["low", "high", "hidden"]},
			"Far": {"type": "integer", "enum": [0, 1], "enumNames": ["Up", "Down"]},
			"When": {"type": "string", "format": "date-time"},
			"Span": {"type": "integer", "format": "nanoseconds"},
			"Maybe": {"type": "string"},
			"Raw": {},
			"Bytes": {"type": "string", "contentEncoding": "base64"},
			"Pair": {"type": "array", "minItems": 2, "maxItems": 2, "items":
				{"type": "integer", "description": "Rank is a type.", "enum": [1, 2, 3], "enumNames": ["First", "Second", "Third"]}},
			"Counts": {"type": "object", "additionalProperties": {"type": "integer"}},
			"Quoted": {"type": "string"},
			"Next": {},
			"Text": {"type": "string", "description": "Text is a type."},
			"Own": {"description": "Own is a type."},
			"In": {"type": "string"},
			"Out": {"type": "string"}
		},
		"propertyOrder": ["yes", "Small", "Big", "price", "Level", "Far", "When", "Span", "Maybe", "Raw", "Bytes", "Pair", "Counts", "Quoted", "Next", "Text", "Own", "In", "Out"],
		"required": ["yes", "Small", "Big", "Level", "Far", "When", "Span", "Pair", "Quoted", "Text", "Own", "In"]
	}`, schema("Answer"))
	require.JSONEq(t, `{"type": "object", "title": "Bits", "description": "Bits is a type.", "propertyOrder": ["Flags"], "required": ["Flags"],
		"properties": {"Flags": {"type": "integer", "description": "Flags is a type.", "minimum": 0, "maximum": 255}}}`, schema("Bits"), "flags are added up")
	require.Contains(t, schema("Many"), `"items":{"type":"object"`)
}
