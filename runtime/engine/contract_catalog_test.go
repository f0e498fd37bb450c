// The catalog of the contract: functions, their attributes, columns and constraints.

package engine_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFunctions holds names, arguments with their order and defaults, and results
// of the contract's functions; that there are no others says that none is overloaded.
func TestFunctions(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	require.Equal(t, lines(
		`_archive_task_message(p_run_id uuid, p_step_slug text, p_task_index integer) void`,
		`_cascade_force_skip_steps(run_id uuid, step_slug text, skip_reason text) integer`,
		`_compare_flow_shapes(p_local jsonb, p_db jsonb) text[]`,
		`_create_flow_from_shape(p_flow_slug text, p_shape jsonb) void`,
		`_get_flow_shape(p_flow_slug text) jsonb`,
		`add_step(flow_slug text, step_slug text, deps_slugs text[] DEFAULT '{}'::text[], max_attempts integer DEFAULT NULL::integer, `+
			`base_delay integer DEFAULT NULL::integer, timeout integer DEFAULT NULL::integer, start_delay integer DEFAULT NULL::integer, `+
			`step_type text DEFAULT 'single'::text, required_input_pattern jsonb DEFAULT NULL::jsonb, `+
			`forbidden_input_pattern jsonb DEFAULT NULL::jsonb, when_unmet text DEFAULT 'skip'::text, when_exhausted text DEFAULT 'fail'::text) pgflow.steps`,
		`calculate_retry_delay(base_delay numeric, attempts_count integer) integer`,
		`cascade_complete_taskless_steps(run_id uuid) integer`,
		`cascade_resolve_conditions(run_id uuid) boolean`,
		`cleanup_ensure_workers_logs(retention_hours integer DEFAULT 24) TABLE(cron_deleted bigint)`,
		`complete_task(run_id uuid, step_slug text, task_index integer, output jsonb) SETOF pgflow.step_tasks`,
		`create_flow(flow_slug text, max_attempts integer DEFAULT NULL::integer, base_delay integer DEFAULT NULL::integer, timeout integer DEFAULT NULL::integer) pgflow.flows`,
		`delete_flow_and_data(p_flow_slug text) void`,
		`ensure_flow_compiled(flow_slug text, shape jsonb, allow_data_loss boolean DEFAULT false) jsonb`,
		`ensure_workers() TABLE(function_name text, invoked boolean, request_id bigint)`,
		`fail_task(run_id uuid, step_slug text, task_index integer, error_message text) SETOF pgflow.step_tasks`,
		`get_run_with_states(run_id uuid) jsonb`,
		`is_local() boolean`,
		`is_valid_slug(slug text) boolean`,
		`mark_worker_stopped(worker_id uuid) void`,
		`maybe_complete_run(run_id uuid) void`,
		`poll_for_tasks(queue_name text, vt integer, qty integer, max_poll_seconds integer DEFAULT 5, poll_interval_ms integer DEFAULT 100) SETOF pgflow.step_task_record`,
		`requeue_stalled_tasks() integer`,
		`set_vt_batch(queue_name text, msg_ids bigint[], vt_offsets integer[]) TABLE(msg_id bigint, read_ct integer, enqueued_at timestamp with time zone, vt timestamp with time zone, message jsonb, headers jsonb)`,
		`setup_ensure_workers_cron(cron_interval text DEFAULT '1 second'::text) text`,
		`setup_requeue_stalled_tasks_cron(cron_interval text DEFAULT '15 seconds'::text) text`,
		`start_flow(flow_slug text, input jsonb, run_id uuid DEFAULT NULL::uuid) SETOF pgflow.runs`,
		`start_flow_with_states(flow_slug text, input jsonb, run_id uuid DEFAULT NULL::uuid) jsonb`,
		`start_ready_steps(run_id uuid) void`,
		`start_tasks(flow_slug text, msg_ids bigint[], worker_id uuid) SETOF pgflow.step_task_record`,
		`track_worker_function(function_name text) void`,
	), functions(d, "pgflow"))

	require.Equal(t, lines(
		`archive(queue_name text, msg_id bigint) boolean`,
		`archive(queue_name text, msg_ids bigint[]) SETOF bigint`,
		`create(queue_name text) void`,
		`delete(queue_name text, msg_id bigint) boolean`,
		`delete(queue_name text, msg_ids bigint[]) SETOF bigint`,
		`drop_queue(queue_name text) boolean`,
		`format_table_name(queue_name text, prefix text) text`,
		`list_queues() SETOF pgmq.queue_record`,
		`read(queue_name text, vt integer, qty integer, conditional jsonb DEFAULT '{}'::jsonb) SETOF pgmq.message_record`,
		`read_with_poll(queue_name text, vt integer, qty integer, max_poll_seconds integer DEFAULT 5, poll_interval_ms integer DEFAULT 100, conditional jsonb DEFAULT '{}'::jsonb) SETOF pgmq.message_record`,
		`send(queue_name text, msg jsonb) SETOF bigint`,
		`send(queue_name text, msg jsonb, delay integer) SETOF bigint`,
		`send(queue_name text, msg jsonb, headers jsonb) SETOF bigint`,
		`send(queue_name text, msg jsonb, headers jsonb, delay integer) SETOF bigint`,
		`send_batch(queue_name text, msgs jsonb[], delay integer DEFAULT 0) SETOF bigint`,
		`send_batch(queue_name text, msgs jsonb[], headers jsonb[], delay integer) SETOF bigint`,
		`set_vt(queue_name text, msg_id bigint, vt integer) SETOF pgmq.message_record`,
	), functions(d, "pgmq"))
}

