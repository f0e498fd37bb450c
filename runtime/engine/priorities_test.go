// Priorities: whose counts, in which order tasks are claimed, that a task keeps its own
// whatever becomes of it, and what they cost.

package engine_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// prioritize starts a run with a priority and returns it; 'none' gives it none.
func (f *flow) prioritize(priority string) *run {
	f.d.t.Helper()
	id := value[string](f.d, `select run_id::text from flowc.start($1, array[to_jsonb($2::text)], null, priority => nullif($2, 'none'))`, f.slug, priority)
	return &run{f.d, f.slug, id}
}

// next claims tasks of a flow and gives the inputs of their runs.
func (d *db) next(flow string, n int) string {
	d.t.Helper()
	return strings.ReplaceAll(d.table(`
		select r.input #>> '{}' from flowc.claim($1::uuid, array[$2], array[$3::int]) c join pgflow.runs r using (run_id)
		order by array_position('{high,none,late,low}', r.input #>> '{}')`, worker, flow, n), "\n", " ")
}

// prioritized is a task step with a priority of its own.
func prioritized(step, priority string) string {
	return strings.TrimSuffix(step, "}") + fmt.Sprintf(`, "settings": {"priority": %q}}`, priority)
}

// TestWhosePriority: a step's priority comes before that of the run, and that before the flow's.
func TestWhosePriority(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		for _, c := range []struct{ ofFlow, ofRun, ofStep, want string }{
			{"", "none", "", "normal"},
			{"low", "none", "", "low"},
			{"low", "high", "", "high"},
			{"low", "normal", "", "normal"},
			{"low", "high", "normal", "normal"},
			{"", "high", "", "high"},
			{"", "none", "low", "low"},
			{"high", "none", "low", "low"},
		} {
			first, second := taskStep("first"), taskStep("second", "first")
			if c.ofStep != "" {
				first, second = prioritized(first, c.ofStep), prioritized(second, c.ofStep)
			}
			settings := ""
			if c.ofFlow != "" {
				settings = fmt.Sprintf(`"settings": {"priority": %q}, `, c.ofFlow)
			}
			slug := "f_" + strings.ReplaceAll(uuid.NewString(), "-", "")
			d.exec(`select flowc.upsert_flow($1, $2::jsonb)`, slug, `{`+settings+`"steps": [`+first+`, `+second+`]}`)
			f := &flow{d, slug}
			now := f.prioritize(c.ofRun)
			later := &run{d, slug, value[string](d, `select run_id::text from flowc.start($1, '{1}', null, start_in => '1 ms', priority => nullif($2, 'none'))`, slug, c.ofRun)}
			require.Eventually(t, func() bool { return d.table(`select flowc.start_due(array[$1])`, slug) == "1" }, time.Minute, time.Millisecond)
			for _, r := range []*run{now, later} {
				r.complete("first", `1`)
				require.Equal(t, lines(c.want, c.want), d.table(`
					select flowc.priority_name(priority) from pgflow.step_tasks where run_id = $1 order by message_id`, r.id), "%+v", c)
			}
			require.Equal(t, c.want != "normal", value[bool](d, `select exists (select from flowc.prioritized_flows where flow_slug = $1)`, slug), "%+v", c)
		}
		d.fails("22023", "priority is high, normal or low, not 1", `select flowc.start('f', '{1}', null, priority => '1')`)
	})
}

