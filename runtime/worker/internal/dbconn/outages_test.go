package dbconn

import (
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

// A full disk and used-up connections are not called unreachable.
func TestDescribe(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]string{
		"53100": "database disk full", "53200": "database out of memory",
		"53300": "database has no free connections", "53400": "database out of resources",
		"57P01": "database unreachable", "08006": "database unreachable",
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, want, describe(fmt.Errorf("calling: %w", &pgconn.PgError{Code: code})))
		})
	}
	require.Equal(t, "database unreachable", describe(errors.New("broken pipe")))
	require.Equal(t, "database reachable again", ended("database unreachable"))
	require.Equal(t, "database working again", ended("database disk full"))
}
