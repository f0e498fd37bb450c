package main

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/engine"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A transaction that made tasks and goes on holds up the watermarks of claims; one that
// wrote something else does not.
func TestDoctorTellsOfOpenStarts(t *testing.T) {
	t.Parallel()
	pool, err := pgxpool.New(t.Context(), databaseURL(t))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	require.NoError(t, engine.Migrate(t.Context(), pool))
	_, err = pool.Exec(t.Context(), `select pgflow.create_flow('mail'), pgflow.add_step('mail', 'send')`)
	require.NoError(t, err)
	open := func(sql string) {
		tx, err := pool.Begin(t.Context())
		require.NoError(t, err)
		t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
		_, err = tx.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	d := &doctor{db: pool}
	open(`create table notes (text text)`)
	found, err := checkWatermarks(t.Context(), d)
	require.NoError(t, err)
	require.Empty(t, found)
	open(`select flowc.start('mail', '{1}', null)`)
	found, err = checkWatermarks(t.Context(), d)
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, warning, found[0].Severity)
	require.Regexp(t, `^a transaction that created tasks has been open for .*: .* of .*, which is idle in transaction$`, found[0].What)
	require.Regexp(t, `^commit it, or end it: SELECT pg_terminate_backend\(\d+\);$`, found[0].Do)
}

// A handler whose transaction has been open for very long is named.
func TestDoctorTellsOfLongHandlers(t *testing.T) {
	t.Parallel()
	pool, err := pgxpool.New(t.Context(), databaseURL(t))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	require.NoError(t, engine.Migrate(t.Context(), pool))
	_, err = runtime.UpsertFlow(t.Context(), pool, spec.Flow{Slug: "mail", Steps: []spec.Step{{Slug: "write"}, {Slug: "send", Tx: spec.TxPgx}}})
	require.NoError(t, err)
	_, err = pool.Exec(t.Context(), `
		select flowc.start('mail', '{1}', null);
		select flowc.register_worker('00000000-0000-0000-0000-000000000001', 'post', '{mail}');
		select flowc.claim('00000000-0000-0000-0000-000000000001', '{mail}', '{9}')`)
	require.NoError(t, err)
	d := &doctor{db: pool}
	found, err := checkHandlers(t.Context(), d)
	require.NoError(t, err)
	require.Empty(t, found)
	_, err = pool.Exec(t.Context(), `update pgflow.step_tasks set started_at = started_at - interval '2 hours'`)
	require.NoError(t, err)
	found, err = checkHandlers(t.Context(), d)
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Regexp(t, `^the transaction of a handler has been open for 2h.*: step send of mail in run `, found[0].What)
}
