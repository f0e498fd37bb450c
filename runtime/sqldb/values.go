package sqldb

import (
	"fmt"
	"strings"
	"time"
)

// values are arguments as every driver takes them. What database/sql has no type
// for goes as text, from which the database reads it.
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

// array is a text[] in the database's own notation.
func array(elements []string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, e := range elements {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		_, _ = escape.WriteString(&b, e) // a Builder takes everything
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}

// interval is a duration in the database's own notation and precision.
func interval(d time.Duration) string { return fmt.Sprintf("%d microseconds", d.Microseconds()) }
