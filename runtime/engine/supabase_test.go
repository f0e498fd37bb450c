package engine_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// services stands for pg_net, the vault and pg_cron.
const services = `
	create schema net;
	create table net.http_request_queue (id bigint generated always as identity, method text, url text, headers jsonb, body bytea, timeout_milliseconds int);
	create function net.http_post(url text, body jsonb default '{}', params jsonb default '{}', headers jsonb default '{"Content-Type": "application/json"}', timeout_milliseconds int default 5000)
	returns bigint language sql as $$
	  insert into net.http_request_queue (method, url, headers, body) values ('POST', $1, $4, convert_to($2::text, 'UTF8')) returning id $$;
	create schema vault;
	create table vault.secrets (name text, secret text);
	create view vault.decrypted_secrets as select name, secret as decrypted_secret from vault.secrets;
	create schema cron;
	create table cron.job (jobid bigint generated always as identity, jobname text unique, schedule text, command text);
	create table cron.job_run_details (runid bigint generated always as identity, jobid bigint, end_time timestamptz);
	create function cron.schedule(schedule text, command text) returns bigint language sql as $$
	  insert into cron.job (schedule, command) values ($1, $2) returning jobid $$;
	create function cron.schedule(job_name text, schedule text, command text) returns bigint language sql as $$
	  insert into cron.job (jobname, schedule, command) values ($1, $2, $3) returning jobid $$;
	create function cron.unschedule(job_name text) returns boolean language plpgsql as $$ begin
	  delete from cron.job where jobname = job_name;
	  if not found then raise exception 'could not find valid entry for job ''%''', job_name; end if;
	  return true;
	end $$;`

func TestWithoutServices(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	for call, message := range map[string]string{
		`pgflow.ensure_workers()`:                   "pg_net is not available in this database: net.http_post does not exist",
		`pgflow.cleanup_ensure_workers_logs()`:      "pg_cron is not available in this database: cron.job_run_details does not exist",
		`pgflow.setup_ensure_workers_cron()`:        "pg_cron is not available in this database: cron.schedule does not exist",
		`pgflow.setup_requeue_stalled_tasks_cron()`: "pg_cron is not available in this database: cron.schedule does not exist",
	} {
		d.run(call, func(t *testing.T, d *db) {
			err := d.fails("0A000", message, `select `+call)
			require.Contains(t, err.Hint, "A flowc worker recovers stalled tasks and starts cron flows by itself.")
		})
	}
	d.script(`create schema net; create function net.http_post(url text) returns bigint language sql as 'select 1::bigint'`)
	d.fails("0A000", "vault is not available in this database: vault.decrypted_secrets does not exist", `select pgflow.ensure_workers()`)
}

func TestEnsureWorkers(t *testing.T) {
	contractWith(t, services, func(t *testing.T, d *db) {
		ensure := func() string {
			return d.table(`select ensure_workers.function_name, invoked, request_id > 0 from pgflow.ensure_workers() order by 1`)
		}
		secret := func(name, secret string) {
			d.exec(`delete from vault.secrets where name = $1`, name)
			d.exec(`insert into vault.secrets values ($1, $2)`, name, secret)
		}
		d.exec(`insert into pgflow.worker_functions (function_name, enabled) values ('one', true), ('two', true), ('off', false)`)
		require.Empty(t, ensure(), "no credentials")
		secret("supabase_project_id", "project")
		require.Empty(t, ensure(), "no token")
		secret("pgflow_auth_secret", "")
		require.Empty(t, ensure(), "an empty one is none")
		secret("supabase_service_role_key", "role key")
		require.Equal(t, lines("one t t", "two t t"), ensure())
		require.Equal(t, lines(
			`POST https://project.supabase.co/functions/v1/one {"Content-Type": "application/json", "Authorization": "Bearer role key"} {}`,
			`POST https://project.supabase.co/functions/v1/two {"Content-Type": "application/json", "Authorization": "Bearer role key"} {}`), d.table(`
			select method, url, headers, convert_from(body, 'UTF8') from net.http_request_queue order by url`))
		require.Equal(t, "2", d.table(`select count(*) from pgflow.worker_functions where last_invoked_at > clock_timestamp() - interval '1 second'`))
		require.Empty(t, ensure(), "not so soon")

		secret("pgflow_auth_secret", "own")
		d.exec(`update pgflow.worker_functions set last_invoked_at = now() - interval '7 seconds'`)
		d.exec(`insert into pgflow.workers (worker_id, queue_name, function_name) values (gen_random_uuid(), 'q', 'one')`)
		require.Equal(t, "two t t", ensure(), "one has a worker")
		require.Equal(t, `"Bearer own"`, d.table(`select headers -> 'Authorization' from net.http_request_queue order by id desc limit 1`))
		for _, gone := range []string{`stopped_at = now()`, `deprecated_at = now()`, `last_heartbeat_at = now() - interval '7 seconds'`} {
			d.exec(`update pgflow.worker_functions set last_invoked_at = now() - interval '7 seconds' where function_name = 'one'`)
			d.exec(`update pgflow.workers set stopped_at = null, deprecated_at = null, last_heartbeat_at = now() where queue_name = 'q'`)
			d.exec(`update pgflow.workers set ` + gone + ` where queue_name = 'q'`)
			require.Equal(t, "one t t", ensure(), gone)
		}
	})
}

