package engine_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/engine"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
)

// empty is a database without the engine.
func empty(t *testing.T) *db {
	t.Helper()
	pool := dbtest.Connect(t, dbtest.Empty(t))
	return &db{t: t, pool: pool, q: pool}
}

// with connects anew, with settings.
func (d *db) with(settings map[string]string) *pgxpool.Pool {
	d.t.Helper()
	return dbtest.With(d.t, d.pool, settings)
}

// catalog is all that a database has besides PostgreSQL itself, and when each of
// it was last written.
func (d *db) catalog() string {
	d.t.Helper()
	return d.table(`
		select 'schema', oid::text, xmin::text, nspname::text from pg_namespace where oid >= 16384
		union all select 'relation', oid::text, xmin::text, relname::text from pg_class where oid >= 16384 and relnamespace <> 'pg_toast'::regnamespace
		union all select 'function', oid::text, xmin::text, proname::text from pg_proc where oid >= 16384
		union all select 'constraint', oid::text, xmin::text, conname::text from pg_constraint where oid >= 16384
		order by 1, 2`)
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	d := empty(t)
	require.ErrorIs(t, engine.Check(t.Context(), d.pool), runtime.ErrEngineMissing)
	status, err := engine.GetStatus(t.Context(), d.pool)
	require.NoError(t, err)
	require.Equal(t, engine.Status{Server: status.Server, Pending: []string{"001_tables.sql"}}, status)
	require.False(t, status.Current())

	done, err := migrated(t.Context(), d.pool)
	require.NoError(t, err)
	require.Equal(t, []string{"applied 001_tables.sql", "installed the functions of version 1"}, done)
	require.NoError(t, engine.Check(t.Context(), d.pool))
	status, err = engine.GetStatus(t.Context(), d.pool)
	require.NoError(t, err)
	require.True(t, status.Current())

	before := d.catalog()
	done, err = migrated(t.Context(), d.pool)
	require.NoError(t, err)
	require.Empty(t, done)
	require.Equal(t, before, d.catalog(), "nothing is written when nothing is to do")
}

// TestMigrateFunctions: new functions come in place of the old ones, and
// runs go on.
func TestMigrateFunctions(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	r := d.flow("f").step("a").step("b", after("a")).start(`1`).begin()
	d.exec(`update flowc.installation set functions_checksum = 'other'`)
	d.exec(`drop function flowc.leave_idle`)
	d.exec(`create function pgflow.of_a_user() returns text language sql as 'select current_setting(''search_path'')'`)
	status, err := engine.GetStatus(t.Context(), d.pool)
	require.NoError(t, err)
	require.True(t, status.Changed)
	require.False(t, status.Current())
	done, err := migrated(t.Context(), d.pool)
	require.NoError(t, err)
	require.Equal(t, []string{"installed the functions of version 1"}, done)
	r.complete("a", `1`).complete("b", `2`)
	require.Equal(t, "completed 0", r.status())
	d.exec(`select flowc.leave_idle($1)`, worker)
	require.Equal(t, "t -", d.table(`
		select has_function_privilege('public', oid, 'execute'), proconfig from pg_proc where proname = 'of_a_user'`), "what users have added stays as it is")
}

func TestMigrateRefusesNewer(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	d.exec(`update flowc.installation set version = $1`, engine.Version+1)
	d.exec(`insert into flowc.migrations (version, name, checksum) values (2, '002_later.sql', 'x')`)
	before := d.catalog()
	require.ErrorIs(t, engine.Migrate(t.Context(), d.pool), runtime.ErrEngineNewer)
	require.Equal(t, before, d.catalog())
	require.ErrorIs(t, engine.Check(t.Context(), d.pool), runtime.ErrEngineNewer)
	status, err := engine.GetStatus(t.Context(), d.pool)
	require.NoError(t, err)
	require.Equal(t, engine.Version+1, status.Installed)
}

func TestMigrateOlder(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	d.exec(`update flowc.installation set version = $1`, engine.Version-1)
	require.ErrorIs(t, engine.Check(t.Context(), d.pool), runtime.ErrEngineOlder)
	require.NoError(t, engine.Migrate(t.Context(), d.pool))
	require.NoError(t, engine.Check(t.Context(), d.pool))
}

// TestMigrateRefusesOtherContents: a migration that was applied is never changed.
func TestMigrateRefusesOtherContents(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	d.exec(`update flowc.migrations set checksum = 'other'`)
	before := d.catalog()
	require.ErrorContains(t, engine.Migrate(t.Context(), d.pool), "migration 001_tables.sql was applied with other contents")
	require.Equal(t, before, d.catalog())
}

