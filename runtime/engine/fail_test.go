// Failed tasks: retries, delays, and what happens when attempts are exhausted.

package engine_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRetryDelay: the base doubled with every attempt; at most six hours, or the base.
func TestRetryDelay(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	for _, c := range []struct {
		base  any
		count int
		want  any
	}{
		{1, 2, 4}, {2, 3, 16}, {5, 1, 10}, {0, 9, 0}, {1, 0, 1}, {"1.5", 1, 3}, {"0.3", 1, 0},
		{1, 14, 16384}, {1, 15, 21600}, {10, 1000, 21600}, {1, 2147483647, 21600}, {100_000, 1, 100_000}, {2147483647, 40, 2147483647},
	} {
		d.run(fmt.Sprintf("%v after %d", c.base, c.count), func(t *testing.T, d *db) {
			require.EqualValues(t, c.want, value[int](d, `select pgflow.calculate_retry_delay($1::numeric, $2)`, c.base, c.count))
		})
	}
	require.Equal(t, "16", d.table(`select pgflow.calculate_retry_delay(base_delay => 2, attempts_count => 3)`))
}

// seconds gives the time until each message of the queue is visible, as it was
// set within the last second.
func (d *db) seconds(queue string) string {
	d.t.Helper()
	return d.table(`select greatest(ceil(extract(epoch from vt - clock_timestamp())), 0) from flowc.queue where queue_name = $1 order by msg_id`, queue)
}

func TestRetry(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f", attempts(3), baseDelay(5)).step("a").step("b", after("a"), attempts(2), baseDelay(100)).start(`{}`)
		id := r.task("a", "message_id")
		for n, wait := range []string{"10", "20"} {
			r.begin()
			require.Equal(t, "queued", r.failTask("a", 0, "boom"))
			require.Equal(t, wait, d.seconds("f"), "before attempt %d", n+2)
			require.Equal(t, "queued - - boom "+worker.String()+" "+id, r.task("a", "status, started_at, failed_at, error_message, last_worker_id, message_id"),
				"the message is the same")
			require.Equal(t, "started - 1", r.step("a", "status, error_message, remaining_tasks"), "step and run are not touched")
			require.Equal(t, "started 2", r.status())
			require.Empty(t, r.archived())
			require.Empty(t, r.read(1), "it is hidden until then")
			r.show()
		}
		r.begin()
		require.Equal(t, "completed 3 boom", d.table(`select status, attempts_count, error_message from pgflow.complete_task($1, 'a', 0, '1')`, r.id))
		r.begin()
		require.Equal(t, "queued", r.failTask("b", 0, "x"))
		require.Equal(t, "200", d.seconds("f"), "the step's options come before the flow's")
	})
}

// TestAttempts: the first failure exhausts with 0 and 1, the second with 2.
func TestAttempts(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").step("zero", attempts(0), whenExhausted("skip")).step("one", attempts(1), whenExhausted("skip")).
			step("two", attempts(2), whenExhausted("skip")).start(`{}`).begin()
		require.Equal(t, "failed", r.failTask("zero", 0, "x"))
		require.Equal(t, "failed", r.failTask("one", 0, "x"))
		require.Equal(t, "queued", r.failTask("two", 0, "x"))
		require.Equal(t, "failed", r.begin().failTask("two", 0, "x"))
	})
}

