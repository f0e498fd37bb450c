package worker

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/try"
)

// A full disk and used-up connections are not told as a database that is away.
func TestTrouble(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]string{
		"53100": "the disk of the database is full", "53200": "the database is out of memory",
		"53300": "all connections of the database are in use", "53400": "the database has used up something that it needs",
		"57P01": "the database is away", "08006": "the database is away",
	} {
		require.Equal(t, want, trouble(fmt.Errorf("calling: %w", &pgconn.PgError{Code: code})), code)
	}
	require.Equal(t, "the database is away", trouble(errors.New("broken pipe")))
}

// A map whose outputs are too large together says so, and other results that cannot be
// stored say what they are.
func TestRefused(t *testing.T) {
	t.Parallel()
	s := &session{Worker: &Worker{services: map[string]*service{"f": {definition: runtime.Definition{
		FlowOptions: runtime.FlowOptions{Steps: []runtime.StepOptions{{Slug: "one"}, {Slug: "each", Type: runtime.MapStep}}}}}}}}
	of := func(step, output, code string) string {
		r := result{task: &task{claimed: claimed{Flow: "f", Step: step}}, Result: try.Result{Output: output}}
		return s.refused(r, &pgconn.PgError{Code: code})
	}
	require.Equal(t, "the outputs of all tasks of the map are too large together for one value", of("each", "1", "54000"))
	require.Equal(t, "the output cannot be stored", of("one", "1", "54000"))
	require.Equal(t, "the output cannot be stored", of("each", strings.Repeat("x", largestValue/2), "54000"))
	require.Equal(t, "the output cannot be stored", of("each", "1", "22P05"))
	require.Equal(t, "what came of the task cannot be recorded", of("each", "1", "42501"))
}
