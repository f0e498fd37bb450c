// Completed tasks, through the contract and in reports of a worker.

package engine_test

import (
	"cmp"
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
)

func TestCompleteTask(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").step("a").step("b", after("a")).step("c", after("a", "b")).start(`{}`).begin()
		require.Equal(t, `f a 0 completed 1 {"k": 1} t - -`, d.table(`
			select flow_slug, step_slug, task_index, status, attempts_count, output, completed_at >= started_at, failed_at, error_message
			from pgflow.complete_task(run_id => $1, step_slug => 'a', task_index => 0, output => '{"k": 1}')`, r.id))
		require.Equal(t, `completed 0 1 {"k": 1} t -`, r.step("a", "status, remaining_tasks, initial_tasks, output, completed_at >= started_at, failed_at"))
		require.Equal(t, "a:completed b:started c:created", r.steps())
		require.Equal(t, "0 1", r.step("b", "remaining_deps, remaining_tasks"))
		require.Equal(t, "1", r.step("c", "remaining_deps"))
		require.Equal(t, "started 2", r.status())
		require.Equal(t, "b0", r.queued())
		require.Equal(t, "a0", r.archived())
		r.complete("b", `2`).complete("c", `3`)
		require.Equal(t, "completed 0 t -", d.table(`select status, remaining_steps, completed_at >= started_at, failed_at from pgflow.runs`))
		require.Equal(t, `{"c": 3}`, r.output())
	})
}

// TestRunOutput: the completed leaves.
func TestRunOutput(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.flow("f", attempts(1)).step("a").step("null_leaf", after("a")).mapStep("map_leaf", after("a")).
			step("skipped_leaf", after("a"), whenExhausted("skip"))
		r := f.start(`{}`).complete("a", `[1, 2]`).begin()
		r.completeTask("null_leaf", 0, nil)
		r.completeTask("map_leaf", 1, `"two"`)
		r.completeTask("map_leaf", 0, nil)
		r.failTask("skipped_leaf", 0, "x")
		require.Equal(t, "completed 0", r.status())
		require.JSONEq(t, `{"null_leaf": null, "map_leaf": [null, "two"]}`, r.output())
		require.Equal(t, "-", r.step("null_leaf", "output"), "a step keeps SQL NULL")

		r = d.flow("g", attempts(1)).step("a", whenExhausted("skip")).start(`{}`).exhaust("a")
		require.Equal(t, "completed 0", r.status())
		require.Equal(t, "-", r.output(), "no leaf completed: no output")
	})
}

// TestCompleteWithoutEffect: tasks that are not started, and reports that come twice.
func TestCompleteWithoutEffect(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f", attempts(1)).step("a").step("b", after("a")).start(`{}`)
		require.Equal(t, "queued", r.completeTask("a", 0, `1`), "a queued task stays queued")
		require.Equal(t, "- 0", r.task("a", "output, attempts_count"))
		require.Equal(t, "a0", r.queued())
		require.Equal(t, "a:started b:created", r.steps())

		r.complete("a", `1`)
		require.Equal(t, "completed", r.completeTask("a", 0, `2`))
		require.Equal(t, "1", r.task("a", "output"), "the first report counts")
		require.Equal(t, "0", r.step("b", "remaining_deps"))
		require.Equal(t, "started 1", r.status())
		require.Equal(t, "a0", r.archived())

		require.Equal(t, "failed", r.begin().failTask("b", 0, "x"))
		require.Equal(t, "failed", r.completeTask("b", 0, `2`))
		require.Equal(t, "-", r.task("b", "output"))
		require.Equal(t, "failed 1", r.status())

		require.Empty(t, r.completeTask("none", 0, `1`))
		require.Empty(t, r.completeTask("a", 7, `1`))
		require.Empty(t, d.table(`select * from pgflow.complete_task(gen_random_uuid(), 'a', 0, '1')`))
	})
}

// TestCompleteOnFailedRun changes nothing at all.
func TestCompleteOnFailedRun(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f", attempts(1)).step("a").step("b").start(`{}`).begin()
		require.Equal(t, "failed", r.failTask("a", 0, "x"))
		require.Equal(t, "started", r.completeTask("b", 0, `1`))
		require.Equal(t, "started - -", r.task("b", "status, output, completed_at"))
		require.Equal(t, "a:failed b:started", r.steps())
		require.Equal(t, "failed 2", r.status())
	})
}