// TestEnsureWorkersLocally pings every function, without credentials.
func TestEnsureWorkersLocally(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	d.script(strings.ReplaceAll(services, "create schema vault;", "create schema vault; create table vault.nothing ();"))
	d.exec(`insert into pgflow.worker_functions (function_name, last_invoked_at) values ('one', now())`)
	tx, err := d.pool.Begin(t.Context())
	require.NoError(t, err)
	local := &db{t: t, pool: d.pool, q: tx}
	local.exec(`set local app.settings.jwt_secret = 'super-secret-jwt-token-with-at-least-32-characters-long'`)
	for range 2 {
		require.Equal(t, "one t", local.table(`select function_name, invoked from pgflow.ensure_workers()`), "at any time")
	}
	require.NoError(t, tx.Commit(t.Context()))
	require.Equal(t, lines("http://kong:8000/functions/v1/one {}", "http://kong:8000/functions/v1/one {}"), d.table(`select url, headers from net.http_request_queue`))
}

func TestCronJobs(t *testing.T) {
	contractWith(t, services, func(t *testing.T, d *db) {
		require.Contains(t, d.table(`select pgflow.setup_ensure_workers_cron()`), "pgflow_ensure_workers")
		require.Contains(t, d.table(`select pgflow.setup_ensure_workers_cron(cron_interval => '5 seconds')`), "pgflow_ensure_workers")
		require.Contains(t, d.table(`select pgflow.setup_requeue_stalled_tasks_cron()`), "pgflow_requeue_stalled_tasks")
		require.Contains(t, d.table(`select pgflow.setup_requeue_stalled_tasks_cron('30 seconds')`), "pgflow_requeue_stalled_tasks")
		require.Equal(t, lines(
			"pgflow_cleanup_logs|0 * * * *|select pgflow.cleanup_ensure_workers_logs()",
			"pgflow_ensure_workers|5 seconds|select pgflow.ensure_workers()",
			"pgflow_requeue_stalled_tasks|30 seconds|select pgflow.requeue_stalled_tasks()"), d.table(`
			select jobname || '|' || schedule || '|' || command from cron.job order by 1`))
	})
}

func TestCleanupLogs(t *testing.T) {
	contractWith(t, services, func(t *testing.T, d *db) {
		require.Equal(t, "0", d.table(`select cron_deleted from pgflow.cleanup_ensure_workers_logs()`))
		d.exec(`insert into cron.job_run_details (end_time) values (now() - interval '25 hours'), (now() - interval '23 hours'), (null)`)
		require.Equal(t, "1", d.table(`select cron_deleted from pgflow.cleanup_ensure_workers_logs()`))
		require.Equal(t, "1", d.table(`select cron_deleted from pgflow.cleanup_ensure_workers_logs(retention_hours => 22)`))
	})
}