// TestClaimsGoByPriority: whoever claims or reads gets what is high first, and what is low
// last, whether it was delayed or not.
func TestClaimsGoByPriority(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.flow("f").step("a")
		start := func() {
			for _, priority := range []string{"low", "low", "none", "none", "high", "high"} {
				f.prioritize(priority)
			}
		}
		complete := func() {
			d.exec(`select pgflow.complete_task(run_id, step_slug, task_index, '1') from pgflow.step_tasks where status = 'started'`)
		}
		start()
		for _, want := range []string{"high", "high none", "none low", "low"} {
			require.Equal(t, want, d.next("f", len(strings.Fields(want))))
			complete()
		}

		d.run("delayed", func(t *testing.T, d *db) {
			start()
			d.exec(`select pgflow.set_vt_batch('f', array_agg(msg_id), array_agg(3600)) from pgmq.q_f`)
			require.Empty(t, d.next("f", 9))
			start()
			d.exec(`select pgflow.set_vt_batch('f', array_agg(msg_id), array_agg(0)) from pgmq.q_f where vt > clock_timestamp()`)
			for _, want := range []string{"high high high", "high none", "none none none", "low", "low low low"} {
				require.Equal(t, want, d.next("f", len(strings.Fields(want))))
				complete()
			}
		})

		d.run("read", func(t *testing.T, d *db) {
			start()
			for _, want := range []string{"high high", "none", "none low", "low"} {
				require.Equal(t, lines(strings.Fields(want)...), d.table(`
					select r.input #>> '{}' from pgmq.read('f', 60, $1) m join pgflow.runs r on r.run_id = (m.message ->> 'run_id')::uuid
					order by array_position('{high,none,low}', r.input #>> '{}')`, len(strings.Fields(want))))
			}
			require.Equal(t, "6", d.table(`select count(*) from pgflow.start_tasks('f', array(select message_id from pgflow.step_tasks where in_queue), $1)`, worker))
			complete()
			require.Equal(t, "0", d.table(`select count(*) from pgmq.q_f`))
		})
	})
}

// TestPriorityIsKept: nothing that happens to a task changes its priority.
func TestPriorityIsKept(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	f := d.flow("f", attempts(9)).step("a")
	w := d.dying("f")
	report := func(outcome string) {
		d.exec(`
			select flowc.report($1::uuid, array_agg(run_id), array_agg(step_slug), array_agg(task_index), array_agg(message_id), array_agg(claims_count),
			  array_agg($2::text), array_agg('1'::jsonb), array_agg('503'::text), array_agg(0::double precision))
			from pgflow.step_tasks where status = 'started' and last_worker_id = $1`, w.id, outcome)
	}
	for name, again := range map[string]func(r *run){
		"failed":   func(*run) { report("failed") },
		"snoozed":  func(*run) { report("snoozed") },
		"released": func(*run) { d.exec(`select flowc.release_unknown($1, '{}')`, w.id) },
		"retried": func(r *run) {
			report("permanent")
			require.Equal(t, "t", d.table(`select flowc.retry_run($1)`, r.id))
		},
		"retried from its step": func(r *run) {
			report("completed")
			require.Equal(t, "t", d.table(`select flowc.retry_step($1, 'a')`, r.id))
		},
		"requeued": func(*run) {
			d.exec(`update pgflow.step_tasks set started_at = now() - interval '1 day' where status = 'started'`)
			require.Equal(t, "1", d.table(`select pgflow.requeue_stalled_tasks()`))
		},
		"reclaimed": func(*run) {
			d.exec(`update pgflow.step_tasks set visible_at = now() - interval '1 s', last_worker_id = gen_random_uuid() where status = 'started'`)
		},
		"suspected, then failed": func(*run) {
			w.die()
			w = d.dying("f")
			require.NotEmpty(t, w.suspects())
			report("failed")
		},
		"drained": func(*run) {
			d.exec(`update pgflow.workers set deprecated_at = now() where worker_id = $1`, w.id)
			w.die()
			w = d.dying("f")
		},
	} {
		t.Run(name, func(t *testing.T) {
			low, high := f.prioritize("low"), f.prioritize("high")
			require.Equal(t, `"high" 1`, w.claim(1))
			again(high)
			f.prioritize("none")
			require.Contains(t, w.claim(1), `"high"`)
			report("completed")
			require.Equal(t, `"none" 1`, w.claim(1))
			report("completed")
			require.Equal(t, `"low" 1`, w.claim(1))
			again(low)
			f.prioritize("none")
			require.Equal(t, `"none" 1`, w.claim(1))
			report("completed")
			require.Contains(t, w.claim(1), `"low"`)
			report("completed")
			require.Equal(t, "0", d.table(`select count(*) from flowc.queue`))
		})
	}
}