// TestMigrateTogether: any number of programs may migrate at once, whatever the
// defaults of their transactions are. One does it.
func TestMigrateTogether(t *testing.T) {
	t.Parallel()
	d := empty(t)
	var group sync.WaitGroup
	results := make([][]string, 8)
	errs := make([]error, len(results))
	for i := range results {
		pool := d.with(map[string]string{
			"default_transaction_isolation": []string{"read committed", "repeatable read", "serializable"}[i%3],
			"default_transaction_read_only": []string{"off", "on"}[i%2],
		})
		group.Go(func() { results[i], errs[i] = migrated(context.Background(), pool) })
	}
	group.Wait()
	var did int
	for i := range results {
		require.NoError(t, errs[i])
		if results[i] != nil {
			did++
		}
	}
	require.Equal(t, 1, did)
	require.NoError(t, engine.Check(t.Context(), d.pool))
}

// TestMigrateEntirelyOrNot: what fails in its midst leaves nothing behind, and
// says where it failed.
func TestMigrateEntirelyOrNot(t *testing.T) {
	t.Parallel()
	d := empty(t)
	d.script(`create schema flowc; create table flowc.run_waiters (n int)`)
	before := d.catalog()
	err := engine.Migrate(t.Context(), d.pool)
	require.ErrorContains(t, err, "001_tables.sql")
	require.ErrorContains(t, err, `relation "run_waiters" already exists`)
	require.Equal(t, before, d.catalog())
	d.exec(`drop table flowc.run_waiters`)
	require.NoError(t, engine.Migrate(t.Context(), d.pool), "schemas that are empty are no obstacle")

	d.exec(`update flowc.installation set functions_checksum = 'other'`)
	d.script(`alter function flowc.version() rename to old_version; create function flowc.version() returns text language sql as 'select ''mine'''`)
	before = d.catalog()
	err = engine.Migrate(t.Context(), d.pool)
	require.ErrorContains(t, err, "read.sql: ERROR: cannot change return type of existing function")
	require.Equal(t, before, d.catalog())
}

// TestMigrateLeavesUpstreamAlone: another pgflow is recognised, and not touched.
func TestMigrateLeavesUpstreamAlone(t *testing.T) {
	t.Parallel()
	d := empty(t)
	d.script(`create schema pgflow; create table pgflow.runs (run_id uuid primary key); create schema pgmq; create table pgmq.meta (queue_name text)`)
	before := d.catalog()
	require.ErrorIs(t, engine.Migrate(t.Context(), d.pool), engine.ErrUpstream)
	require.Equal(t, before, d.catalog())
	status, err := engine.GetStatus(t.Context(), d.pool)
	require.NoError(t, err)
	require.True(t, status.Upstream)
	require.ErrorIs(t, engine.Check(t.Context(), d.pool), runtime.ErrNeedsEngine)
}

func TestMigrateRefusesPgmqAlone(t *testing.T) {
	t.Parallel()
	d := empty(t)
	d.script(`create schema pgmq; create table pgmq.meta (queue_name text)`)
	before := d.catalog()
	err := engine.Migrate(t.Context(), d.pool)
	require.ErrorIs(t, err, engine.ErrPgmq)
	require.ErrorContains(t, err, "use another database, or drop the extension")
	require.Equal(t, before, d.catalog())
	status, err := engine.GetStatus(t.Context(), d.pool)
	require.NoError(t, err)
	require.True(t, status.Pgmq)
}

// TestMigrateWhateverTheSettings: settings of the database or the role do not get
// into what is installed.
func TestMigrateWhateverTheSettings(t *testing.T) {
	t.Parallel()
	d := empty(t)
	d.script(`
		create schema trap;
		create function trap.now() returns timestamptz language sql as 'select timestamptz ''1970-01-01''';
		create function trap.clock_timestamp() returns timestamptz language sql as 'select timestamptz ''1970-01-01''';
		create function trap.gen_random_uuid() returns uuid language sql as 'select ''00000000-0000-0000-0000-000000000000''::uuid';`)
	hostile := d.with(map[string]string{
		"search_path": "trap, pg_catalog, public", "default_transaction_isolation": "serializable", "check_function_bodies": "on",
		"standard_conforming_strings": "on", "DateStyle": "SQL, DMY", "TimeZone": "Asia/Kathmandu", "default_toast_compression": "pglz",
		"plan_cache_mode": "force_custom_plan", "row_security": "off",
	})
	require.NoError(t, engine.Migrate(t.Context(), hostile))
	caller := &db{t: t, pool: hostile, q: hostile}
	r := caller.flow("f").step("s").start(`1`)
	require.Equal(t, "t t", caller.table(`select started_at > '2020-01-01'::timestamptz, run_id::text > '00000001' from pgflow.runs where run_id = $1`, r.id))
	r.complete("s", `1`)
	require.Equal(t, "t", caller.table(`select completed_at > '2020-01-01'::timestamptz from pgflow.runs where run_id = $1`, r.id))
}

