package ops_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/internal/testflow"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

type greet = testflow.Greet

var (
	typed   = testflow.Typed
	open    = testflow.Open
	newHand = testflow.NewHand
)

func count(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) (n int) {
	t.Helper()
	require.NoError(t, pool.QueryRow(context.Background(), sql, args...).Scan(&n))
	return n
}