// TestLateComplete: the step is over, so the message goes and nothing else happens.
func TestLateComplete(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").step("a").step("b").step("c", after("a")).start(`{}`).begin()
		d.exec(`update pgflow.step_states set status = 'skipped', skip_reason = 'x', skipped_at = now(), remaining_tasks = null where step_slug = 'a'`)
		require.Equal(t, "started", r.completeTask("a", 0, `1`))
		require.Equal(t, "a:skipped b:started c:created", r.steps())
		require.Equal(t, "1", r.step("c", "remaining_deps"))
		require.Equal(t, "started 3", r.status())
		require.Equal(t, "b0", r.queued())
		require.Equal(t, "a0", r.archived())
		require.Equal(t, "started", r.completeTask("a", 0, `1`))
		require.Equal(t, "a0", r.archived(), "once")
	})
}

func TestMaybeCompleteRun(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		maybe := func(r *run) { d.exec(`select pgflow.maybe_complete_run($1)`, r.id) }
		r := d.flow("f").step("a").start(`{}`)
		maybe(r)
		require.Equal(t, "started 1", r.status())
		r.complete("a", `1`)
		completed := d.table(`select completed_at from pgflow.runs`)
		maybe(r)
		require.Equal(t, completed, d.table(`select completed_at from pgflow.runs`))
		d.exec(`update pgflow.runs set status = 'failed', completed_at = null, failed_at = now()`)
		maybe(r)
		require.Equal(t, "failed 0", r.status(), "a failed run is not completed")
		d.exec(`select pgflow.maybe_complete_run(gen_random_uuid())`)
	})
}

// Type violations ----------------------------------------------------------------

func TestTypeViolation(t *testing.T) {
	for output, kind := range map[any]string{
		nil: "null", `null`: "null", `{}`: "object", `"x"`: "string", `1`: "number", `true`: "boolean",
	} {
		t.Run(kind, func(t *testing.T) {
			contract(t, func(t *testing.T, d *db) {
				f := d.flow("f").step("a", whenExhausted("skip")).step("sibling").step("waiting", startDelay(60)).
					mapStep("m", after("a")).step("s", after("a")).step("t", after("m"))
				r := f.start(`{}`).begin()
				other := f.start(`{}`)
				require.Equal(t, "failed", r.completeTask("a", 0, output), "a row, no error")
				want := "-"
				if output != nil {
					want = output.(string)
				}
				require.Equal(t, "[TYPE_VIOLATION] Produced "+kind+" instead of array|"+want, r.task("a", "error_message || '|' || coalesce(output::text, '-')"))
				require.Equal(t, "t t", r.task("a", "failed_at is not null, completed_at is null"))
				require.Equal(t, "failed [TYPE_VIOLATION] Map step m expects array input but dependency a produced "+kind, r.step("a", "status, error_message"))
				require.Equal(t, "a:failed sibling:started waiting:started m:created s:created t:created", r.steps(), "when_exhausted does not matter")
				require.Equal(t, "- 1", r.step("m", "initial_tasks, remaining_deps"))
				require.Equal(t, "failed 6", r.status())
				require.Empty(t, r.queued(), "queued and started tasks' messages are gone")
				require.Equal(t, lines("started", "queued"), d.table(`select status from pgflow.step_tasks where run_id = $1 and step_slug <> 'a' order by step_slug`, r.id))
				require.Equal(t, "a0 sibling0 waiting0", other.queued(), "other runs' are not")
				require.Equal(t, "failed", r.completeTask("a", 0, `[]`), "and it stays so")
			})
		})
	}
}

// TestTypeViolationNeedsAStartedTask: of a queued one nothing is believed.
func TestTypeViolationNeedsAStartedTask(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").step("a").mapStep("m", after("a")).start(`{}`)
		require.Equal(t, "queued", r.completeTask("a", 0, `{}`))
		require.Equal(t, "started 2", r.status())
		require.Equal(t, "a0", r.queued())
	})
}

// TestTypeViolationOfMaps: what a map's task gives may be anything.
func TestTypeViolationOfMaps(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").mapStep("m").mapStep("n", after("m")).start(`[1]`).begin()
		require.Equal(t, "completed", r.completeTask("m", 0, `{}`))
		require.Equal(t, "m:completed n:started", r.steps())
	})
}

// flowc.report -------------------------------------------------------------------

// A report is one element of the arrays of flowc.report, for a task that is
// claimed; what is left out is as it should be.
type report struct {
	run     *run
	step    string
	index   int
	outcome string
	output  any
	error   any
	delay   any
	attempt int    // added to the task's
	message int    // added to the task's
	by      string // whose report it is, if it is not the tests' worker's
}

