package jsontext_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/internal/jsontext"
)

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
