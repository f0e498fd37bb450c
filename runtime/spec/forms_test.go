package spec_test

import (
	"testing"

	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/stretchr/testify/require"
)

// TestCompareForms: what is lost is told, what is new or wider is not.
func TestCompareForms(t *testing.T) {
	t.Parallel()
	type fields = map[string]string
	batch := func(f fields) map[string]fields { return map[string]fields{"Batch": f} }
	for name, c := range map[string]struct {
		from, to map[string]fields
		want     []string
	}{
		"nothing":           {batch(fields{"url": "string"}), batch(fields{"url": "string"}), nil},
		"new field":         {batch(fields{"url": "string"}), batch(fields{"url": "string", "size": "int"}), nil},
		"gone":              {batch(fields{"url": "string", "n": "int"}), batch(fields{"n": "int"}), []string{"Batch loses url, which runs in flight have"}},
		"renamed":           {batch(fields{"URL": "string"}), batch(fields{"Link": "string"}), []string{"Batch loses URL, which runs in flight have"}},
		"case":              {batch(fields{"URL": "string"}), batch(fields{"url": "string"}), nil},
		"wider":             {batch(fields{"n": "int32"}), batch(fields{"n": "int64"}), nil},
		"whole to floating": {batch(fields{"n": "int64"}), batch(fields{"n": "float64"}), nil},
		"narrower":          {batch(fields{"n": "int64"}), batch(fields{"n": "int8"}), []string{"Batch.n was int64, and is int8"}},
		"signed":            {batch(fields{"n": "int8"}), batch(fields{"n": "uint64"}), []string{"Batch.n was int8, and is uint64"}},
		"unsigned":          {batch(fields{"n": "uint8"}), batch(fields{"n": "int16"}), nil},
		"other":             {batch(fields{"n": "string"}), batch(fields{"n": "int"}), []string{"Batch.n was string, and is int"}},
		"anything":          {batch(fields{"n": "string"}), batch(fields{"n": "any"}), nil},
		"something":         {batch(fields{"n": "any"}), batch(fields{"n": "string"}), []string{"Batch.n was any, and is string"}},
		"list":              {batch(fields{"n": "[]string"}), batch(fields{"n": "[]int"}), []string{"an element of Batch.n was string, and is int"}},
		"to list":           {batch(fields{"n": "string"}), batch(fields{"n": "[]string"}), []string{"Batch.n was string, and is []string"}},
		"longer list":       {batch(fields{"n": "[3]string"}), batch(fields{"n": "[]string"}), nil},
		"shorter list":      {batch(fields{"n": "[]string"}), batch(fields{"n": "[3]string"}), []string{"Batch.n was []string, and is [3]string"}},
		"two alike":         {batch(fields{"a": "string", "b": "string"}), batch(fields{"a": "int", "b": "int"}), []string{"Batch.a was string, and is int", "Batch.b was string, and is int"}},
		"keys":              {batch(fields{"n": "map[string]int"}), batch(fields{"n": "map[int]int"}), []string{"Batch.n was map[string]int, and is map[int]int"}},
		"keys of a type":    {batch(fields{"n": "map[Key[int]]int"}), batch(fields{"n": "map[uuid.UUID]int"}), []string{"Batch.n was map[Key[int]]int, and is map[uuid.UUID]int"}},
		"wider keys":        {batch(fields{"n": "map[int]int", "t": "map[Key[int]]bool"}), batch(fields{"n": "map[int64]int", "t": "map[string]bool"}), nil},
		"map":               {batch(fields{"n": "map[string]int"}), batch(fields{"n": "map[string]int8"}), []string{"an element of Batch.n was int, and is int8"}},
		"own JSON":          {batch(fields{"n": "shop.Money"}), batch(fields{"n": "shop.Cents"}), []string{"Batch.n was shop.Money, and is shop.Cents"}},
		"behind a list": {
			map[string]fields{"Batch": {"lines": "[]Line"}, "Line": {"sku": "string", "next": "Line"}},
			map[string]fields{"Batch": {"lines": "[]Row"}, "Row": {"code": "string", "next": "Row"}},
			[]string{"Line loses sku, which runs in flight have"},
		},
		"to a map": {
			map[string]fields{"Batch": {"line": "Line"}, "Line": {"sku": "string"}},
			batch(fields{"line": "map[string]string"}), nil,
		},
		"generic": {
			map[string]fields{"Batch": {"page": "a.Page[b.Line]"}, "a.Page[b.Line]": {"sku": "string"}},
			map[string]fields{"Batch": {"page": "a.Page[b.Line]"}, "a.Page[b.Line]": {}},
			[]string{"Page loses sku, which runs in flight have"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from, to := &spec.Forms{Input: "Batch", Types: c.from}, &spec.Forms{Input: "Batch", Types: c.to}
			require.Equal(t, c.want, spec.CompareForms(from, to))
			require.Empty(t, spec.CompareForms(from, from))
			require.Empty(t, spec.CompareForms(nil, to))
			require.Empty(t, spec.CompareForms(from, nil))
			from.Input, to.Input = "", ""
			from.Steps, to.Steps = fields{"a": "Batch", "gone": "int"}, fields{"a": "Batch", "new": "string"}
			require.Equal(t, c.want, spec.CompareForms(from, to), "of a step")
		})
	}
	require.Equal(t, []string{"the input was string, and is int"}, spec.CompareForms(&spec.Forms{Input: "string"}, &spec.Forms{Input: "int"}))
}
