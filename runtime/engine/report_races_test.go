// Two reports, or a report and another call, at the same time.

package engine_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// transaction opens a transaction of its own.
func (d *db) transaction() (*db, pgx.Tx) {
	d.t.Helper()
	tx, err := d.pool.Begin(d.t.Context())
	require.NoError(d.t, err)
	d.t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return &db{t: d.t, pool: d.pool, q: tx}, tx
}

// meanwhile runs a statement in a session of its own until it waits for a lock,
// and gives what it came to when it has got it.
func (d *db) meanwhile(sql string, args ...any) <-chan string {
	d.t.Helper()
	waiting := value[int](d, `select count(*)::int from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`)
	result := make(chan string, 1)
	go func() {
		text, err := d.try(sql, args...)
		if err != nil {
			text = err.Error()
		}
		result <- text
	}()
	require.Eventually(d.t, func() bool {
		return value[int](d, `select count(*)::int from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`) > waiting
	}, time.Minute, 5*time.Millisecond)
	return result
}

// TestReportsBehindAFailure: reports that wait for the lock of their run while it
// fails find a failed run, not the one that they saw.
func TestReportsBehindAFailure(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	d.script(realtime)
	r := d.flow("f", attempts(1)).step("list").mapStep("m", after("list")).step("boom").step("other").start(`{}`).begin()
	first, tx := d.transaction()
	require.Equal(t, "failed", first.table(`select status from pgflow.fail_task($1, 'boom', 0, 'boom')`, r.id))

	complete := d.meanwhile(`select status, output, error_message from pgflow.complete_task($1, 'list', 0, '"no array"')`, r.id)
	fail := d.meanwhile(`select status, error_message from pgflow.fail_task($1, 'list', 0, 'late')`, r.id)
	require.NoError(t, tx.Commit(t.Context()))
	failed := d.table(`select failed_at from pgflow.runs where run_id = $1`, r.id)

	require.Equal(t, "started - -", <-complete, "no type violation of a run that is over")
	require.Equal(t, "failed late", <-fail, "noted on the task")
	require.Equal(t, "list:started m:created boom:failed other:started", r.steps())
	require.Equal(t, "failed 4", r.status())
	require.Equal(t, failed, d.table(`select failed_at from pgflow.runs where run_id = $1`, r.id))
	require.Equal(t, "1 1", d.table(`
		select count(*) filter (where event = 'run:failed'), count(*) filter (where payload ->> 'event_type' = 'step:failed') from realtime.messages`))
	require.Empty(t, r.queued())
}

// TestReportsOfOneTaskTogether: of two reports of one task, one counts.
func TestReportsOfOneTaskTogether(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	r := d.flow("f", attempts(1)).step("a").step("b", after("a")).start(`{}`).begin()
	first, tx := d.transaction()
	require.Equal(t, "completed 1", first.table(`select status, output from pgflow.complete_task($1, 'a', 0, '1')`, r.id))
	second := d.meanwhile(`select status, output from pgflow.complete_task($1, 'a', 0, '2')`, r.id)
	failure := d.meanwhile(`select status, output from pgflow.fail_task($1, 'a', 0, 'x')`, r.id)
	require.NoError(t, tx.Commit(t.Context()))
	require.Equal(t, "completed 1", <-second)
	require.Equal(t, "completed 1", <-failure)
	require.Equal(t, "a:completed b:started", r.steps())
	require.Equal(t, "b0", r.queued())
}

// TestWaitingForWhatEnds: a waiter that comes while a run ends either is told of it or
// sees it, whoever is first.
func TestWaitingForWhatEnds(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	const complete = `select status from pgflow.complete_task($1, 'a', 0, '1')`
	f := d.flow("f").step("a")
	r := f.start(`{}`).begin()
	first, tx := d.transaction()
	require.Equal(t, "completed", first.table(complete, r.id))
	await := d.meanwhile(`select flowc.await_run($1)`, r.id)
	require.NoError(t, tx.Commit(t.Context()))
	<-await
	require.Empty(t, d.table(`select run_id from flowc.run_waiters`), "it has ended, as the waiter sees now")

	r = f.start(`{}`).begin()
	first, tx = d.transaction()
	first.exec(`select flowc.await_run($1)`, r.id)
	end := d.meanwhile(complete, r.id)
	require.NoError(t, tx.Commit(t.Context()))
	require.Equal(t, "completed", <-end)
	require.Empty(t, d.table(`select run_id from flowc.run_waiters`), "the waiter was told")
}

// TestStartTasksTogether: a task is handed out once, and nobody waits for it.
func TestStartTasksTogether(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	r := d.flow("f").mapStep("m").start(`[1, 2, 3]`)
	const start = `select t.task_index from pgflow.start_tasks('f', array(select msg_id from pgmq.q_f), gen_random_uuid()) t`
	first, tx := d.transaction()
	require.Equal(t, lines("0", "1", "2"), first.table(start))
	require.Empty(t, d.table(start), "while it is not committed")
	require.NoError(t, tx.Commit(t.Context()))
	require.Empty(t, d.table(start))
	require.Equal(t, lines("1", "1", "1"), r.task("m", "attempts_count"))

	first, tx = d.transaction()
	r = (&flow{d, "f"}).start(`[1]`)
	require.Equal(t, "0", first.table(start))
	require.NoError(t, tx.Rollback(t.Context()))
	require.Equal(t, "0", d.table(start), "what was not committed was not handed out")
	require.Equal(t, "1", r.task("m", "attempts_count"))
}

// TestRetryTouchesNothingElse: an attempt that failed concerns its task and its message,
// neither the step nor the run.
func TestRetryTouchesNothingElse(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	r := d.flow("f", attempts(3)).step("a").start(`{}`).begin()
	d.exec(`update pgflow.step_states set error_message = 'kept'`)
	const rows = `select r.ctid, r.xmin, s.ctid, s.xmin, s.error_message from pgflow.runs r join pgflow.step_states s using (run_id)`
	before := d.table(rows)
	require.Equal(t, "queued", r.failTask("a", 0, "x"))
	require.Equal(t, before, d.table(rows))
}
