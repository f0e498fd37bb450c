// Cancelling, retrying, running now, deleting, pruning and pausing.

package engine_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func TestCancel(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		const cancel = `select flowc.cancel_run($1, 'enough')`
		r := d.flow("f").step("a").step("b").step("c", after("a")).start(`{}`).begin()
		require.Equal(t, "t", d.table(cancel, r.id))
		require.Equal(t, "f", d.table(cancel, r.id), "it has ended")
		require.Equal(t, "-", d.table(cancel, uuid.Nil))
		require.Equal(t, "failed 3", r.status())
		require.Equal(t, "a:started b:started c:created", r.steps())
		require.Equal(t, "a0 b0", r.archived())
		require.Equal(t, "cancelled enough t", d.table(`select status, cancel_reason, cancelled_at is not null from flowc.get_run($1)`, r.id))

		id := d.table(`select run_id from flowc.start('f', '{1}', null, start_in => '1 h')`)
		require.Equal(t, "t", d.table(cancel, id))
		require.Equal(t, "0", d.table(`select count(*) from flowc.scheduled_runs`))
	})
}

// TestRetryRun takes a failed run up where it stopped.
func TestRetryRun(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		const again = `select flowc.retry_run($1)`
		d.register(worker, "f")
		f := d.flow("f", attempts(1)).step("a").mapStep("m", after("a")).step("other").step("s", after("m"))
		r := f.start(`{}`).complete("a", `[1, 2, 3]`).begin()
		require.Equal(t, "f", d.table(again, r.id), "it has not failed")
		require.Equal(t, "-", d.table(again, uuid.Nil))
		r.completeTask("m", 1, `"kept"`)
		late := report{run: r, step: "other", outcome: "completed", output: `"late"`}
		require.Equal(t, "failed", r.failTask("m", 0, "boom"))
		old := value[int64](d, `select message_id from pgflow.step_tasks where step_slug = 'other'`)
		require.Equal(t, "t", d.table(again, r.id))
		require.Equal(t, "started 3", r.status())
		require.Equal(t, "a:completed m:started other:started s:created", r.steps())
		require.Equal(t, "- - 2", r.step("m", "failed_at, error_message, remaining_tasks"))
		require.Equal(t, lines("queued 0 -", "completed 1 -", "queued 0 -"), r.task("m", "status, attempts_count, error_message"))
		require.Equal(t, lines("m 0 1", "m 2 1", "other 0 1"), d.table(`select step_slug, task_index, attempt from flowc.claim($1::uuid, '{f}', '{9}') order by 1, 2`, worker))
		late.message = int(old - value[int64](d, `select message_id from pgflow.step_tasks where step_slug = 'other'`))
		require.Equal(t, "1 f started -", d.report(late), "the report of the old message")
		r.completeTask("m", 0, `0`)
		r.completeTask("m", 2, `2`)
		r.completeTask("other", 0, `1`)
		r.complete("s", `"done"`)
		require.Equal(t, "completed 0", r.status())
		require.Equal(t, `[0, "kept", 2]`, r.step("m", "output"))
	})
}

// TestRetryRunOfOtherFailures: conditions, type violations, cancelled and stalled runs.
func TestRetryRunOfOtherFailures(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		again := func(r *run) { require.Equal(t, "t", d.table(`select flowc.retry_run($1)`, r.id)) }

		r := d.flow("conditions").step("a").step("b", requires(`{"ok": 1}`), whenUnmet("fail")).start(`{}`)
		again(r)
		require.Equal(t, "a:created b:failed", r.steps(), "the condition is judged again")
		d.exec(`update pgflow.runs set input = '{"ok": 1}' where run_id = $1`, r.id)
		again(r)
		require.Equal(t, "a:started b:started", r.steps())

		r = d.flow("types").step("a").mapStep("m", after("a")).start(`{}`).begin()
		require.Equal(t, "failed", r.completeTask("a", 0, `{}`))
		again(r)
		require.Equal(t, "queued - -", r.task("a", "status, output, error_message"))
		require.Equal(t, "a:completed m:started", r.complete("a", `[1]`).steps())

		r = d.flow("cancelled").step("a").start(`{}`).begin()
		d.exec(`select flowc.cancel_run($1)`, r.id)
		again(r)
		require.Equal(t, "running", d.table(`select status from flowc.get_run($1)`, r.id))
		require.Equal(t, "completed 0", r.complete("a", `1`).status())

		d.flow("scheduled").step("a")
		r = &run{d, "scheduled", d.table(`select run_id from flowc.start('scheduled', '{1}', null, start_in => '1 h')`)}
		d.exec(`select flowc.cancel_run($1)`, r.id)
		again(r)
		require.Equal(t, "a:started", r.steps(), "at once")

		r = d.flow("stalled", timeout(5)).step("a").start(`{}`)
		for range 4 {
			r.begin().age("a", 40)
			d.requeue()
		}
		require.Equal(t, "a:failed", r.steps())
		again(r)
		require.Equal(t, "queued 0 0 -", r.task("a", "status, attempts_count, requeued_count, permanently_stalled_at"))
		require.Equal(t, "completed 0", r.complete("a", `1`).status())
	})
}

