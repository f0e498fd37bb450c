package worker

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/internal/try"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A full disk and used-up connections are not called unreachable.
func TestTrouble(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]string{
		"53100": "database disk full", "53200": "database out of memory",
		"53300": "database has no free connections", "53400": "database out of resources",
		"57P01": "database unreachable", "08006": "database unreachable",
	} {
		require.Equal(t, want, trouble(fmt.Errorf("calling: %w", &pgconn.PgError{Code: code})), code)
	}
	require.Equal(t, "database unreachable", trouble(errors.New("broken pipe")))
	require.Equal(t, "database reachable again", over("database unreachable"))
	require.Equal(t, "database working again", over("database disk full"))
}

// A map whose outputs are too large together says so, and other results that cannot be
// stored say what they are.
func TestRefused(t *testing.T) {
	t.Parallel()
	s := &session{Worker: &Worker{services: map[string]*service{"f": {definition: spec.Flow{
		Steps: []spec.Step{{Slug: "one"}, {Slug: "each", Type: spec.TypeMap}}}}}}}
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