func TestFailTaskFailsTheRun(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.flow("f", attempts(1)).step("a").step("b").step("delayed", startDelay(60)).step("c", after("a"))
		r, other := f.start(`{}`), f.start(`{}`)
		r.begin()
		require.Equal(t, "f a 0 failed 1 boom t - -", d.table(`
			select flow_slug, step_slug, task_index, status, attempts_count, error_message, failed_at >= started_at, completed_at, output
			from pgflow.fail_task(run_id => $1, step_slug => 'a', task_index => 0, error_message => 'boom')`, r.id))
		require.Equal(t, "failed boom t - 1", r.step("a", "status, error_message, failed_at >= started_at, completed_at, remaining_tasks"))
		require.Equal(t, "a:failed b:started delayed:started c:created", r.steps(), "the others stay as they are")
		require.Equal(t, "failed 4 t - -", d.table(`select status, remaining_steps, failed_at >= started_at, completed_at, output from pgflow.runs where run_id = $1`, r.id))
		require.Empty(t, r.queued())
		require.Equal(t, "a0 b0 delayed0", r.archived())
		require.Equal(t, "started queued", r.task("b", "status")+" "+r.task("delayed", "status"))
		require.Equal(t, "a0 b0 delayed0", other.queued())
	})
}

// TestFailWithoutEffect: tasks that are not started.
func TestFailWithoutEffect(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f", attempts(1), baseDelay(100)).step("a").step("b", after("a")).start(`{}`)
		require.Equal(t, "queued", r.failTask("a", 0, "x"), "a queued task stays queued")
		require.Equal(t, "- 0", r.task("a", "error_message, attempts_count"))
		require.Equal(t, "0", d.seconds("f"), "and its message visible")
		r.complete("a", `1`)
		require.Equal(t, "completed", r.failTask("a", 0, "x"))
		require.Equal(t, "1 -", r.task("a", "output, error_message"))
		require.Equal(t, "failed", r.begin().failTask("b", 0, "first"))
		require.Equal(t, "failed", r.failTask("b", 0, "second"))
		require.Equal(t, "first", r.task("b", "error_message"))
		require.Empty(t, r.failTask("none", 0, "x"))
		require.Empty(t, d.table(`select * from pgflow.fail_task(gen_random_uuid(), 'a', 0, 'x')`))
	})
}

// TestFailOnFailedRun: a started task is failed, for the record.
func TestFailOnFailedRun(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f", attempts(1)).step("a").step("b", attempts(9), whenExhausted("skip")).step("c", startDelay(60)).start(`{}`).begin()
		r.failTask("a", 0, "x")
		require.Equal(t, "failed", r.failTask("b", 0, "late"), "without another attempt")
		require.Equal(t, "failed late t", r.task("b", "status, error_message, failed_at is not null"))
		require.Equal(t, "queued", r.failTask("c", 0, "late"))
		require.Equal(t, "a:failed b:started c:started", r.steps())
		require.Equal(t, "a0 b0 c0", r.archived(), "once each")
	})
}

func TestLateFail(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f", attempts(1)).step("a").step("b").start(`{}`).begin()
		d.exec(`update pgflow.step_states set status = 'skipped', skip_reason = 'x', skipped_at = now(), remaining_tasks = null where step_slug = 'a'`)
		require.Equal(t, "started", r.failTask("a", 0, "x"))
		require.Equal(t, "a:skipped b:started", r.steps())
		require.Equal(t, "started 2", r.status())
		require.Equal(t, "b0", r.queued())
		require.Equal(t, "a0", r.archived())
	})
}

// when_exhausted ------------------------------------------------------------------

func TestExhaustedSkip(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f", attempts(1)).step("a", whenExhausted("skip")).step("b").step("j", after("a", "b")).mapStep("m", after("a")).
			step("s", after("a"), forbids(`{"a": {}}`)).step("t", after("a"), requires(`{"a": {}}`)).start(`{}`).begin()
		require.Equal(t, "failed", r.failTask("a", 0, "boom"))
		require.Equal(t, "a:skipped b:started j:created m:completed s:started t:skipped", r.steps())
		require.Equal(t, "handler_failed boom t - -", r.step("a", "skip_reason, error_message, skipped_at is not null, failed_at, remaining_tasks"))
		require.Equal(t, "failed boom", r.task("a", "status, error_message"))
		require.Equal(t, "1 0", r.step("j", "remaining_deps")+" "+r.step("m", "initial_tasks"))
		require.Equal(t, "started 3", r.status())
		require.Equal(t, "a0", r.archived(), "one copy")
		r.begin().completeTask("b", 0, `1`)
		r.completeTask("s", 0, `2`)
		require.Equal(t, `j 0 {"b": 1}`, r.read(1))
		r.completeTask("j", 0, `3`)
		require.Equal(t, "completed 0", r.status())
		require.JSONEq(t, `{"m": [], "s": 2, "j": 3}`, r.output())

		require.Equal(t, "failed", r.failTask("a", 0, "again"))
		require.Equal(t, "boom", r.step("a", "error_message"))
		require.Equal(t, "completed 0", r.status())
	})
}