func TestRunNow(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f", baseDelay(100)).step("a").step("b", startDelay(60)).step("c", startDelay(60)).start(`{}`).begin()
		r.failTask("a", 0, "x")
		require.Empty(t, r.read(9))
		require.Equal(t, "1", d.table(`select flowc.run_now($1, 'b')`, r.id))
		require.Equal(t, "b 0 {}", r.read(9))
		require.Equal(t, "2", d.table(`select flowc.run_now($1)`, r.id))
		require.Equal(t, "0", d.table(`select flowc.run_now($1)`, r.id))
		require.Equal(t, lines("a 0 {}", "c 0 {}"), r.read(9))
	})
}

func TestDeleteRuns(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.flow("f", attempts(1)).step("a").step("b", whenExhausted("skip"))
		done := f.start(`{}`).complete("a", `1`).exhaust("b")
		open := f.start(`{}`)
		d.exec(`select flowc.await_run($1)`, open.id)
		kept := f.start(`{}`).begin()
		scheduled := d.table(`select run_id from flowc.start('f', '{1}', null, start_in => '1 h')`)
		require.Equal(t, "3", d.table(`select flowc.delete_runs($1::text[]::uuid[])`, []string{done.id, open.id, scheduled, uuid.NewString()}))
		require.Equal(t, kept.id, d.table(`select run_id from pgflow.runs`))
		for _, table := range []string{"pgflow.step_states", "pgflow.step_tasks", "flowc.queue", "flowc.archive", "flowc.failed_attempts", "flowc.scheduled_runs", "flowc.run_waiters"} {
			require.Equal(t, "0", d.table(`select count(*) from `+table+` where run_id <> $1`, kept.id), table)
		}
		require.Equal(t, "a0 b0", kept.queued())
		require.Equal(t, "0", d.table(`select flowc.delete_runs('{}')`))
	})
}

func TestPrune(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.flow("f", attempts(1)).step("a")
		g := d.flow("g", attempts(1)).step("a")
		old, failed, other := f.start(`{}`).complete("a", `1`), f.start(`{}`).exhaust("a"), g.start(`{}`).complete("a", `1`)
		f.start(`{}`).complete("a", `1`)
		open := f.start(`{}`)
		for _, r := range []*run{old, failed, other, open} {
			d.exec(`update pgflow.runs set started_at = started_at - interval '9 days', completed_at = completed_at - interval '9 days',
				failed_at = failed_at - interval '9 days' where run_id = $1`, r.id)
		}
		prune := func(more string) string {
			return d.table(`select flowc.prune(clock_timestamp() - interval '1 day'` + more + `)`)
		}
		require.Equal(t, "3 2 1", prune(`, dry_run => true`)+" "+prune(`, '{f}', dry_run => true`)+" "+prune(`, at_most => 1, dry_run => true`))
		require.Equal(t, "2", prune(`, '{f}'`))
		require.Equal(t, "1", prune(``))
		require.Equal(t, "0", prune(``))
		require.Equal(t, "2", d.table(`select count(*) from pgflow.runs`))
		require.Equal(t, "started 1", open.status(), "what runs is kept")
	})
}