// TestSetPriority: the priority of a run is changed wherever its tasks are, and no report of
// a task in flight is lost by it.
func TestSetPriority(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.upsert("f", taskStep("a"), prioritized(taskStep("own"), "normal"), taskStep("b", "a"))
		set := func(r *run, priority string) string {
			return d.table(`select flowc.set_priority($1, $2)`, r.id, priority)
		}
		priorities := func(r *run) string {
			return strings.ReplaceAll(d.table(`
				select flowc.priority_name(priority) from pgflow.step_tasks where run_id = $1 order by step_slug, task_index`, r.id), "\n", " ")
		}
		done := func(r *run) {
			require.Equal(t, "completed", r.begin().completeTask("own", 0, `1`))
			r.begin().completeTask("a", 0, `1`)
			require.Equal(t, "completed", r.begin().completeTask("b", 0, `1`))
		}
		d.run("waiting", func(t *testing.T, d *db) {
			before, r := f.prioritize("high"), f.prioritize("none")
			require.Equal(t, "normal normal", priorities(r))
			require.Equal(t, "t", set(r, "low"))
			require.Equal(t, "low normal", priorities(r))
			require.Equal(t, "t", set(r, "high"))
			require.Equal(t, "high normal", priorities(r))
			require.Equal(t, "high none", d.next("f", 2))
			require.Equal(t, lines("a", "a"), d.table(`select step_slug from pgflow.step_tasks where status = 'started'`))
			require.Equal(t, "completed", r.completeTask("a", 0, `1`))
			require.Equal(t, "high high normal", priorities(r), "of b, which was not ready then")
			require.Equal(t, "completed", before.completeTask("a", 0, `1`))
			done(before)
			done(r)
			require.Equal(t, "f", set(r, "low"))
			require.Equal(t, "-", set(&run{d, "f", uuid.NewString()}, "low"))
		})
		d.run("in flight", func(t *testing.T, d *db) {
			r := f.prioritize("low")
			require.Equal(t, "low none", strings.ReplaceAll(d.next("f", 2), "low low", "low none"))
			claims := d.table(`select message_id, claims_count from pgflow.step_tasks where status = 'started' and step_slug = 'a'`)
			require.Equal(t, "t", set(r, "high"))
			require.Empty(t, d.next("f", 9), "its lease goes on")
			require.Equal(t, claims, d.table(`select message_id, claims_count from pgflow.step_tasks where status = 'started' and step_slug = 'a'`))
			require.Equal(t, "-", d.table(`
				select nullif(array_to_string(lost, ' '), '') from flowc.heartbeat($1, array['f', 'f'],
				  (select array_agg(message_id order by step_slug) from pgflow.step_tasks where status = 'started'),
				  (select array_agg(claims_count order by step_slug) from pgflow.step_tasks where status = 'started'))`, worker))
			require.Empty(t, d.table(`
				select flowc.report($1::uuid, array_agg(run_id), array_agg(step_slug), array_agg(task_index), array_agg(message_id), array_agg(claims_count),
				  null, array_agg('1'::jsonb), null, null)
				from pgflow.step_tasks where status = 'started'`, worker))
			require.Equal(t, "high high normal", priorities(r))
			require.Equal(t, "completed", r.begin().completeTask("b", 0, `1`))
		})
		d.run("failed", func(t *testing.T, d *db) {
			r := f.prioritize("low")
			d.exec(`select flowc.cancel_run($1)`, r.id)
			require.Equal(t, "t", set(r, "high"))
			d.exec(`select flowc.retry_run($1)`, r.id)
			other := f.prioritize("none")
			require.Equal(t, "low", d.next("f", 1))
			done(other)
			done(r)
		})
		d.run("requested", func(t *testing.T, d *db) {
			r := f.prioritize("none")
			require.Equal(t, "t t -", d.table(`select known, requested, done from flowc.request($1, 'set_priority', 'high', false)`, r.id))
			require.Equal(t, "1", d.table(`select flowc.apply_due('{f}')`))
			require.Equal(t, "high normal", priorities(r))
			require.Equal(t, "t f t", d.table(`select known, requested, done from flowc.request($1, 'set_priority', 'low', true)`, r.id))
			done(r)
		})
		d.exec(`select flowc.delete_runs(array(select run_id from pgflow.runs))`)
		require.Equal(t, "0 0", d.table(`select (select count(*) from flowc.priorities), (select count(*) from flowc.queue)`))
		d.exec(`select flowc.delete_flow('f', true)`)
		require.Equal(t, "0", d.table(`select count(*) from flowc.prioritized_flows`))
	})
}