// TestMigrateWithoutSuperuser: it takes the right to create schemas, and no more.
func TestMigrateWithoutSuperuser(t *testing.T) {
	t.Parallel()
	d := empty(t)
	database := d.pool.Config().ConnConfig.Database
	role := pgx.Identifier{database + "_owner"}.Sanitize()
	d.script(`create role ` + role + `; grant create on database ` + pgx.Identifier{database}.Sanitize() + ` to ` + role)
	t.Cleanup(func() {
		_, err := d.pool.Exec(context.Background(), `drop owned by `+role+` cascade; drop role `+role, pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err)
	})
	pool := as(t, d.pool, database+"_owner")
	require.NoError(t, engine.Migrate(t.Context(), pool))
	require.NoError(t, engine.Migrate(t.Context(), pool))
	owner := &db{t: t, pool: pool, q: pool}
	owner.flow("f").step("s").start(`1`).complete("s", `1`)
	owner.exec(`select pgflow.delete_flow_and_data('f')`)
	_, err := engine.GrantRoles(t.Context(), pool, engine.Roles{Starter: database + "_starter"})
	require.ErrorContains(t, err, "permission denied to create role")
}

// TestScript: the SQL for other tools does the same.
func TestScript(t *testing.T) {
	t.Parallel()
	d, other := empty(t), newDB(t)
	d.script(engine.Script())
	status, err := engine.GetStatus(t.Context(), d.pool)
	require.NoError(t, err)
	require.True(t, status.Current())
	const functions = `
		select p.oid::regprocedure, p.prosecdef, p.proconfig, p.proacl, md5(p.prosrc) from pg_proc p
		where p.pronamespace in ('pgflow'::regnamespace, 'pgmq'::regnamespace, 'flowc'::regnamespace) order by p.oid::regprocedure::text`
	require.Equal(t, other.table(functions), d.table(functions))

	before := d.catalog()
	_, err = d.pool.Exec(t.Context(), engine.Script(), pgx.QueryExecModeSimpleProtocol)
	require.ErrorContains(t, err, "already exists", "it installs, and does not update")
	require.Equal(t, before, d.catalog())
	require.Equal(t, 1, strings.Count(engine.Script(), "\ncommit;"))
}

// TestEncoding: a database that cannot store every text gets the engine only if its
// encoding is named.
func TestEncoding(t *testing.T) {
	t.Parallel()
	d := empty(t)
	for _, encoding := range []string{"LATIN1", "SQL_ASCII"} {
		t.Run(encoding, func(t *testing.T) {
			name := d.pool.Config().ConnConfig.Database + "_" + strings.ToLower(encoding)
			quoted := pgx.Identifier{name}.Sanitize()
			_, err := d.pool.Exec(t.Context(), `create database `+quoted+` template template0 locale 'C' encoding '`+encoding+`'`)
			require.NoError(t, err)
			config := d.pool.Config()
			config.ConnConfig.Database = name
			pool, err := pgxpool.NewWithConfig(t.Context(), config)
			require.NoError(t, err)
			t.Cleanup(func() {
				pool.Close()
				_, err := d.pool.Exec(context.Background(), `drop database `+quoted)
				require.NoError(t, err)
			})
			for _, opts := range [][]engine.Option{nil, {engine.WithEncoding("LATIN9")}, {engine.WithEncoding("")}} {
				err = engine.Migrate(t.Context(), pool, opts...)
				require.ErrorIs(t, err, engine.ErrEncoding)
				require.ErrorContains(t, err, "it is in "+encoding)
			}
			require.NoError(t, engine.Migrate(t.Context(), pool, engine.WithEncoding(strings.ToLower(encoding))))
			require.NoError(t, engine.Migrate(t.Context(), pool), "once it is there, it is brought up to date")
		})
	}
}

// migrated migrates a database and returns what was changed.
func migrated(ctx context.Context, db engine.DB) ([]string, error) {
	var done []string
	err := engine.Migrate(ctx, db, engine.WithReport(func(change string) { done = append(done, change) }))
	return done, err
}
