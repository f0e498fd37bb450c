package jsontext_test

import (
	"encoding/json"
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/internal/jsontext"
)

// rawIn has JSON in its fields.
type rawIn struct {
	R  json.RawMessage
	S  string
	P  *json.RawMessage `json:",omitempty"`
	No json.RawMessage  `json:"-"`
}

func pointer[T any](v T) *T { return &v }

// A doc writes itself, from a field that is not exported.
type doc struct{ text json.RawMessage }

func (d doc) MarshalJSON() ([]byte, error) { return d.text, nil }

func TestEncode(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		in   any
		want string
		err  error
	}{
		"object":                      {in: map[string]int{"a": 1}, want: `{"a":1}`},
		"raw":                         {in: json.RawMessage(` [1, 2]`), want: ` [1, 2]`},
		"NUL":                         {in: "a\x00b", err: jsontext.ErrNUL},
		"NUL in raw":                  {in: json.RawMessage(`"\u0000"`), err: jsontext.ErrNUL},
		"NUL as a key":                {in: map[string]int{"\x00": 1}, err: jsontext.ErrNUL},
		"an escaped backslash":        {in: `\u0000`, want: `"\\u0000"`},
		"NUL after escaped backslash": {in: "\\\x00", err: jsontext.ErrNUL},
		"both":                        {in: []string{`\u0000`, "\x00"}, err: jsontext.ErrNUL},
		"invalid UTF-8":               {in: "a\xffb", err: jsontext.ErrInvalidUTF8},
		"invalid UTF-8 in raw":        {in: json.RawMessage("\"\xff\""), err: jsontext.ErrInvalidUTF8},
		"the replacement character":   {in: "a\uFFFDb", want: "\"a\uFFFDb\""},
		"the same, escaped in raw":    {in: json.RawMessage(`"\ufffd"`), want: `"\ufffd"`},
		"the letters of its escape":   {in: `\ufffd`, want: `"\\ufffd"`},
		"escaped in a raw field":      {in: rawIn{R: json.RawMessage(`"\ufffd"`)}, want: `{"R":"\ufffd","S":""}`},
		"raw and invalid":             {in: rawIn{R: json.RawMessage(`"\ufffd"`), S: "\xff"}, err: jsontext.ErrInvalidUTF8},
		"invalid beside raw":          {in: rawIn{R: json.RawMessage(`"x"`), S: "\xff"}, err: jsontext.ErrInvalidUTF8},
		"raw in a map of a list":      {in: []any{map[string]any{"x": json.RawMessage(`["\ufffd","\ufffd"]`)}}, want: `[{"x":["\ufffd","\ufffd"]}]`},
		"raw behind a pointer":        {in: &rawIn{P: pointer(json.RawMessage(`"\ufffd"`))}, want: `{"R":null,"S":"","P":"\ufffd"}`},
		"raw in what writes itself":   {in: []doc{{json.RawMessage(`"\ufffd"`)}}, want: `["\ufffd"]`},
		"raw that is left out":        {in: rawIn{S: "\xff", No: json.RawMessage(`"\ufffd"`)}, err: jsontext.ErrInvalidUTF8},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := jsontext.Encode(tt.in)
			require.ErrorIs(t, err, tt.err)
			if tt.err == nil {
				require.NoError(t, err)
			}
			require.Equal(t, tt.want, string(got))
		})
	}
}

func TestEncodeWhatJSONCannotHold(t *testing.T) {
	t.Parallel()
	_, err := jsontext.Encode(make(chan int))
	var unsupported *json.UnsupportedTypeError
	require.ErrorAs(t, err, &unsupported)
}

func TestCheckLength(t *testing.T) {
	t.Parallel()
	text := make([]byte, jsontext.MaxBytes+1)
	require.ErrorIs(t, jsontext.Check(text), jsontext.ErrTooLong)
	require.NoError(t, jsontext.Check(text[1:]))
}

// TestNumbers checks which numbers are refused: not by their value, but by what they
// become when PostgreSQL writes them.
func TestNumbers(t *testing.T) {
	t.Parallel()
	exactly := func(f float64) string { // all digits that it has
		return new(big.Float).SetFloat64(f).Text('e', 1100)
	}
	trimmed := func(s string) string {
		mantissa, exponent, _ := strings.Cut(s, "e")
		return strings.TrimRight(mantissa, "0") + "e" + exponent
	}
	list := func(number string, n int) string {
		return "[" + strings.Repeat(number+",", n-1) + number + "]"
	}
	for name, text := range map[string]string{
		"the largest float64":            strconv.FormatFloat(math.MaxFloat64, 'e', -1, 64),
		"the smallest float64":           strconv.FormatFloat(math.SmallestNonzeroFloat64, 'e', -1, 64),
		"all digits of the smallest":     trimmed(exactly(math.SmallestNonzeroFloat64)),
		"all digits of a small one":      trimmed(exactly(math.Nextafter(2.2250738585072014e-308, 1))),
		"a negative one":                 "-1.7976931348623157E+308",
		"many of them":                   list("1.7976931348623157e308", 100_000),
		"many small ones":                list("-1.2345678901234567e-10", 1_000_000),
		"a long whole number":            "1" + strings.Repeat("0", 5000),
		"a long fraction":                "0." + strings.Repeat("1", 5000),
		"as many digits as there may be": "1e1099",
		"the same behind the point":      "1e-1099",
		"zeros that mean nothing":        "1e0000000000000000005",
		"one that is long already":       list(strings.Repeat("1", 1000)+"e50", 20),
		"a string":                       `"1e131071"`,
		"a key":                          `{"1e131071": 2}`,
		"a string with quotes":           `["\"1e131071", "\\\"1e131071\\", "é1e131071"]`,
		"words":                          `[true,false,null,1,2e2,{"e":true}]`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.True(t, json.Valid([]byte(text)))
			require.NoError(t, jsontext.Check([]byte(text)))
		})
	}
	for name, text := range map[string]string{
		"the largest that PostgreSQL has": "1e131071",
		"one too many":                    "1e1100",
		"one too many behind the point":   "1e-1100",
		"digits and exponent together":    "1" + strings.Repeat("0", 1000) + "e100",
		"fraction and exponent together":  "0." + strings.Repeat("0", 1000) + "1E-100",
		"nothing but zeros":               "0e-16383",
		"more than an int":                "1e99999999999999999999999999",
		"the same downwards":              "1e-99999999999999999999999999",
		"in an object":                    `{"a": {"b": [-1.5e+131070]}}`,
		"behind strings":                  `["\\", "\"", 1e131071]`,
		"many small ones":                 list("1e308", 120_000),
		"behind what looks like a string": `["a\\",1e131071]`,
		"with spaces":                     "[ 1e131071 ]",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.True(t, json.Valid([]byte(text)))
			require.ErrorIs(t, jsontext.Check([]byte(text)), jsontext.ErrLongNumbers)
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	for name, text := range map[string]string{
		"strings": `["` + strings.Repeat("payload 0123456789 ", 1<<20/19) + `"]`,
		"numbers": "[" + strings.Repeat("1.2345678901234567e-10,", 1<<20/23) + "1]",
		"records": "[" + strings.Repeat(`{"id":1001,"name":"somebody","ok":true,"rate":1.5},`, 1<<20/51) + "1]",
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				require.NoError(b, jsontext.Check([]byte(text)))
			}
		})
	}
}
