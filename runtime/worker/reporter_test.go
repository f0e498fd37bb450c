package worker

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/internal/attempt"
)

// A map whose outputs are too large together says so, and other results that cannot be
// stored say what they are.
func TestRefusal(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name         string
		isMap        bool
		output, code string
		want         string
	}{
		{"map", true, "1", "54000", "the outputs of all tasks of the map are too large together for one value"},
		{"single", false, "1", "54000", "the output cannot be stored"},
		{"large element", true, strings.Repeat("x", maxValueBytes/2), "54000", "the output cannot be stored"},
		{"text", true, "1", "22P05", "the output cannot be stored"},
		{"permissions", true, "1", "42501", "what came of the task cannot be recorded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := result{task: &task{step: step{isMap: c.isMap}}, Result: attempt.Result{Output: c.output}}
			require.Equal(t, c.want, refusal(r, &pgconn.PgError{Code: c.code}))
		})
	}
}