// report reports for the worker and gives what flowc.report gives.
func (d *db) report(reports ...report) string {
	d.t.Helper()
	var runs, steps, outcomes []string
	var indexes, attempts []int
	var messages []int64
	var outputs, errs []any
	var delays []any
	by := worker.String()
	for _, r := range reports {
		message := value[int64](d, `select coalesce((select message_id from pgflow.step_tasks where run_id = $1 and step_slug = $2 and task_index = $3), 0)`, r.run.id, r.step, r.index)
		attempt := value[int](d, `select coalesce((select claims_count from pgflow.step_tasks where run_id = $1 and step_slug = $2 and task_index = $3), 0)`, r.run.id, r.step, r.index)
		runs, steps, indexes = append(runs, r.run.id), append(steps, r.step), append(indexes, r.index)
		messages, attempts = append(messages, message+int64(r.message)), append(attempts, attempt+r.attempt)
		outcomes, outputs, errs, delays = append(outcomes, r.outcome), append(outputs, r.output), append(errs, r.error), append(delays, r.delay)
		by = cmp.Or(r.by, by)
	}
	return d.table(`
		select n, accepted, task_status, round(retry_in) from flowc.report(
		  $1::text::uuid, $2::text[]::uuid[], $3, $4, $5, $6, $7, $8::text[]::jsonb[], $9::text[], $10::text[]::float8[]) order by n`,
		by, runs, steps, indexes, messages, attempts, outcomes, texts(outputs), texts(errs), texts(delays))
}

// texts is an array of texts and NULLs.
func texts(values []any) []*string {
	all := make([]*string, len(values))
	for i, v := range values {
		if s, ok := v.(string); ok {
			all[i] = &s
		}
	}
	return all
}

func TestReport(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.register(worker, "f")
		f := d.flow("f").step("a").mapStep("m", after("a")).step("s", after("m"))
		one, two := f.start(`{}`), f.start(`{}`)
		all := func() { d.claim("", []string{"f"}, []int{100}) }
		all()
		require.Empty(t, d.report(
			report{run: one, step: "a", outcome: "completed", output: `[1, 2, 3]`},
			report{run: two, step: "a", outcome: "completed", output: `[]`}), "nothing to tell of what simply completed")
		require.Equal(t, "a:completed m:started s:created", one.steps())
		require.Equal(t, "a:completed m:completed s:started", two.steps())
		all()
		require.Empty(t, d.report(
			report{run: one, step: "m", index: 2, outcome: "completed", output: `"c"`},
			report{run: two, step: "s", outcome: "completed", output: `"two"`},
			report{run: one, step: "m", index: 0, outcome: "completed"}))
		require.Equal(t, "1 3", one.step("m", "remaining_tasks, initial_tasks"))
		require.Equal(t, `completed {"s": "two"}`, d.table(`select status, output from pgflow.runs where run_id = $1`, two.id))
		require.Empty(t, d.report(report{run: one, step: "m", index: 1, outcome: "completed", output: `"b"`}))
		require.Equal(t, `[null, "b", "c"]`, one.step("m", "output"))
		all()
		require.Empty(t, d.report(report{run: one, step: "s", outcome: "completed", output: `1`}))
		require.Equal(t, "completed 0", one.status())
		require.Equal(t, "0", d.table(`select count(*) from flowc.queue`))
		require.Empty(t, d.report(), "nothing to report is no error")
	})
}

// TestReportFence: message, attempt and worker must all be those of the claim.
func TestReportFence(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.register(worker, "f")
		r := d.flow("f").step("a").step("b", after("a")).start(`{}`)
		for _, outcome := range []string{"completed", "failed", "permanent", "skipped"} {
			require.Equal(t, "1 f queued -", d.report(report{run: r, step: "a", outcome: outcome}), "not claimed")
		}
		d.claim("", []string{"f"}, []int{1})
		for _, outcome := range []string{"completed", "failed", "permanent", "skipped"} {
			require.Equal(t, "1 f started -", d.report(report{run: r, step: "a", outcome: outcome, attempt: 1}))
			require.Equal(t, "1 f started -", d.report(report{run: r, step: "a", outcome: outcome, message: 1}))
			require.Equal(t, "1 f started -", d.report(report{run: r, step: "a", outcome: outcome, by: second}))
		}
		require.Equal(t, "started 1 -", r.task("a", "status, attempts_count, error_message"))
		require.Equal(t, "1 f completed -", d.report(
			report{run: r, step: "a", outcome: "completed", attempt: -1}, report{run: r, step: "a", outcome: "completed", output: `1`}),
			"a bad report does not spoil a good one")
		require.Empty(t, d.report(report{run: r, step: "a", outcome: "completed", output: `2`}), "a report that came before, whose answer was lost")
		require.Equal(t, "1", r.task("a", "output"))
		require.Equal(t, "1 f completed -", d.report(report{run: r, step: "a", outcome: "failed", error: "x"}))
		require.Equal(t, "started 1", r.status())
	})
}

