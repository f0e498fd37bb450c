// Calls that skip runs which somebody else has locked.

package engine_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// atOnce gives what a statement came to that waits for nobody.
func (d *db) atOnce(sql string, args ...any) string {
	d.t.Helper()
	s := d.side(sql, args...)
	require.NotEmpty(d.t, s.done, "it waits for a lock: %s", sql)
	return s.commit()
}

// holders are calls that hold the lock of a run, $1, until their transaction ends.
var holders = []string{
	`select flowc.cancel_run($1)`, `select flowc.run_now($1)`, `select flowc.retry_run($1)`, `select status from pgflow.runs where run_id = $1 for share`,
	`select status from pgflow.complete_task($1, 'other', 0, '1')`, `select flowc.delete_runs(array[$1::uuid])`,
}

// TestReportsSkipLockedRuns: a transaction that holds a run holds up no report of
// another one, and what was reported of its own is told to come again.
func TestReportsSkipLockedRuns(t *testing.T) {
	t.Parallel()
	for _, holder := range holders {
		d := newDB(t)
		d.register(worker, "f")
		f := d.flow("f", attempts(1)).mapStep("m").step("other").step("end", after("m"))
		held, free, failing, gone := f.start(`[1, 2]`), f.start(`[1]`), f.start(`[1]`), f.start(`[1]`)
		held.begin()
		batch := []report{
			{run: held, step: "m", outcome: "completed", output: `1`},
			{run: free, step: "m", outcome: "completed", output: `"free"`},
			{run: gone, step: "m", outcome: "completed", output: `1`},
			{run: failing, step: "m", outcome: "failed", error: "broke"},
			{run: held, step: "m", index: 1, outcome: "failed", error: "boom"},
		}
		locking, tx := d.transaction()
		locking.exec(holder, held.id)
		d.exec(`select flowc.delete_runs(array[$1::uuid])`, gone.id)
		require.Equal(t, lines("1 f locked -", "3 f - -", "4 t failed -", "5 f locked -"), d.report(batch...), holder)
		require.Equal(t, "m:completed other:started end:started", free.steps())
		require.Equal(t, `["free"]`, free.step("m", "output"))
		require.Equal(t, "failed 3", failing.status())
		require.Equal(t, lines("started", "started"), held.task("m", "status"), "nothing was done")
		require.Equal(t, "1 f locked -", d.report(batch[0]), "all of them")
		require.Equal(t, lines("1 f locked -", "2 f locked -"), d.report(batch[0], batch[4]))

		require.NoError(t, tx.Rollback(t.Context()))
		require.Equal(t, "2 t failed -", d.report(batch[0], batch[4]), "as if they had not been reported")
		require.Equal(t, lines("completed", "failed"), held.task("m", "status"))
		require.Equal(t, "m:failed other:started end:created", held.steps())
	}
}

// TestWorkersSkipLockedRuns: what workers call besides waits for nobody's
// transaction either, and does the rest.
func TestWorkersSkipLockedRuns(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	d.register(worker, "f")
	d.flow("f", attempts(1), timeout(5)).step("a").step("other")
	scheduled := func(d *db) *run {
		r := &run{d, "f", d.table(`select run_id from flowc.start('f', '{1}', null, start_in => '1 hour')`)}
		d.exec(`update flowc.scheduled_runs set due_at = clock_timestamp() where run_id = $1`, r.id)
		return r
	}
	ended := func(d *db) *run { return (&flow{d, "f"}).start(`{}`).exhaust("a") }
	stalled := func(d *db) *run {
		r := (&flow{d, "f"}).start(`{}`).begin()
		d.exec(`update pgflow.step_tasks set requeued_count = 3, started_at = started_at - interval '1 hour', last_worker_id = null where run_id = $1`, r.id)
		return r
	}
	for _, c := range []struct {
		run        func(d *db) *run
		call, done string
	}{
		{scheduled, `select flowc.start_due('{f}')`, "a:started other:started"},
		{stalled, `select pgflow.requeue_stalled_tasks()`, "a:failed other:started"},
		{ended, `select flowc.prune_flows('{f}', '-1 day', 100)`, ""},
	} {
		for _, holder := range holders {
			d.run(c.call+" beside "+holder, func(t *testing.T, d *db) {
				d.exec(`delete from pgflow.runs`)
				d.exec(`select flowc.delete_orphans(array(select run_id from pgflow.step_states))`)
				held, free := c.run(d), c.run(d)
				before := held.steps()
				locking, tx := d.transaction()
				locking.exec(holder, held.id)
				d.atOnce(c.call)
				require.Equal(t, c.done, free.steps())
				require.Equal(t, before, held.steps())
				require.NoError(t, tx.Rollback(t.Context()))
				d.atOnce(c.call)
				require.Equal(t, c.done, held.steps(), "once it is released")
			})
		}
	}
}
