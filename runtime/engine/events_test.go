// Events for realtime.send.

package engine_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEventOrder: one event for each transition, parents before children.
func TestEventOrder(t *testing.T) {
	contractWith(t, realtime, func(t *testing.T, d *db) {
		r := d.flow("f").step("a").step("b", requires(`{"b": 1}`)).mapStep("m", after("a")).mapStep("n", after("m")).
			step("z", after("n"), requires(`{"n": [1]}`)).step("s", after("a", "b")).start(`{}`)
		require.Equal(t, "run:started step:b:skipped step:a:started", r.events())
		r.begin()
		require.Empty(t, r.events(), "starting a task is no event")
		r.completeTask("a", 0, `[]`)
		require.Equal(t, "step:a:completed step:m:completed step:n:completed step:z:skipped step:s:started", r.events())
		r.completeTask("a", 0, `[]`)
		require.Empty(t, r.events(), "nor is a report that comes again")
		r.complete("s", `1`)
		require.Equal(t, "step:s:completed run:completed", r.events())
		d.exec(`select pgflow.maybe_complete_run($1), pgflow.start_ready_steps($1), pgflow.cascade_complete_taskless_steps($1)`, r.id)
		require.Empty(t, r.events())
	})
}

func TestEventsOfAnEmptyRun(t *testing.T) {
	contractWith(t, realtime, func(t *testing.T, d *db) {
		require.Equal(t, "run:started step:m:completed step:n:completed run:completed", d.flow("f").mapStep("m").mapStep("n", after("m")).start(`[]`).events())
		require.Equal(t, "run:started step:a:skipped run:completed", d.flow("g").step("a", requires(`{"x": 1}`)).start(`{}`).events())
	})
}

func TestEventsOfMaps(t *testing.T) {
	contractWith(t, realtime, func(t *testing.T, d *db) {
		r := d.flow("f").mapStep("m").start(`[1, 2]`).begin()
		require.Equal(t, "run:started step:m:started", r.events())
		r.completeTask("m", 0, `1`)
		require.Empty(t, r.events(), "one task of several")
		r.completeTask("m", 1, `1`)
		require.Equal(t, "step:m:completed run:completed", r.events())
	})
}

func TestEventsOfFailures(t *testing.T) {
	contractWith(t, realtime, func(t *testing.T, d *db) {
		r := d.flow("f", attempts(2)).step("a").step("b", after("a")).start(`{}`).begin()
		r.events()
		r.failTask("a", 0, "boom")
		require.Empty(t, r.events(), "a retry")
		r.begin().failTask("a", 0, "boom")
		require.Equal(t, "step:a:failed run:failed", r.events())
		r.failTask("a", 0, "boom")
		require.Empty(t, r.events())

		r = d.flow("conditions").step("a", requires(`{"x": 1}`), whenUnmet("fail")).start(`{}`)
		require.Equal(t, "run:started step:a:failed run:failed", r.events())

		r = d.flow("types").step("a").mapStep("m", after("a")).start(`{}`).begin()
		r.events()
		r.completeTask("a", 0, `{}`)
		require.Equal(t, "step:a:failed run:failed", r.events())
	})
}

func TestEventsOfSkips(t *testing.T) {
	contractWith(t, realtime, func(t *testing.T, d *db) {
		start := func(slug, mode string) *run {
			r := d.flow(slug, attempts(1)).step("z", whenExhausted(mode)).step("y", after("z")).mapStep("x", after("z")).step("w", after("x", "y")).start(`{}`).begin()
			r.events()
			r.failTask("z", 0, "boom")
			return r
		}
		require.Equal(t, "step:z:skipped step:x:completed step:y:started", start("skipping", "skip").events())
		require.Equal(t, "step:z:skipped step:y:skipped step:x:skipped step:w:skipped run:completed", start("cascading", "skip-cascade").events(),
			"in the order of the dependencies, not of the names")

		r := d.flow("forced").step("c").step("b", after("c")).step("a", after("b")).start(`{}`)
		r.events()
		r.forceSkip("c", "x")
		require.Equal(t, "step:c:skipped step:b:skipped step:a:skipped", r.events())
		r.forceSkip("c", "x")
		require.Empty(t, r.events())
	})
}