func TestRetryStep(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		const again = `select flowc.retry_step($1, $2)`
		d.register(worker, "f")
		f := d.flow("f", attempts(1)).step("a").mapStep("m", after("a")).step("b").step("s", after("m", "b"))
		r := f.start(`{}`).complete("a", `[1, 2]`)
		require.Equal(t, "f", d.table(again, r.id, "a"), "it has not ended")
		r.complete("b", `"kept"`).begin().completeTask("m", 0, `1`)
		r.completeTask("m", 1, `2`)
		r.complete("s", `"first"`)
		require.Equal(t, "completed 0", r.status())
		require.Equal(t, "-", d.table(again, uuid.Nil, "a"))
		require.Equal(t, "-", d.table(again, r.id, "nowhere"))

		require.Equal(t, "t", d.table(again, r.id, "a"))
		require.Equal(t, "started 3", r.status())
		require.Equal(t, "a:started m:created b:completed s:created", r.steps())
		require.Equal(t, "- 1", r.step("m", "initial_tasks, remaining_deps"))
		require.Equal(t, "1", r.step("s", "remaining_deps"), "what other steps gave is kept")
		r.complete("a", `[3]`).complete("m", `6`)
		require.Equal(t, `{"b": "kept", "m": [6]}`, d.table(`select input::text from flowc.claim($1::uuid, '{f}', '{1}')`, worker))
		r.completeTask("s", 0, `"second"`)
		require.Equal(t, "completed 0", r.status())
		require.Equal(t, `{"s": "second"}`, r.output())

		require.Equal(t, "t", d.table(again, r.id, "s"), "the last step alone")
		require.Equal(t, "a:completed m:completed b:completed s:started", r.steps())
		r.exhaust("s")
		require.Equal(t, "failed 1", r.status())
		require.Equal(t, "t", d.table(again, r.id, "m"), "a step before the one that failed")
		require.Equal(t, "a:completed m:started b:completed s:created", r.steps())
		require.Equal(t, "1 1", r.step("m", "initial_tasks, remaining_tasks"))
		require.Empty(t, d.table(`select * from flowc.failed_attempts where run_id = $1 and step_slug = 's'`, r.id))
		r.complete("m", `7`).complete("s", `"third"`)
		require.Equal(t, `{"s": "third"}`, r.output())
	})
}

func TestRetryStepThatStaysSkipped(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").step("a").step("x", requires(`{"ok": 1}`), whenUnmet("skip-cascade")).step("b", after("a", "x")).step("c", after("a")).
			start(`{}`).complete("a", `1`).complete("c", `2`)
		require.Equal(t, "a:completed x:skipped b:skipped c:completed", r.steps())
		require.Equal(t, "f", d.table(`select flowc.retry_step($1, 'b')`, r.id), "what it needs is still skipped")
		require.Equal(t, "completed 0", r.status())
		require.Equal(t, "t", d.table(`select flowc.retry_step($1, 'a')`, r.id))
		require.Equal(t, "a:started x:skipped b:skipped c:created", r.steps())
		r.complete("a", `1`).complete("c", `2`)
		d.exec(`update pgflow.runs set input = '{"ok": 1}' where run_id = $1`, r.id)
		require.Equal(t, "t", d.table(`select flowc.retry_step($1, 'x')`, r.id), "the condition is judged again")
		require.Equal(t, "a:completed x:started b:created c:completed", r.steps())
	})
}

func TestPauseFlow(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		const pause, resume = `select flowc.pause_flow('f', true)`, `select flowc.pause_flow('f', false)`
		require.Equal(t, "-", d.table(pause))
		d.register(worker, "f")
		f := d.flow("f").step("a").step("b", after("a"))
		begun := f.start(`{}`).begin()
		require.Equal(t, "t", d.table(pause))
		require.Equal(t, "f", d.table(pause), "it is already")
		waiting := f.start(`{}`)
		require.Equal(t, "completed", begun.completeTask("a", 0, `1`), "what is in flight goes on")
		require.Equal(t, "a:completed b:started", begun.steps())
		require.Empty(t, d.table(`select * from flowc.claim($1::uuid, '{f}', '{9}')`, worker))
		require.Empty(t, d.table(`select * from pgmq.read('f', 30, 9)`))
		require.Equal(t, "0", d.table(`select sum(read_ct) from flowc.queue where run_id = $1`, waiting.id))
		require.Equal(t, "2 t", d.table(`select waiting, paused_at is not null from flowc.list_flows(now())`))

		require.Equal(t, "t", d.table(resume))
		require.Equal(t, "f", d.table(resume))
		require.Equal(t, lines("b", "a"), d.table(`select step_slug from flowc.claim($1::uuid, '{f}', '{9}') order by message_id desc`, worker))
		d.exec(pause)
		d.exec(`select flowc.delete_flow('f', true)`)
		require.Empty(t, d.table(`select * from flowc.paused_flows`))
	})
}