// TestReportReturnsWhatIsLost: reports for a run or step that is over.
func TestReportReturnsWhatIsLost(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.register(worker, "f")
		r := d.flow("f", attempts(1)).step("a").step("b").step("c").step("s", whenExhausted("skip")).start(`{}`)
		d.claim("", []string{"f"}, []int{9})
		r.forceSkip("s", "x")
		require.Equal(t, "1 f started -", d.report(report{run: r, step: "s", outcome: "completed", output: `1`}))
		require.Equal(t, "1 t failed -", d.report(report{run: r, step: "a", outcome: "permanent", error: "boom"}))
		require.Equal(t, "1 f started -", d.report(report{run: r, step: "b", outcome: "completed", output: `1`}))
		require.Equal(t, "1 f started -", d.report(report{run: r, step: "c", outcome: "failed", error: "late"}))
		require.Equal(t, lines("started - -", "started - -"), r.task("b", "status, output, error_message")+"\n"+r.task("c", "status, output, error_message"))
	})
}

// TestReportStepsOfOneRunTogether: reports for different steps of a run in one
// batch have the same effect as one after the other.
func TestReportStepsOfOneRunTogether(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.register(worker, "f")
		f := d.flow("f").step("a").step("b").step("j", after("a", "b")).mapStep("m", after("b")).
			step("guarded", after("a", "b"), requires(`{"a": 1, "b": [2]}`))
		r := f.start(`{}`)
		d.claim("", []string{"f"}, []int{9})
		require.Empty(t, d.report(
			report{run: r, step: "a", outcome: "completed", output: `1`}, report{run: r, step: "b", outcome: "completed", output: `[2]`}))
		require.Equal(t, "a:completed b:completed j:started m:started guarded:started", r.steps())
		require.Equal(t, lines(`j 0 {"a": 1, "b": [2]}`, `m 0 2`, `guarded 0 {"a": 1, "b": [2]}`), d.claim("step_slug, task_index, input", []string{"f"}, []int{9}))
	})
}

func TestReportTypeViolation(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.register(worker, "f")
		f := d.flow("f").step("a").step("b").mapStep("m", after("a"))
		bad, good := f.start(`{}`), f.start(`{}`)
		d.claim("", []string{"f"}, []int{9})
		require.Equal(t, "1 t failed -", d.report(
			report{run: bad, step: "a", outcome: "completed", output: `{}`}, report{run: good, step: "a", outcome: "completed", output: `[1]`}))
		require.Equal(t, "a:failed b:started m:created", bad.steps())
		require.Equal(t, "a:completed b:started m:started", good.steps())
		require.Empty(t, bad.queued())
	})
}

// TestCompleteInTransaction: a task is completed in the transaction that is marked as its
// own, by the worker whose it is, and is not if that rolls back.
func TestCompleteInTransaction(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	d.register(worker, "f")
	r := d.flow("f").step("a").mapStep("m", after("a")).start(`{}`)
	d.claim("", []string{"f"}, []int{1})
	complete := func(mark string, by string, output any, commit bool) (answer string) {
		tx, err := d.pool.Begin(t.Context())
		require.NoError(t, err)
		defer tx.Rollback(context.Background())
		_, err = tx.Exec(t.Context(), `select set_config('flowc.in_task', $1, true)`, mark)
		require.NoError(t, err)
		var idle string
		err = tx.QueryRow(t.Context(), `
			select (select format('%s %s', c.accepted, coalesce(c.failure, '-'))
			        from flowc.complete_in_transaction($1::text::uuid, run_id, step_slug, task_index, message_id, claims_count, $2::text::jsonb) c)
			from pgflow.step_tasks where step_slug = 'a'`, by, output).Scan(&answer)
		if err != nil {
			return pgerr.Code(err)
		}
		require.NoError(t, tx.QueryRow(t.Context(), `show idle_in_transaction_session_timeout`).Scan(&idle))
		require.Equal(t, "5s", idle, "a worker that is gone does not hold the run")
		if commit {
			require.NoError(t, tx.Commit(t.Context()))
		}
		return answer
	}
	require.Equal(t, "25P01", complete("", worker.String(), `[1]`, true), "not marked")
	require.Equal(t, "f -", complete("on", uuid.NewString(), `[1]`, false), "somebody else's")
	require.Equal(t, "t -", complete("on", worker.String(), `[1]`, false))
	require.Equal(t, "a:started m:created", r.steps(), "rolled back")
	require.Equal(t, "t [TYPE_VIOLATION] Produced number instead of array", complete("on", worker.String(), `1`, false))
	require.Equal(t, "t -", complete("on", worker.String(), `[1]`, true))
	require.Equal(t, "a:completed m:started", r.steps())
	require.Equal(t, "f -", complete("on", worker.String(), `[1]`, false), "again")
}