// TestPrioritiesWaitForNobody: an open transaction that has started the first run of a flow
// with a priority holds up neither others that do nor claims, and its tasks are found when
// it commits, whatever was done meanwhile.
func TestPrioritiesWaitForNobody(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	f := d.flow("f").step("a")
	tx, err := d.pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(t.Context()) }()
	late := &db{t: t, q: tx}
	late.exec(`select flowc.start('f', array['"late"'::jsonb], null, priority => 'high')`)
	for range 3 {
		f.prioritize("high")
		require.Equal(t, "high", d.next("f", 1))
		d.exec(`select pgflow.complete_task(run_id, step_slug, task_index, '1') from pgflow.step_tasks where status = 'started'`)
		d.advanceWatermarks()
	}
	require.NoError(t, tx.Commit(t.Context()))
	f.prioritize("high")
	require.Equal(t, `late`, d.next("f", 1))
	require.Equal(t, "3", d.table(`select count(distinct subqueue) from flowc.watermarks where flow_slug = 'f'`))
}

// TestLowTasksCostHighOnesNothing: a claim of high tasks looks at the same blocks however many
// low ones wait, ready or delayed, and goes past none that are done.
func TestLowTasksCostHighOnesNothing(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.flow("f", attempts(9)).step("a")
	measure := func() int {
		least := 1 << 30
		for range 2 { // as workers do
			s.advanceWatermarks()
		}
		for range 3 {
			s.exec(`select count(*) from flowc.start('f', array_fill('1'::jsonb, array[10]), null, priority => 'high')`)
			least = min(least, s.claim("f", 10))
			require.Equal(t, "10 t", s.table(`select count(*), bool_and(priority = 'h') from pgflow.step_tasks where status = 'started'`))
			s.report(`1`)
		}
		return least
	}
	s.exec(`select count(*) from flowc.start('f', array_fill('1'::jsonb, array[100]), null, priority => 'low')`)
	few := measure()
	s.exec(`select count(*) from flowc.start('f', array_fill('1'::jsonb, array[50000]), null, priority => 'low')`)
	s.exec(`select pgflow.set_vt_batch('f', array_agg(message_id), array_agg(600)) from (select message_id from pgflow.step_tasks where in_queue order by message_id limit 20000) t`)
	s.exec(`update pgflow.step_tasks set due_at = now(), visible_at = now() where subqueue = 'd'`)
	s.exec(`select count(*) from flowc.start('f', array_fill('1'::jsonb, array[20000]), null, priority => 'high')`)
	for range 20 {
		s.claim("f", 1000)
		s.report(`1`)
	}
	many := measure()
	t.Logf("beside 100: %d blocks, beside 50,000: %d", few, many)
	require.LessOrEqual(t, many, few+40)
}
