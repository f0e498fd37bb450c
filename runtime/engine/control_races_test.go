// Two transactions that control, start, delete or prune the same run, step by step.

package engine_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// tablesOfRuns are those whose rows belong to runs.
var tablesOfRuns = []string{"pgflow.step_states", "pgflow.step_tasks", "flowc.scheduled_runs", "flowc.run_headers", "flowc.ticks",
	"flowc.cancelled_runs", "flowc.failed_attempts", "flowc.suspects", "flowc.run_waiters",
	"flowc.waits", "flowc.signals", "flowc.requests", "flowc.carried"}

// orphans gives what there is of runs that do not exist, a line for each table.
func (d *db) orphans() string {
	d.t.Helper()
	var parts []string
	for _, table := range tablesOfRuns {
		parts = append(parts, fmt.Sprintf(`
			select '%[1]s ' || count(*) from %[1]s x where not exists (select from pgflow.runs r where r.run_id = x.run_id) having count(*) > 0`, table))
	}
	return d.table(strings.Join(parts, " union all "))
}

// rowsOf gives all rows of a run, of every table.
func (d *db) rowsOf(id string) string {
	d.t.Helper()
	var parts []string
	for _, table := range append([]string{"pgflow.runs"}, tablesOfRuns...) {
		parts = append(parts, fmt.Sprintf(`select '%[1]s', to_jsonb(x) from %[1]s x where run_id = $1`, table))
	}
	return d.table(strings.Join(parts, " union all ")+" order by 1, 2", id)
}

// An other is a transaction in which a statement runs on.
type other struct {
	*db
	tx   pgx.Tx
	pid  int
	done chan error
	text string
}

// side runs a statement in a transaction of its own until it is done, or waits for
// a lock.
func (d *db) side(sql string, args ...any) *other {
	d.t.Helper()
	s := &other{done: make(chan error, 1)}
	s.db, s.tx = d.transaction()
	s.pid = value[int](s.db, `select pg_backend_pid()`)
	go func() {
		text, err := s.try(sql, args...)
		s.text = text
		s.done <- err
	}()
	require.Eventually(d.t, func() bool {
		return len(s.done) > 0 || value[bool](d, `select coalesce(wait_event_type, '') = 'Lock' from pg_stat_activity where pid = $1`, s.pid)
	}, time.Minute, time.Millisecond)
	return s
}

// commit waits for the statement, commits, and gives what the statement came to.
func (s *other) commit() string {
	s.t.Helper()
	require.NoError(s.t, <-s.done)
	require.NoError(s.t, s.tx.Commit(s.t.Context()))
	return s.text
}

// controls is every function that controls or deletes a run by its id, $1.
var controls = []string{
	`select flowc.delete_runs(array[$1::uuid])`, `select flowc.cancel_run($1)`, `select flowc.retry_run($1)`,
	`select flowc.retry_step($1, 'a')`, `select flowc.run_now($1)`, `select flowc.reschedule_run($1, now())`,
	`select pgflow.start_ready_steps($1)`, `select pgflow.maybe_complete_run($1)`, `select pgflow.cascade_complete_taskless_steps($1)`,
	`select pgflow.cascade_resolve_conditions($1)`, `select count(*) from pgflow.complete_task($1, 'a', 0, '1')`,
	`select count(*) from pgflow.fail_task($1, 'a', 0, 'x')`, `select flowc.prune(clock_timestamp() + '1 day', '{f}')`,
	`select flowc.prune_flows('{f}', '-1 day', 10)`, `select flowc.start_due('{f}')`,
}

// TestControlBesideAStart: what is started while somebody controls or deletes a run of the
// same id is there whole, and nothing happened to it, for it was not there to be locked. A
// lock on a table stops the second where it first writes to that table; there the
// start is committed.
func TestControlBesideAStart(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	d.flow("f", attempts(1)).step("a", startDelay(60)).step("b", after("a"))
	for _, in := range []string{"null", "'1 h'"} {
		for _, call := range controls {
			for _, table := range []string{"pgflow.step_states", "pgflow.step_tasks", "flowc.scheduled_runs", "flowc.run_headers", "pgflow.runs"} {
				d.run(call+" in "+in+" at "+table, func(t *testing.T, d *db) {
					id := uuid.NewString()
					start := d.side(`select flowc.start('f', '{1}', array[$1::uuid], start_in => `+in+`, headers => array['{"k": "v"}'::jsonb])`, id)
					want := start.rowsOf(id)
					block := d.side(`lock table ` + table + ` in share row exclusive mode`)
					second := d.side(strings.ReplaceAll(call, "$1", "'"+id+"'"))
					start.commit()
					block.commit()
					second.commit()
					require.Empty(t, d.orphans())
					if table != "pgflow.runs" { // which is where it looks first, and so after the start
						require.Equal(t, want, d.rowsOf(id))
					}
					d.exec(`select flowc.delete_runs(array[$1::uuid])`, id)
					require.Empty(t, d.rowsOf(id))
				})
			}
		}
	}
}