// TestPauseOthers holds that a pause concerns one flow.
func TestPauseOthers(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	d.register(worker, "f", "g")
	d.flow("f").step("a").start(`{}`)
	d.flow("g").step("b").start(`{}`)
	d.exec(`select flowc.pause_flow('f', true)`)
	require.Equal(t, "g b", d.table(`select flow_slug, step_slug from flowc.claim($1::uuid, '{f,g}', '{9,9}')`, worker))
}

// TestPruneFlows holds which runs go, and that what somebody else is at is passed over.
func TestPruneFlows(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	for _, slug := range []string{"f", "g"} {
		f := d.flow(slug).step("a")
		for range 3 {
			f.start(`{}`).complete("a", `1`)
		}
		f.start(`{}`)
	}
	require.Zero(t, value[int](d, `select flowc.prune_flows('{f,g}', interval '1 hour', 10)`))
	d.exec(`update pgflow.runs set started_at = started_at - interval '2 hours', completed_at = completed_at - interval '2 hours'`)
	require.Equal(t, 2, value[int](d, `select flowc.prune_flows('{f,nothing}', interval '1 hour', 2)`))

	for _, lock := range []string{
		`select from pgflow.flows where flow_slug = 'f' for no key update`, // another prunes it
		`select flowc.lock_definition('f')`,                                // another changes it
	} {
		tx, err := d.pool.Begin(t.Context())
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), lock)
		require.NoError(t, err)
		require.Zero(t, value[int](d, `select flowc.prune_flows('{f}', interval '1 hour', 10)`))
		require.NoError(t, tx.Rollback(t.Context()))
	}
	require.Equal(t, 4, value[int](d, `select flowc.prune_flows('{f,g}', interval '1 hour', 10)`))
	require.Equal(t, "f started\ng started", d.table(`select flow_slug, status from pgflow.runs order by 1`))
}

// TestRetryWaitsForWhatIsLeft: a retry does not begin before the time or the delay of a step
// that had started is over, and after that it begins at once.
func TestRetryWaitsForWhatIsLeft(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	step := func(slug, settings string) string {
		return strings.Replace(taskStep(slug), `"whenUnmet"`, `"settings": `+settings+`, "whenUnmet"`, 1)
	}
	f := d.upsert("f", step("at", `{"startAt": ["run", "at"]}`), step("after", `{"startDelay": ["run", "pause"]}`),
		strings.Replace(taskStep("static"), `"whenUnmet"`, `"options": {"startDelay": 100}, "whenUnmet"`, 1), taskStep("none"))
	r := f.start(fmt.Sprintf(`{"at": %q, "pause": 100000000000}`, time.Now().Add(time.Hour).Format(time.RFC3339)))
	left := func() string {
		return d.table(`
			select step_slug, subqueue, (round(extract(epoch from visible_at - clock_timestamp()) / 10) * 10)::int, (subqueue = 'd') = (due_at is not null)
			from pgflow.step_tasks where run_id = $1 order by 1`, r.id)
	}
	again := func() {
		require.Equal(t, "t", d.table(`select flowc.cancel_run($1)`, r.id))
		require.Equal(t, "t", d.table(`select flowc.retry_run($1)`, r.id))
	}
	later := lines("after d 100 t", "at d 3600 t", "none r 0 t", "static d 100 t")
	require.Equal(t, later, left())
	again()
	require.Equal(t, later, left())
	d.exec(`update pgflow.step_states set started_at = started_at - interval '70 s' where run_id = $1`, r.id)
	again()
	require.Equal(t, lines("after d 30 t", "at d 3600 t", "none r 0 t", "static d 30 t"), left())
	d.exec(`update pgflow.step_states set started_at = started_at - interval '1 h' where run_id = $1`, r.id)
	again()
	require.Equal(t, lines("after r 0 t", "at d 3600 t", "none r 0 t", "static r 0 t"), left())
	require.Equal(t, "t", d.table(`select flowc.cancel_run($1)`, r.id))
	require.Equal(t, "t", d.table(`select flowc.retry_step($1, 'after')`, r.id))
	require.Equal(t, lines("after d 100 t", "at d 3600 t", "none r 0 t", "static r 0 t"), left(), "it has started anew")
}
