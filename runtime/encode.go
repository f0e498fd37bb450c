package runtime

import (
	"encoding/json"

	"github.com/flowc-dev/flowc/dsl"
	"github.com/flowc-dev/flowc/runtime/internal/jsontext"
)

// MaxValueBytes is the longest input or output, as JSON in bytes, that can be
// stored: PostgreSQL's limit for jsonb. A value with very many small parts may
// be refused earlier, since jsonb keeps 4 bytes more for each part.
const MaxValueBytes = jsontext.MaxBytes

// Reasons of an [InputError], besides errors of encoding/json. A task whose output has one
// of these faults fails without further attempts.
var (
	// ErrNUL says that a value contains the character \u0000.
	ErrNUL = jsontext.ErrNUL
	// ErrInvalidUTF8 says that a value contains a string that is not UTF-8.
	ErrInvalidUTF8 = jsontext.ErrInvalidUTF8
	// ErrTooLong says that a value is longer than [MaxValueBytes].
	ErrTooLong = jsontext.ErrTooLong
	// ErrLongNumbers says that a value contains numbers with large exponents, such as
	// 1e131071, which become many times as long whenever PostgreSQL writes them. Written
	// without its exponent a number may have 1,100 digits, and all numbers of a value
	// may take 32 MiB more than with them: each float64 fits, and each number that is
	// written without an exponent.
	ErrLongNumbers = jsontext.ErrLongNumbers
)

// encode encodes the input of a run; [dsl.None] and nil are the empty object.
func encode(input any) (json.RawMessage, error) {
	switch input.(type) {
	case nil, dsl.None:
		return json.RawMessage("{}"), nil
	}
	return jsontext.Encode(input)
}