// TestStartBesideADelete: a start that found that the run exists, which is deleted before the
// start can say so, starts it after all.
func TestStartBesideADelete(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	d.flow("f").step("a")
	// Runs are inserted in the order of their ids: it finds the old one and waits for the next.
	const old, held, other = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002", "00000000-0000-4000-8000-000000000003"
	const start = `select n, run_id, existed, status from flowc.start('f', array['1', '2', '3', '4']::jsonb[], $1::text[]::uuid[], headers => array[null, null, '{"k": 1}', null]::jsonb[]) order by n`
	d.exec(`select flowc.start('f', '{0}', array[$1::uuid])`, old)
	ids := []string{other, held, old, old}
	first := d.side(`select flowc.start('f', '{0}', array[$1::uuid])`, held)
	again := d.side(start, ids)
	require.Empty(t, again.done, "it waits for the run that the first is about to start")
	require.Equal(t, "1", d.table(`select flowc.delete_runs(array[$1::uuid])`, old))
	first.commit()
	var want []string
	for i, id := range ids {
		want = append(want, fmt.Sprintf("%d %s %s started", i+1, id, map[bool]string{true: "t", false: "f"}[id == held || i == 3]))
	}
	require.Equal(t, lines(want...), again.commit())
	require.Equal(t, `3 {"k": 1}`, d.table(`select r.input, h.headers from pgflow.runs r join flowc.run_headers h using (run_id) where run_id = $1`, old))
	require.Equal(t, "3 3 3", d.table(`select (select count(*) from pgflow.runs), (select count(*) from pgflow.step_states), (select count(*) from flowc.queue)`))
	require.Empty(t, d.orphans())
}

// TestPruneBesideARetry: a run that was retried, or deleted and started anew, between the
// look of prune and its lock is kept.
func TestPruneBesideARetry(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	d.flow("f", attempts(1)).step("a")
	for _, change := range []string{
		`select flowc.retry_run($1)`, `select flowc.retry_step($1, 'a')`,
		`with gone as materialized (select flowc.delete_runs(array[$1::uuid])) select s.* from gone, flowc.start('f', '{1}', array[$1::uuid]) s`,
	} {
		for _, prune := range []string{
			`select flowc.prune(clock_timestamp() + interval '1 day', at_most => 1)`, `select flowc.prune(clock_timestamp() + interval '1 day')`,
			`select flowc.prune_flows('{f}', '-1 day', 10)`,
		} {
			d.run(change+" beside "+prune, func(t *testing.T, d *db) {
				f := &flow{d, "f"}
				r := f.start(`{}`).exhaust("a")
				changed := d.side(strings.ReplaceAll(change, "$1", "'"+r.id+"'"))
				next := f.start(`{}`).exhaust("a")
				pruned := d.side(prune)
				changed.commit()
				require.Equal(t, "1", pruned.commit(), "only the other")
				require.Equal(t, "started 1", r.status())
				require.Equal(t, "a0", r.queued())
				require.Empty(t, next.status())
				require.Empty(t, d.orphans())
				r.exhaust("a")
				require.Equal(t, "1", d.table(`select flowc.prune(clock_timestamp() + interval '1 day')`))
			})
		}
	}
}

// TestControlsTogether: of two who control a run, the second sees what the first
// left behind.
func TestControlsTogether(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	d.flow("f", attempts(1)).step("a", startDelay(60))
	scheduled := func(d *db) *run {
		return &run{d, "f", d.table(`select run_id from flowc.start('f', '{1}', null, start_in => '1 h')`)}
	}
	started := func(d *db) *run { return (&flow{d, "f"}).start(`{}`) }
	failed := func(d *db) *run {
		r := started(d)
		d.exec(`select flowc.cancel_run($1)`, r.id)
		return r
	}
	const (
		cancel  = `select flowc.cancel_run($1)`
		retry   = `select flowc.retry_run($1)`
		step    = `select flowc.retry_step($1, 'a')`
		now     = `select flowc.run_now($1)`
		move    = `select flowc.reschedule_run($1, now() - interval '1 s')`
		later   = `select flowc.reschedule_run($1, now() + interval '1 day')`
		due     = `select flowc.start_due('{f}')`
		deleted = `select flowc.delete_runs(array[$1::uuid])`
	)
	for _, c := range []struct {
		run           func(d *db) *run
		first, second string
		want          string // what the second gives
		status        string // what becomes of the run
	}{
		{started, cancel, cancel, "f", "cancelled"},
		{started, cancel, retry, "t", "running"},
		{started, cancel, step, "t", "running"},
		{started, cancel, now, "0", "cancelled"},
		{started, deleted, cancel, "-", ""},
		{started, deleted, now, "0", ""},
		{started, deleted, deleted, "0", ""},
		{failed, retry, retry, "f", "running"},
		{failed, step, step, "f", "running"},
		{failed, retry, step, "f", "running"},
		{failed, retry, cancel, "t", "cancelled"},
		{failed, deleted, retry, "-", ""},
		{failed, deleted, step, "-", ""},
		{scheduled, cancel, move, "f", "cancelled"},
		{scheduled, deleted, move, "f", ""},
		{scheduled, move, later, "t", "scheduled"},
		{scheduled, move, cancel, "t", "cancelled"},
		{scheduled, move, due, "0", "scheduled"}, // passed over, since somebody holds it
		{scheduled, cancel, due, "0", "cancelled"},
		{scheduled, deleted, due, "0", ""},
	} {
		d.run(c.first+", then "+c.second, func(t *testing.T, d *db) {
			r := c.run(d)
			arg := func(sql string) string { return strings.ReplaceAll(sql, "$1", "'"+r.id+"'") }
			first := d.side(arg(c.first))
			second := d.side(arg(c.second))
			first.commit()
			require.Equal(t, c.want, second.commit())
			require.Equal(t, c.status, d.table(`select status from flowc.get_run($1)`, r.id))
			require.Empty(t, d.orphans())
			d.exec(deleted, r.id)
		})
	}
}

