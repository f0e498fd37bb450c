package sqldb

import (
	"fmt"
	"strings"
	"time"
)

// values converts arguments to types that every driver takes. What database/sql has no
// type for is sent as text, which the database parses.
func values(args []any) []any {
	plain := make([]any, len(args))
	for i, arg := range args {
		plain[i] = value(arg)
	}
	return plain
}

func value(arg any) any {
	switch a := arg.(type) {
	case []string:
		if a == nil {
			return nil
		}
		return array(a)
	case time.Duration:
		return interval(a)
	case *time.Duration:
		if a == nil {
			return nil
		}
		return interval(*a)
	}
	return arg
}

var escape = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// array formats a text[] as PostgreSQL writes it.
func array(elements []string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, e := range elements {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		_, _ = escape.WriteString(&b, e) // a Builder never fails
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}

// interval formats a duration as PostgreSQL writes it, in its precision.
func interval(d time.Duration) string { return fmt.Sprintf("%d microseconds", d.Microseconds()) }
