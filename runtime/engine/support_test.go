// What the other tests share: databases, flows, runs and queries.

package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
)

// worker is the worker that the tests' calls are made for.
var worker = uuid.MustParse("11111111-1111-1111-1111-111111111111")

// A db is where a test talks to the engine: a pool, or one transaction of it.
type db struct {
	t    testing.TB
	pool *pgxpool.Pool
	q    interface {
		Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
		Begin(ctx context.Context) (pgx.Tx, error)
	}
}

// newDB is a database of its own, each statement a transaction.
func newDB(t testing.TB) *db {
	t.Helper()
	pool := dbtest.Pool(t)
	d := &db{t: t, pool: pool, q: pool}
	d.exec(`insert into pgflow.workers (worker_id, queue_name, function_name) values ($1, 'tests', 'tests')`, worker)
	t.Cleanup(func() { (&db{t: t, pool: pool, q: pool}).wellFormed(context.Background()) })
	return d
}

// wellFormed holds what every row of a run, step or task has to be. The tables have no
// constraints for it, which would be read in every statement that writes to them.
func (d *db) wellFormed(ctx context.Context) {
	d.t.Helper()
	rows, err := d.q.Query(ctx, `
		select w.found from (
		  select 'run ' || r from pgflow.runs r
		  where r.status not in ('started', 'failed', 'completed') or num_nulls(r.completed_at, r.failed_at) = 0
		  union all
		  select 'step ' || s from pgflow.step_states s
		  where s.status not in ('created', 'started', 'completed', 'failed', 'skipped')
		     or s.status = 'completed' and s.remaining_tasks <> 0
		     or s.status in ('created', 'skipped') and s.remaining_tasks is not null
		     or (s.status = 'skipped') <> (s.skip_reason is not null)
		     or s.initial_tasks < 0
		  union all
		  select 'task below the watermark of its queue ' || t from pgflow.step_tasks t
		  join flowc.watermarks w on w.flow_slug = t.flow_slug where t.subqueue = w.subqueue and t.in_queue and t.message_id < w.message_id
		  union all
		  select 'task ' || t from pgflow.step_tasks t
		  where t.status not in ('queued', 'started', 'completed', 'failed')
		     or t.output is not null and t.status not in ('completed', 'failed')
		     or t.attempts_count < 0
		     or num_nulls(t.completed_at, t.failed_at) = 0) w(found)`)
	require.NoError(d.t, err)
	wrong, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(d.t, err)
	require.Empty(d.t, wrong)
	rows, err = d.q.Query(ctx, `select gate || ' ' || key || ': ' || problem from flowc.check_gates()`)
	require.NoError(d.t, err)
	wrong, err = pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(d.t, err)
	require.Empty(d.t, wrong)
}

// contract runs a test of the contract twice: in one transaction that is rolled
// back, where now() stands still, and then with a transaction for every statement.
func contract(t *testing.T, test func(t *testing.T, d *db)) {
	t.Helper()
	contractWith(t, "", test)
}

// contractWith is contract on a database that a script has been run on.
func contractWith(t *testing.T, script string, test func(t *testing.T, d *db)) {
	t.Helper()
	t.Parallel()
	d := newDB(t)
	if script != "" {
		d.script(script)
	}
	t.Run("one transaction", func(t *testing.T) {
		tx, err := d.pool.Begin(t.Context())
		require.NoError(t, err)
		defer func() { require.NoError(t, tx.Rollback(context.Background())) }()
		d := &db{t: t, pool: d.pool, q: tx}
		test(t, d)
		d.wellFormed(t.Context())
	})
	t.Run("many transactions", func(t *testing.T) {
		test(t, &db{t: t, pool: d.pool, q: d.pool})
	})
}

// run runs a test of one case.
func (d *db) run(name string, test func(t *testing.T, d *db)) {
	d.t.Helper()
	d.t.(*testing.T).Run(name, func(t *testing.T) { test(t, &db{t: t, pool: d.pool, q: d.q}) })
}

