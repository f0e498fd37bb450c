// Nobody gets the rights of the engine's owner by creating schemas or functions.

package engine_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/engine"
	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
)

// outsider makes a role that may create schemas in the database, and nothing else.
func outsider(t *testing.T, d *db) (name string, _ *db) {
	t.Helper()
	database := d.pool.Config().ConnConfig.Database
	name = database + "_outsider"
	role := pgx.Identifier{name}.Sanitize()
	d.script(`create role ` + role + `; grant create on database ` + pgx.Identifier{database}.Sanitize() + ` to ` + role)
	t.Cleanup(func() {
		_, err := d.pool.Exec(context.Background(), `drop owned by `+role+` cascade; drop role `+role, pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err)
	})
	pool := as(t, d.pool, name)
	return name, &db{t: t, pool: pool, q: pool}
}

// trap stands for the services that the engine calls, made by somebody who wants to
// be run with the rights of others.
const trap = `
	create schema realtime; create schema net; create schema vault; create schema cron;
	grant usage on schema realtime, net, vault, cron to public;
	create function realtime.send(payload jsonb, event text, topic text, private boolean) returns void
	language plpgsql as $$ begin raise exception 'caught %', current_user; end $$;
	create function net.http_post(url text, body jsonb default '{}', params jsonb default '{}', headers jsonb default '{}', timeout_milliseconds int default 5000)
	returns bigint language plpgsql as $$ begin raise exception 'caught %', current_user; end $$;
	create function vault.look() returns text language plpgsql as $$ begin raise exception 'caught %', current_user; end $$;
	create view vault.decrypted_secrets as select vault.look() as name, 'x' as decrypted_secret;
	create table cron.job_run_details (end_time timestamptz);
	create function cron.spring() returns trigger language plpgsql as $$ begin raise exception 'caught %', current_user; end $$;
	create trigger t before delete on cron.job_run_details for each statement execute function cron.spring();
	create view cron.job as select vault.look() as jobname;
	create function cron.unschedule(job_name text) returns boolean language plpgsql as $$ begin raise exception 'caught %', current_user; end $$;
	create function cron.schedule(job_name text, schedule text, command text) returns bigint
	language plpgsql as $$ begin raise exception 'caught %', current_user; end $$;
	grant select, delete on all tables in schema vault, cron to public`

// TestNothingOfOthersIsCalled: what the engine calls outside its schemas is a
// superuser's or its owner's, or not called.
func TestNothingOfOthersIsCalled(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	name, other := outsider(t, d)
	other.script(trap)
	calls := []string{
		`pgflow.ensure_workers()`, `pgflow.cleanup_ensure_workers_logs()`, `pgflow.setup_ensure_workers_cron()`, `pgflow.setup_requeue_stalled_tasks_cron()`,
	}
	refused := func(why string) {
		t.Helper()
		d.flow("f").step("a").step("b", after("a")).start(`1`).complete("a", `1`).complete("b", `1`)
		d.flow("f").start(`1`).begin().failTask("a", 0, "no")
		for _, call := range calls {
			_, err := d.try(`select ` + call)
			require.Equal(t, "42501", pgerr.Code(err), "%s of %s: %v", call, why, err)
		}
	}
	d.exec(`insert into pgflow.worker_functions (function_name) values ('one')`)
	refused("a schema and functions of somebody else")

	// A superuser's functions, in schemas whose owner may replace them.
	role := pgx.Identifier{name}.Sanitize()
	d.script(`
		alter function realtime.send owner to current_user; alter function net.http_post owner to current_user;
		alter function cron.schedule owner to current_user; alter table cron.job_run_details owner to current_user`)
	refused("a schema of somebody else")
	// Others' functions, in a superuser's schemas.
	d.script(`
		alter schema realtime owner to current_user; alter schema net owner to current_user; alter schema cron owner to current_user; alter schema vault owner to current_user;
		alter function realtime.send owner to ` + role + `; alter function net.http_post owner to ` + role + `;
		alter function cron.schedule owner to ` + role + `; alter table cron.job_run_details owner to ` + role)
	refused("functions of somebody else")

	// One of a superuser's beside one of somebody else with the same name.
	d.script(`
		alter function net.http_post owner to current_user;
		create function net.http_post(url text, headers jsonb, body jsonb) returns bigint language sql as 'select 1::bigint';
		alter function net.http_post(text, jsonb, jsonb) owner to ` + role)
	_, err := d.try(`select pgflow.ensure_workers()`)
	require.Equal(t, "42501", pgerr.Code(err), "%v", err)
}

// TestMigrateIntoSchemasOfOthers: whoever owns a schema can put functions of their own
// in the place of the engine's, so it is not installed there.
func TestMigrateIntoSchemasOfOthers(t *testing.T) {
	t.Parallel()
	for _, schema := range []string{"pgflow", "pgmq", "flowc"} {
		t.Run(schema, func(t *testing.T) {
			d := empty(t)
			_, other := outsider(t, d)
			other.exec(`create schema ` + schema)
			err := engine.Migrate(t.Context(), d.pool)
			require.ErrorContains(t, err, "the schema "+schema+" is there already and belongs to somebody else")
			require.Empty(t, d.table(`select relname from pg_class where relnamespace = $1::regnamespace`, schema))
		})
	}
}