// TestDeleteFlowBesideItsDefinition: the queue of a flow goes with it, or stays with it.
func TestDeleteFlowBesideItsDefinition(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	const left = `select (select count(*) from pgflow.flows), (select count(*) from pgmq.meta), (select count(*) from flowc.paused_flows)`
	made := d.side(`select pgflow.create_flow('f')`)
	deleted := d.side(`select pgflow.delete_flow_and_data('f')`)
	made.commit()
	deleted.commit()
	require.Equal(t, "0 0 0", d.table(left))

	d.flow("f").step("a")
	deleted = d.side(`select flowc.delete_flow('f')`)
	paused := d.side(`select flowc.pause_flow('f', true)`)
	deleted.commit()
	require.Equal(t, "-", paused.commit(), "a flow that is made again does not begin paused")
	require.Equal(t, "0 0 0", d.table(left))
}

// TestDeleteOrphans: what is left of runs that do not exist goes, so that
// their ids can be started; a run that exists is left alone.
func TestDeleteOrphans(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.flow("f", attempts(1)).step("a").step("b", after("a"))
		lost, kept := f.start(`{}`), f.start(`{}`)
		d.exec(`insert into flowc.run_headers values ($1, '{}')`, lost.id)
		d.exec(`insert into flowc.cancelled_runs values ($1)`, lost.id)
		d.exec(`insert into flowc.scheduled_runs values ($1, 'f', now())`, lost.id)
		d.exec(`delete from pgflow.runs where run_id = $1`, lost.id)
		want := kept.rows()
		require.Equal(t, "1", d.table(`select flowc.delete_orphans($1::text[]::uuid[])`, []string{lost.id, kept.id}))
		require.Empty(t, d.rowsOf(lost.id))
		require.Equal(t, want, kept.rows())
		require.Equal(t, "f", d.table(`select existed from flowc.start('f', '{1}', array[$1::uuid])`, lost.id))
	})
}

func (r *run) rows() string { return r.d.rowsOf(r.id) }

// TestMessagesTogether: of two who change a message, the second does it to what
// the first left behind.
func TestMessagesTogether(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	d.flow("f").step("a")
	const set = `select count(*) from pgmq.set_vt('f', $1, 60)`
	for _, c := range []struct{ first, second, want, left string }{
		{set, `select pgmq.delete('f', $1)`, "t", "0 0"},
		{set, `select pgmq.archive('f', $1)`, "t", "0 1"},
		{set, `select count(*) from pgflow.set_vt_batch('f', array[$1], '{0}') s where s.vt <= clock_timestamp()`, "1", "1 0"},
		{set, `update pgmq.q_f set vt = now() - interval '1 day', read_ct = 7 where msg_id = $1 returning read_ct`, "7", "1 0"},
		{set, `delete from pgmq.q_f where msg_id = $1 returning true`, "t", "0 0"},
		{`select count(*) from pgmq.read('f', 60, 1)`, `select pgmq.archive('f', $1)`, "t", "0 1"},
		{`select pgmq.archive('f', $1)`, `select pgmq.archive('f', $1)`, "f", "0 1"},
		{`select pgmq.archive('f', $1)`, `select pgmq.delete('f', $1)`, "f", "0 1"},
		{`select pgmq.delete('f', $1)`, set, "0", "0 0"},
	} {
		d.run(c.first+", then "+c.second, func(t *testing.T, d *db) {
			for _, send := range []string{`select pgmq.send('f', '{}')`, `select pgflow.start_flow('f', '{}')`} {
				d.exec(send)
				message := d.table(`select msg_id from pgmq.q_f`)
				arg := func(sql string) string { return strings.ReplaceAll(sql, "$1", message+"::bigint") }
				first := d.side(arg(c.first))
				second := d.side(arg(c.second))
				first.commit()
				require.Equal(t, c.want, second.commit())
				require.Equal(t, c.left, d.table(arg(`select (select count(*) from pgmq.q_f where msg_id = $1), (select count(*) from pgmq.a_f where msg_id = $1)`)))
				d.exec(`delete from pgmq.q_f`)
				d.exec(`delete from pgmq.a_f`)
			}
		})
	}
}