func TestEventPayloads(t *testing.T) {
	contractWith(t, realtime, func(t *testing.T, d *db) {
		f := d.flow("f", attempts(1)).step("a").mapStep("m", after("a")).step("s", after("a"), whenExhausted("skip"))
		r := f.start(`{"in": 1}`)
		// stored gives columns of a row as an event shows them.
		stored := func(table, columns, where string) string {
			return d.table(`select `+columns+` from (select to_jsonb(x) as x from pgflow.`+table+` x where run_id = $1 and `+where+`) o`, r.id)
		}
		require.Equal(t, `"run:started" "`+r.id+`" "f" {"in": 1} "started" 3 `+stored("runs", "x -> 'started_at'", "true"),
			r.event("run:started", "event_type", "run_id", "flow_slug", "input", "status", "remaining_steps", "started_at"))
		require.Equal(t, `"step:started" "`+r.id+`" "f" "a" "started" 1 0 `+stored("step_states", "x -> 'started_at'", "step_slug = 'a'"),
			r.event("step:a:started", "event_type", "run_id", "flow_slug", "step_slug", "status", "remaining_tasks", "remaining_deps", "started_at"))
		require.Equal(t, "pgflow:run:"+r.id+" f broadcast", d.table(`select distinct topic, private, extension from realtime.messages where payload ->> 'run_id' = $1`, r.id))

		r.begin().completeTask("a", 0, `[]`)
		require.Equal(t, `"step:completed" "`+r.id+`" "a" "completed" [] `+stored("step_states", "x -> 'completed_at'", "step_slug = 'a'"),
			r.event("step:a:completed", "event_type", "run_id", "step_slug", "status", "output", "completed_at"))
		require.Equal(t, `"step:completed" "m" "completed" [] 0 0 `+stored("step_states", "x -> 'started_at', x -> 'completed_at'", "step_slug = 'm'"),
			r.event("step:m:completed", "event_type", "step_slug", "status", "output", "remaining_tasks", "remaining_deps", "started_at", "completed_at"))
		r.begin().failTask("s", 0, "boom")
		require.Equal(t, `"step:skipped" "`+r.id+`" "s" "skipped" "handler_failed" "boom" `+stored("step_states", "x -> 'skipped_at'", "step_slug = 's'"),
			r.event("step:s:skipped", "event_type", "run_id", "step_slug", "status", "skip_reason", "error_message", "skipped_at"))
		require.Equal(t, `"run:completed" "`+r.id+`" "f" "completed" {"m": []} `+stored("runs", "x -> 'completed_at'", "true"),
			r.event("run:completed", "event_type", "run_id", "flow_slug", "status", "output", "completed_at"))

		r = f.start(`{}`).begin()
		r.completeTask("a", 0, `{}`)
		const violation = `"[TYPE_VIOLATION] Map step m expects array input but dependency a produced object"`
		require.Equal(t, `"step:failed" "a" "failed" `+violation+` `+stored("step_states", "x -> 'failed_at'", "step_slug = 'a'"),
			r.event("step:a:failed", "event_type", "step_slug", "status", "error_message", "failed_at"))
		require.Equal(t, `"run:failed" "f" "failed" `+stored("runs", "x -> 'failed_at'", "true"), r.event("run:failed", "event_type", "flow_slug", "status", "failed_at"))

		r = d.flow("c").step("a", requires(`{"x": 1}`), whenUnmet("fail")).start(`{}`)
		require.Equal(t, `"Condition not met"`, r.event("run:failed", "error_message"))
		require.Equal(t, `"Condition not met"`, r.event("step:a:failed", "error_message"))
		r = d.flow("k").step("a", requires(`{"x": 1}`)).start(`{}`)
		require.Equal(t, `"step:skipped" "k" "condition_unmet"`, r.event("step:a:skipped", "event_type", "flow_slug", "skip_reason"))
		require.Equal(t, "null", r.event("run:completed", "output"), "no output")
	})
}

// TestEventsOfBatches are those of single calls.
func TestEventsOfBatches(t *testing.T) {
	contractWith(t, realtime, func(t *testing.T, d *db) {
		d.register(worker, "f")
		f := d.flow("f", attempts(1)).step("a").mapStep("m", after("a")).step("s", after("a", "m"))
		one, two := f.start(`{}`), f.start(`{}`)
		one.events()
		two.events()
		d.claim("", []string{"f"}, []int{9})
		d.report(report{run: one, step: "a", outcome: "completed", output: `[1]`}, report{run: two, step: "a", outcome: "permanent", error: "x"})
		require.Equal(t, "step:a:completed step:m:started", one.events())
		require.Equal(t, "step:a:failed run:failed", two.events())
	})
}

// TestNoEvents: without the service nothing is sent, with it everything is, from
// the next call on.
func TestNoEvents(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	f := d.flow("f").step("a")
	r := f.start(`{}`)
	d.script(realtime)
	r.complete("a", `1`)
	require.Equal(t, "step:a:completed run:completed", r.events())
	d.exec(`drop schema realtime cascade`)
	f.start(`{}`).complete("a", `1`)
}

// TestEventsOfSchedules: a run starts when it starts.
func TestEventsOfSchedules(t *testing.T) {
	contractWith(t, realtime, func(t *testing.T, d *db) {
		d.flow("f").step("a")
		r := &run{d, "f", d.table(`select run_id from flowc.start('f', '{1}', null, start_in => '1 hour')`)}
		require.Empty(t, r.events())
		d.exec(`select flowc.reschedule_run($1, clock_timestamp())`, r.id)
		d.exec(`select flowc.start_due('{f}')`)
		require.Equal(t, "run:started step:a:started", r.events())
		d.exec(`select flowc.cancel_run($1)`, r.id)
		require.Equal(t, "run:failed", r.events())
	})
}