func functions(d *db, schema string) string {
	d.t.Helper()
	return d.table(`
		select (p.proname || '(' || pg_get_function_arguments(p.oid) || ') ' || pg_get_function_result(p.oid)) collate "C" as f
		from pg_proc p where p.pronamespace = $1::text::regnamespace order by f`, schema)
}

// TestFunctionAttributes holds what every function must have, and the volatility
// that the contract gives some.
func TestFunctionAttributes(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	require.Empty(t, d.table(`
		select p.oid::regprocedure from pg_proc p
		where p.pronamespace in ('pgflow'::regnamespace, 'pgmq'::regnamespace, 'flowc'::regnamespace)
		  and not coalesce(p.proconfig @> '{"search_path=pg_catalog, pg_temp"}', false) and p.prosqlbody is null`),
		"functions without a search_path of their own whose names are looked up when they run")
	require.Empty(t, d.table(`
		select p.oid::regprocedure from pg_proc p
		where p.pronamespace in ('pgflow'::regnamespace, 'pgmq'::regnamespace, 'flowc'::regnamespace)
		  and has_function_privilege('public', p.oid, 'execute')`), "functions that anybody may call")
	require.Empty(t, d.table(`
		select p.oid::regprocedure from pg_proc p
		where p.pronamespace in ('pgflow'::regnamespace, 'pgmq'::regnamespace) and p.proisstrict`), "strict functions")
	require.Equal(t, lines("cleanup_ensure_workers_logs", "complete_task", "fail_task", "get_run_with_states", "mark_worker_stopped",
		"requeue_stalled_tasks", "set_vt_batch", "setup_ensure_workers_cron", "setup_requeue_stalled_tasks_cron",
		"start_flow", "start_flow_with_states", "start_tasks", "track_worker_function"),
		d.table(`select proname from pg_proc where pronamespace = 'pgflow'::regnamespace and prosecdef order by 1`))
	require.Equal(t, lines("calculate_retry_delay i", "is_valid_slug i", "_compare_flow_shapes s", "_get_flow_shape s", "is_local s"),
		d.table(`select proname, provolatile from pg_proc where pronamespace = 'pgflow'::regnamespace and proname in
			('calculate_retry_delay', 'is_valid_slug', '_compare_flow_shapes', '_get_flow_shape', 'is_local') order by 2, 1`))
}