// TestExhaustedSkipThenConditionFails: one row, failed, whatever else happens.
func TestExhaustedSkipThenConditionFails(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f", attempts(1)).step("a", whenExhausted("skip")).step("b").
			step("c", after("a"), requires(`{"a": {}}`), whenUnmet("fail")).start(`{}`).begin()
		require.Equal(t, "failed", r.failTask("a", 0, "boom"))
		require.Equal(t, "a:skipped b:started c:failed", r.steps())
		require.Equal(t, "failed 2", r.status())
		require.Equal(t, "a0 b0", r.archived())
	})
}

func TestExhaustedSkipCascade(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f", attempts(1)).step("a", whenExhausted("skip-cascade")).step("b").step("c", after("a", "b")).mapStep("m", after("a")).
			step("d", after("c")).start(`{}`).begin()
		require.Equal(t, "failed", r.failTask("a", 0, "boom"))
		require.Equal(t, "a:skipped b:started c:skipped m:skipped d:skipped", r.steps())
		require.Equal(t, "handler_failed boom", r.step("a", "skip_reason, error_message"))
		require.Equal(t, "dependency_skipped - 2", r.step("c", "skip_reason, error_message, remaining_deps"))
		require.Equal(t, "started 1", r.status())
		r.completeTask("b", 0, `1`)
		require.Equal(t, "completed 0", r.status())
		require.Equal(t, "-", r.output())
	})
}

// TestExhaustedOnlyStep: a run whose only step is skipped is complete.
func TestExhaustedOnlyStep(t *testing.T) {
	for _, mode := range []string{"skip", "skip-cascade"} {
		t.Run(mode, func(t *testing.T) {
			contract(t, func(t *testing.T, d *db) {
				r := d.flow("f", attempts(2)).step("a", whenExhausted(mode)).start(`{}`).exhaust("a")
				require.Equal(t, "completed 0", r.status())
				require.Equal(t, "-", r.output())
				require.Equal(t, "2", r.task("a", "attempts_count"))
			})
		})
	}
}

// TestExhaustedMapTask: the whole map fails or is skipped; the other tasks stay
// as they are and lose their messages.
func TestExhaustedMapTask(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		start := func(slug, mode string) *run {
			r := d.flow(slug, attempts(1)).mapStep("m", whenExhausted(mode)).step("s", after("m")).mapStep("n", after("m")).start(`[1, 2, 3, 4]`)
			r.read(3)
			require.Equal(t, "completed", r.completeTask("m", 2, `"two"`))
			require.Equal(t, "failed", r.failTask("m", 0, "boom"))
			require.Equal(t, lines("failed", "started", "completed", "queued"), r.task("m", "status"))
			require.Equal(t, "started", r.completeTask("m", 1, `1`), "late")
			return r
		}
		r := start("failing", "fail")
		require.Equal(t, "m:failed s:created n:created", r.steps())
		require.Equal(t, "failed 3 3", r.status()+" "+r.step("m", "remaining_tasks"))
		require.Empty(t, r.queued())

		r = start("skipping", "skip")
		require.Equal(t, "m:skipped s:started n:completed", r.steps(), "what it had finished is dropped")
		require.Equal(t, "- - 4", r.step("m", "output, remaining_tasks, initial_tasks"))
		require.Equal(t, "s 0 {}", r.read(9))

		r = start("cascading", "skip-cascade")
		require.Equal(t, "m:skipped s:skipped n:skipped", r.steps())
		require.Equal(t, "completed 0", r.status())
	})
}

