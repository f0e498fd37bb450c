package devdb

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

func TestOpen(t *testing.T) {
	t.Setenv("DATABASE_URL", "")
	ctx := t.Context()
	pool, closeDB, err := Open(ctx, Config{}, func(c *pgxpool.Config) { c.MaxConns = 7 })
	require.NoError(t, err)
	defer closeDB()
	require.EqualValues(t, 7, pool.Config().MaxConns)
	_, err = runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "one", Steps: []spec.Step{{Slug: "a"}}})
	require.NoError(t, err, "the engine is there")

	t.Setenv("DATABASE_URL", pool.Config().ConnString())
	same, closeSame, err := Open(ctx, Config{})
	require.NoError(t, err)
	_, err = ops.GetDefinition(ctx, same, "one")
	require.NoError(t, err)
	closeSame()
	require.NoError(t, pool.Ping(ctx), "a database that Open did not start lives on")

	for url, want := range map[string]string{
		"postgres://me:secret@127.0.0.1:1/x": "",
		"postgres://%%":                      "flowc: DATABASE_URL cannot be read; ",
	} {
		t.Setenv("DATABASE_URL", url)
		_, _, err = Open(ctx, Config{})
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "secret")
	}
	closeDB()
	require.Error(t, pool.Ping(ctx))
}