// TestColumns holds the columns of the contract's tables and types: name, type,
// whether NULL is allowed, default.
func TestColumns(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	for table, want := range map[string]string{
		"pgflow.flows": `
			flow_slug text not null
			opt_max_attempts integer not null 3
			opt_base_delay integer not null 1
			opt_timeout integer not null 60
			created_at timestamp with time zone not null now()`,
		"pgflow.steps": `
			flow_slug text not null
			step_slug text not null
			step_type text not null 'single'::text
			step_index integer not null 0
			deps_count integer not null 0
			opt_max_attempts integer
			opt_base_delay integer
			opt_timeout integer
			opt_start_delay integer
			required_input_pattern jsonb
			forbidden_input_pattern jsonb
			when_unmet text not null 'skip'::text
			when_exhausted text not null 'fail'::text
			created_at timestamp with time zone not null now()`,
		"pgflow.deps": `
			flow_slug text not null
			dep_slug text not null
			step_slug text not null
			created_at timestamp with time zone not null now()`,
		"pgflow.runs": `
			run_id uuid not null gen_random_uuid()
			flow_slug text not null
			status text not null 'started'::text
			input jsonb not null
			output jsonb
			remaining_steps integer not null 0
			started_at timestamp with time zone not null now()
			completed_at timestamp with time zone
			failed_at timestamp with time zone`,
		"pgflow.step_states": `
			flow_slug text not null
			run_id uuid not null
			step_slug text not null
			status text not null 'created'::text
			remaining_tasks integer
			initial_tasks integer
			remaining_deps integer not null 0
			output jsonb
			error_message text
			skip_reason text
			created_at timestamp with time zone not null now()
			started_at timestamp with time zone
			completed_at timestamp with time zone
			failed_at timestamp with time zone
			skipped_at timestamp with time zone`,
		"pgflow.step_tasks": `
			flow_slug text not null
			run_id uuid not null
			step_slug text not null
			message_id bigint
			task_index integer not null 0
			status text not null 'queued'::text
			attempts_count integer not null 0
			error_message text
			output jsonb
			queued_at timestamp with time zone not null now()
			started_at timestamp with time zone
			completed_at timestamp with time zone
			failed_at timestamp with time zone
			last_worker_id uuid
			requeued_count integer not null 0
			last_requeued_at timestamp with time zone
			permanently_stalled_at timestamp with time zone
			visible_at timestamp with time zone
			archived_at timestamp with time zone
			read_count integer not null 0
			claims_count integer not null 0
			in_queue boolean not null false
			subqueue "char" not null 'r'::"char"
			priority "char" not null 'r'::"char"
			due_at timestamp with time zone
			gate_key text`,
		"pgflow.workers": `
			worker_id uuid not null
			queue_name text not null
			function_name text not null
			started_at timestamp with time zone not null now()
			deprecated_at timestamp with time zone
			stopped_at timestamp with time zone
			last_heartbeat_at timestamp with time zone not null now()`,
		"pgflow.worker_functions": `
			function_name text not null
			enabled boolean not null true
			debounce interval not null '00:00:06'::interval
			last_invoked_at timestamp with time zone
			created_at timestamp with time zone not null now()
			updated_at timestamp with time zone not null now()`,
		"pgflow.step_task_record": `
			flow_slug text
			run_id uuid
			step_slug text
			input jsonb
			msg_id bigint
			task_index integer
			flow_input jsonb`,
	} {
		d.run(table, func(t *testing.T, d *db) {
			t.Run(table, func(t *testing.T) {
				require.Equal(t, strings.ReplaceAll(strings.TrimSpace(want), "\t", ""), d.table(`
					select concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod), case when a.attnotnull then 'not null' end, pg_get_expr(e.adbin, e.adrelid))
					from pg_attribute a
					left join pg_attrdef e on e.adrelid = a.attrelid and e.adnum = a.attnum
					where a.attrelid = $1::text::regclass and a.attnum > 0 and not a.attisdropped
					order by a.attnum`, table))
			})
		})
	}
}

// TestConstraints holds the constraints that are found by name.
func TestConstraints(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	for table, names := range map[string][]string{
		"flows": {"flows_pkey", "opt_base_delay_is_nonnegative", "opt_max_attempts_is_nonnegative", "opt_timeout_is_positive", "slug_is_valid"},
		"steps": {"forbidden_input_pattern_is_object", "opt_base_delay_is_nonnegative", "opt_max_attempts_is_nonnegative",
			"opt_start_delay_is_nonnegative", "opt_timeout_is_positive", "required_input_pattern_is_object", "steps_deps_count_check",
			"steps_flow_slug_fkey", "steps_flow_slug_step_index_key", "steps_pkey", "steps_step_slug_check", "steps_step_type_check",
			"when_exhausted_is_valid", "when_unmet_is_valid"},
		"deps":        {"deps_check", "deps_flow_slug_dep_slug_fkey", "deps_flow_slug_fkey", "deps_flow_slug_step_slug_fkey", "deps_pkey"},
		"runs":        {"runs_pkey", "runs_remaining_steps_check"},
		"step_states": {"counts_are_nonnegative", "initial_tasks_known_when_started", "output_only_for_completed_or_null", "step_states_pkey"},
		"step_tasks":  {"step_tasks_pkey"},
	} {
		d.run(table, func(t *testing.T, d *db) {
			require.Empty(t, d.table(`
				select n from unnest($1::text[]) n
				where n not in (select conname from pg_constraint where conrelid = $2::text::regclass and not condeferrable)`, names, "pgflow."+table))
		})
	}
	require.Equal(t, "initial_tasks_known_when_started", d.table(`
		select constraint_name from information_schema.check_constraints where constraint_name = 'initial_tasks_known_when_started'`))
}