// flowc.report -------------------------------------------------------------------

func TestReportFailures(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.register(worker, "f")
		f := d.flow("f", attempts(3), baseDelay(5)).step("a").step("b", whenExhausted("skip"), attempts(1)).step("c", whenExhausted("skip-cascade"), attempts(1)).
			step("d", whenExhausted("skip")).step("e")
		r := f.start(`{}`)
		all := func() { r.show(); d.claim("", []string{"f"}, []int{100}) }
		all()
		require.Equal(t, lines("1 t queued 10", "3 t failed -", "4 t failed -", "5 t failed -"), d.report(
			report{run: r, step: "a", outcome: "failed", error: "x"},
			report{run: r, step: "e", outcome: "completed", output: `1`},
			report{run: r, step: "b", outcome: "failed", error: "x"},
			report{run: r, step: "c", outcome: "permanent", error: "never"},
			report{run: r, step: "d", outcome: "skipped", error: "not needed"}))
		require.Equal(t, "a:started b:skipped c:skipped d:skipped e:completed", r.steps())
		require.Equal(t, "never not needed", r.step("c", "error_message")+" "+r.step("d", "error_message"))
		require.Equal(t, "queued - "+worker.String(), r.task("a", "status, started_at, last_worker_id"))
		require.Equal(t, "10", d.seconds("f"))
		require.Equal(t, "-", d.table(`select worker_id from flowc.queue`))
		require.Equal(t, lines("a 1 x", "b 1 x", "c 1 never", "d 1 not needed"), d.table(`
			select step_slug, attempt, error_message from flowc.failed_attempts where worker_id = $1 and started_at <= failed_at order by 1`, worker))

		all()
		require.Equal(t, "1 t queued 42", d.report(report{run: r, step: "a", outcome: "failed", error: "y", delay: "42.4"}), "the handler chooses")
	})
}

// TestReportSkipNeedsPermission: a handler can skip only a step that allows it.
func TestReportSkipNeedsPermission(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.register(worker, "f")
		r := d.flow("f", attempts(9)).step("a").start(`{}`)
		d.claim("", []string{"f"}, []int{100})
		require.Equal(t, "1 t failed -", d.report(report{run: r, step: "a", outcome: "skipped", error: "no need"}))
		require.Equal(t, `failed flowc: the handler asked to skip step a (no need), which does not allow it: add when_exhausted:"skip" to the step`,
			r.step("a", "status, error_message"))
	})
}

// TestReportManyFailuresOfOneRun: the first that exhausts is the end of the rest.
func TestReportManyFailuresOfOneRun(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.register(worker, "f")
		f := d.flow("f", attempts(1)).mapStep("m").mapStep("s", whenExhausted("skip"))
		one, two := f.start(`[1, 2, 3]`), f.start(`[1, 2, 3]`)
		d.claim("", []string{"f"}, []int{100})
		require.Equal(t, lines("1 t failed -", "2 f started -", "3 t failed -", "4 t failed -", "5 f started -"), d.report(
			report{run: one, step: "s", index: 1, outcome: "failed", error: "a"},
			report{run: one, step: "s", index: 2, outcome: "failed", error: "b"},
			report{run: two, step: "m", index: 0, outcome: "failed", error: "c"},
			report{run: one, step: "m", index: 0, outcome: "failed", error: "d"},
			report{run: one, step: "m", index: 1, outcome: "failed", error: "e"}))
		require.Equal(t, "m:failed s:skipped", one.steps())
		require.Equal(t, "m:failed s:started", two.steps())
		require.Equal(t, "a d", one.step("s", "error_message")+" "+one.step("m", "error_message"))
		require.Empty(t, one.queued()+two.queued())
	})
}
