package jsonlayout

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestIndent compares with encoding/json where nothing is nested too deeply.
func TestIndent(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`{}`, `[]`, ` [ ] `, `1e400`, `"a"`, ` null `, `[1,2,[],{},[[]],{"a":{}}]`,
		`{"a": {"b": [1, "x", true, null, -1.50e+3]}, "c\"}": "[\\\" , : {", "é\u00e9": "\\"}`,
		"[\n\t1 ,\r\n 2 ]", strings.Repeat("[", 50) + strings.Repeat("]", 50),
	} {
		var want bytes.Buffer
		require.NoError(t, json.Indent(&want, []byte(strings.TrimSpace(text)), "", "  "))
		require.Equal(t, want.String(), string(Indent([]byte(text))))
	}
}

// TestIndentIsBounded: what is laid out is the same value, and not much longer.
func TestIndentIsBounded(t *testing.T) {
	t.Parallel()
	const depth = 4000
	deep := strings.Repeat("[", depth) + strings.Repeat("]", depth)
	wide := strings.TrimSuffix(strings.Repeat("0,", 400_000), ",")
	for name, text := range map[string]string{
		"deep":          deep,
		"wide and deep": strings.Repeat("[", depth) + wide + strings.Repeat("]", depth),
		"many deep":     "[" + strings.TrimSuffix(strings.Repeat(deep+",", 50), ",") + "]",
		"objects":       strings.Repeat(`{"a":`, depth) + "[" + wide + "]" + strings.Repeat("}", depth),
		"beside":        `{"name":"x","deep":` + strings.Repeat("[", depth) + wide + strings.Repeat("]", depth) + `,"z":[1]}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := Indent([]byte(text))
			require.Less(t, len(got), 4*len(text)+maxExtra+len(text))
			var want, same bytes.Buffer
			require.NoError(t, json.Compact(&want, []byte(text)))
			require.NoError(t, json.Compact(&same, got))
			require.True(t, want.String() == same.String())
			if name == "beside" {
				require.Contains(t, string(got), "\n  \"name\": \"x\",\n  \"deep\": [\n", "what is not deep is laid out")
				require.Contains(t, string(got), "0,0,0", "and what is stays together")
			}
		})
	}
}

func TestIndentAnything(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var value func(depth int) *rapid.Generator[any]
		value = func(depth int) *rapid.Generator[any] {
			kinds := []*rapid.Generator[any]{rapid.Float64().AsAny(), rapid.String().AsAny(), rapid.Bool().AsAny(), rapid.Just[any](nil)}
			if depth > 0 {
				kinds = append(kinds, rapid.SliceOfN(value(depth-1), 0, 3).AsAny(), rapid.MapOfN(rapid.String(), value(depth-1), 0, 3).AsAny())
			}
			return rapid.OneOf(kinds...)
		}
		raw, err := json.Marshal(value(4).Draw(t, "value"))
		require.NoError(t, err)
		var want bytes.Buffer
		require.NoError(t, json.Indent(&want, raw, "", "  "))
		require.Equal(t, want.String(), string(Indent(raw)))
	})
}
