package jsontext_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/internal/jsontext"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// A condition holds here if it does in the database, whatever is compared.
func TestContains(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	values := []string{
		`1`, `1.00`, `10e-1`, `-0`, `0`, `1e400`, `10e399`, `12345678901234567890.1`, `12345678901234567890.10`, `12345678901234567890.2`,
		`"x"`, `"1"`, `""`, `"\u00e9"`, `"é"`, `true`, `false`, `null`,
		`[]`, `[1]`, `[1.0, 1]`, `[[1]]`, `[[1, 2]]`, `[2, [1, 2], {"a": 1}]`, `[{"a": 1, "b": 2}]`, `[null]`, `["x"]`, `[[]]`, `[{}]`,
		`{}`, `{"a": 1}`, `{"a": 1.0, "b": 2}`, `{"a": [1, 2]}`, `{"a": {"b": null}}`, `{"a": {}}`, `{"a": null}`, `{"a": "x"}`,
	}
	var a, b []string
	for _, x := range values {
		for _, y := range values {
			a, b = append(a, fmt.Sprintf(`{"k": %s, "l": 1}`, x)), append(b, fmt.Sprintf(`{"k": %s}`, y))
			if x[0] == '{' || y[0] == '{' { // conditions are objects; what they are compared with may be anything
				a, b = append(a, x), append(b, fmt.Sprintf(`{"a": %s}`, y))
			}
		}
	}
	rows, err := pool.Query(t.Context(), `SELECT u.a::jsonb @> u.b::jsonb FROM unnest($1::text[], $2::text[]) WITH ORDINALITY u(a, b, n) ORDER BY n`, a, b)
	require.NoError(t, err)
	defer rows.Close()
	holds := 0
	for i := range a {
		require.True(t, rows.Next(), rows.Err())
		var want bool
		require.NoError(t, rows.Scan(&want))
		require.Equal(t, want, contains(t, a[i], b[i]), "%s @> %s", a[i], b[i])
		if want {
			holds++
		}
	}
	require.Greater(t, holds, len(values))
}

func contains(t *testing.T, a, b string) bool {
	t.Helper()
	whole, err := jsontext.Decode([]byte(a))
	require.NoError(t, err)
	part, err := jsontext.Decode([]byte(b))
	require.NoError(t, err)
	_, ok := jsontext.Contains(whole, part)
	return ok
}