// script runs several statements at once, in a transaction of their own.
func (d *db) script(sql string) {
	d.t.Helper()
	_, err := d.pool.Exec(d.t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
	require.NoError(d.t, err)
}

// try runs a statement and gives its rows as [db.table] does. In a transaction
// an error is confined to the statement.
func (d *db) try(sql string, args ...any) (string, error) {
	d.t.Helper()
	tx, err := d.q.Begin(d.t.Context())
	require.NoError(d.t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	rows, err := tx.Query(d.t.Context(), sql, append([]any{pgx.QueryResultFormats{pgx.TextFormatCode}}, args...)...)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	var lines []string
	for rows.Next() {
		var fields []string
		for _, v := range rows.RawValues() {
			if v == nil {
				v = []byte("-")
			}
			fields = append(fields, string(v))
		}
		lines = append(lines, strings.Join(fields, " "))
	}
	if err := rows.Err(); err != nil {
		return "", err
	}
	return strings.Join(lines, "\n"), tx.Commit(d.t.Context())
}

// table gives the rows of a statement as text, a line each: the columns in
// PostgreSQL's own words, with a space between them and - for NULL.
func (d *db) table(sql string, args ...any) string {
	d.t.Helper()
	text, err := d.try(sql, args...)
	require.NoError(d.t, err)
	return text
}

func (d *db) exec(sql string, args ...any) {
	d.t.Helper()
	d.table(sql, args...)
}

// fails runs a statement that must be refused.
func (d *db) fails(code, message, sql string, args ...any) *pgconn.PgError {
	d.t.Helper()
	_, err := d.try(sql, args...)
	var pg *pgconn.PgError
	require.ErrorAs(d.t, err, &pg, "of %s", sql)
	require.Equal(d.t, message, pg.Message)
	require.Equal(d.t, code, pg.Code)
	return pg
}

// value reads one value.
func value[T any](d *db, sql string, args ...any) T {
	d.t.Helper()
	rows, err := d.q.Query(d.t.Context(), sql, args...)
	require.NoError(d.t, err)
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	require.NoError(d.t, err)
	return v
}

// Definitions -------------------------------------------------------------------

// An option is a named argument of create_flow or add_step.
type option struct {
	name  string
	value any
}

func after(steps ...string) option     { return option{"deps_slugs", steps} }
func attempts(n int) option            { return option{"max_attempts", n} }
func baseDelay(seconds int) option     { return option{"base_delay", seconds} }
func timeout(seconds int) option       { return option{"timeout", seconds} }
func startDelay(seconds int) option    { return option{"start_delay", seconds} }
func requires(pattern string) option   { return option{"required_input_pattern", pattern} }
func forbids(pattern string) option    { return option{"forbidden_input_pattern", pattern} }
func whenUnmet(mode string) option     { return option{"when_unmet", mode} }
func whenExhausted(mode string) option { return option{"when_exhausted", mode} }
func ofType(stepType string) option    { return option{"step_type", stepType} }

// call is a call of a function with named arguments, and their values.
func call(function string, options ...option) (string, []any) {
	var names []string
	var values []any
	for i, o := range options {
		names = append(names, fmt.Sprintf("%s => $%d", o.name, i+1))
		values = append(values, o.value)
	}
	return fmt.Sprintf("%s(%s)", function, strings.Join(names, ", ")), values
}

type flow struct {
	d    *db
	slug string
}

// flow creates a flow, without delays between attempts unless told otherwise.
func (d *db) flow(slug string, options ...option) *flow {
	d.t.Helper()
	if !slices.ContainsFunc(options, func(o option) bool { return o.name == "base_delay" }) {
		options = append(options, baseDelay(0))
	}
	sql, args := call("pgflow.create_flow", append(options, option{"flow_slug", slug})...)
	d.exec("select "+sql, args...)
	return &flow{d, slug}
}

// step adds a step of type single.
func (f *flow) step(slug string, options ...option) *flow {
	f.d.t.Helper()
	sql, args := call("pgflow.add_step", append(options, option{"flow_slug", f.slug}, option{"step_slug", slug})...)
	f.d.exec("select "+sql, args...)
	return f
}

// mapStep adds a step of type map.
func (f *flow) mapStep(slug string, options ...option) *flow {
	f.d.t.Helper()
	return f.step(slug, append(options, ofType("map"))...)
}

// Runs --------------------------------------------------------------------------

type run struct {
	d    *db
	flow string
	id   string
}

func (f *flow) start(input string) *run {
	f.d.t.Helper()
	id := value[string](f.d, `select run_id::text from pgflow.start_flow($1, $2::jsonb)`, f.slug, input)
	return &run{f.d, f.slug, id}
}

// read reads messages and starts their tasks, as a worker does with the
// contract's calls, and gives a line for each: step, index and input.
func (r *run) read(quantity int) string {
	r.d.t.Helper()
	return r.d.table(`
		select t.step_slug, t.task_index, t.input
		from pgflow.start_tasks($1, array(select msg_id from pgmq.read($1, 60, $2)), $3) t
		order by t.msg_id`, r.flow, quantity, worker)
}

// begin starts every task that waits.
func (r *run) begin() *run {
	r.d.t.Helper()
	r.read(100_000)
	return r
}

// completeTask reports a task's success and gives its status.
func (r *run) completeTask(step string, index int, output any) string {
	r.d.t.Helper()
	return r.d.table(`select status from pgflow.complete_task($1, $2, $3, $4::jsonb)`, r.id, step, index, output)
}

// failTask reports a task's failure and gives its status.
func (r *run) failTask(step string, index int, message string) string {
	r.d.t.Helper()
	return r.d.table(`select status from pgflow.fail_task($1, $2, $3, $4)`, r.id, step, index, message)
}

// complete starts what waits and completes task 0 of a step.
func (r *run) complete(step, output string) *run {
	r.d.t.Helper()
	require.Equal(r.d.t, "completed", r.begin().completeTask(step, 0, output))
	return r
}

// exhaust starts what waits and fails task 0 of a step until it is out of attempts.
func (r *run) exhaust(step string) *run {
	r.d.t.Helper()
	for range 10 {
		if r.begin().failTask(step, 0, step+" broke") == "failed" {
			return r
		}
		r.show()
	}
	require.Fail(r.d.t, "the step was not exhausted after 10 attempts")
	return r
}

// show makes hidden messages visible.
func (r *run) show() {
	r.d.t.Helper()
	r.d.exec(`update flowc.queue set vt = clock_timestamp() where queue_name = $1`, r.flow)
}

// status is the run's status and what it waits for.
func (r *run) status() string {
	r.d.t.Helper()
	return r.d.table(`select status, remaining_steps from pgflow.runs where run_id = $1`, r.id)
}

func (r *run) output() string {
	r.d.t.Helper()
	return r.d.table(`select output from pgflow.runs where run_id = $1`, r.id)
}

// steps gives the status of every step, in the order of the definition.
func (r *run) steps() string {
	r.d.t.Helper()
	return strings.ReplaceAll(r.d.table(`
		select s.step_slug || ':' || st.status
		from pgflow.step_states st
		join pgflow.steps s using (flow_slug, step_slug)
		where st.run_id = $1 order by s.step_index`, r.id), "\n", " ")
}

// step gives columns of a step's state.
func (r *run) step(slug, columns string) string {
	r.d.t.Helper()
	return r.d.table(`select `+columns+` from pgflow.step_states where run_id = $1 and step_slug = $2`, r.id, slug)
}

// task gives columns of the tasks of a step, a line each.
func (r *run) task(step, columns string) string {
	r.d.t.Helper()
	return r.d.table(`select `+columns+` from pgflow.step_tasks where run_id = $1 and step_slug = $2 order by task_index`, r.id, step)
}

// queued gives the messages of the run that are in the queue, as step and index.
func (r *run) queued() string {
	r.d.t.Helper()
	return r.messages("q")
}

// archived gives those in the archive.
func (r *run) archived() string {
	r.d.t.Helper()
	return r.messages("a")
}

func (r *run) messages(prefix string) string {
	r.d.t.Helper()
	return strings.ReplaceAll(r.d.table(fmt.Sprintf(`
		select (message ->> 'step_slug') || (message ->> 'task_index')
		from pgmq.%s where message ->> 'run_id' = $1 order by msg_id`, pgx.Identifier{prefix + "_" + r.flow}.Sanitize()), r.id), "\n", " ")
}

// lines joins lines.
func lines(l ...string) string { return strings.Join(l, "\n") }

// Events ------------------------------------------------------------------------

// realtime stands for the service of the same name: it keeps what it is sent.
const realtime = `
	create schema realtime;
	create table realtime.messages (
	  n bigint generated always as identity, id uuid not null default gen_random_uuid(),
	  topic text not null, extension text not null, payload jsonb, event text, private boolean,
	  updated_at timestamp not null default now(), inserted_at timestamp not null default clock_timestamp());
	create function realtime.send(payload jsonb, event text, topic text, private boolean default true) returns void
	language plpgsql as $$ begin
	  insert into realtime.messages (payload, event, topic, private, extension) values ($1, $2, $3, $4, 'broadcast');
	end $$;`

// events gives the names of the events of a run, in the order in which they were
// sent, and forgets them.
func (r *run) events() string {
	r.d.t.Helper()
	return strings.ReplaceAll(r.d.table(`
		with gone as (delete from realtime.messages where topic = 'pgflow:run:' || $1::text returning n, event)
		select event from gone order by n`, r.id), "\n", " ")
}

// event gives keys of the payload of the one event of that name.
func (r *run) event(name string, keys ...string) string {
	r.d.t.Helper()
	var columns []string
	for _, k := range keys {
		columns = append(columns, "payload -> '"+k+"'")
	}
	return r.d.table(`select `+strings.Join(columns, ", ")+` from realtime.messages where topic = 'pgflow:run:' || $1::text and event = $2`, r.id, name)
}

// retry runs f again as long as the database says that it was only unlucky.
func retry(f func() error) error {
	for {
		err := f()
		var pg *pgconn.PgError
		if errors.As(err, &pg) && (pg.Code == "40001" || pg.Code == "40P01") {
			continue
		}
		return err
	}
}
