package dbtest

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

// Upstream returns a new database as another make of pgflow leaves one: the contract's
// tables and functions work, and there is no engine to be seen. It is the engine's
// own, entered as a role that may not use the engine's schema; direct enters it as
// a role that may, to look and to work from outside.
func Upstream(t testing.TB) (pool, direct *pgxpool.Pool) {
	t.Helper()
	ctx := t.Context()
	databaseURL := URL(t)
	direct = Connect(t, databaseURL)
	role := direct.Config().ConnConfig.Database + "_role"
	_, err := direct.Exec(ctx, `CREATE ROLE `+quote(role))
	require.NoError(t, err)
	// Before direct is closed, and the database, which goes later, would keep it.
	t.Cleanup(func() {
		_, err := direct.Exec(context.Background(), `DROP OWNED BY `+quote(role)+`; DROP ROLE `+quote(role))
		require.NoError(t, err)
	})
	_, err = direct.Exec(ctx, fmt.Sprintf(hideSQL, quote(role)))
	require.NoError(t, err)
	return Connect(t, withRole(t, databaseURL, role)), direct
}

func withRole(t testing.TB, connString, role string) string {
	t.Helper()
	if !strings.Contains(connString, "://") {
		return connString + " role=" + role
	}
	u, err := url.Parse(connString)
	require.NoError(t, err)
	query := u.Query()
	query.Set("role", role)
	u.RawQuery = query.Encode()
	return u.String()
}

// hideSQL lets a role use the contract, whose functions use the engine.
const hideSQL = `
DO $$
DECLARE f regprocedure;
BEGIN
  FOR f IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace IN ('pgflow'::regnamespace, 'pgmq'::regnamespace) LOOP
    EXECUTE format('ALTER FUNCTION %%s SECURITY DEFINER', f);
  END LOOP;
END $$;
GRANT USAGE ON SCHEMA pgflow, pgmq TO %[1]s;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pgflow, pgmq TO %[1]s;
GRANT SELECT ON ALL TABLES IN SCHEMA pgflow, pgmq TO %[1]s;
GRANT INSERT, UPDATE ON pgflow.workers TO %[1]s;`
