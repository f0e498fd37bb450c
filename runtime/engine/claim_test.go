// Claims, and the contract's start_tasks: which tasks they take and what they return.

package engine_test

import (
	"crypto/rand"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestStartTasks: what a handler is given, for every kind of step.
func TestStartTasks(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		// startAll gives the whole record of whatever waits.
		startAll := func(flow string) string {
			return d.table(`
				select t.flow_slug, t.step_slug, t.task_index, t.input, t.flow_input, t.msg_id = s.message_id
				from pgflow.start_tasks($1, array(select msg_id from pgmq.read($1, 60, 100)), $2) t
				join pgflow.step_tasks s using (run_id, step_slug, task_index)
				order by t.msg_id`, flow, worker)
		}
		r := d.flow("f").step("a").step("b").step("null_output").step("j", after("b", "a", "null_output")).
			mapStep("m", after("a")).mapStep("n", after("m")).start(`{"in": 1}`)
		require.Equal(t, lines(`f a 0 {} {"in": 1} t`, `f b 0 {} {"in": 1} t`, `f null_output 0 {} {"in": 1} t`), startAll("f"),
			"a root has no inputs but the run's")
		r.completeTask("a", 0, `[10, null]`)
		r.completeTask("b", 0, `"b"`)
		r.completeTask("null_output", 0, nil)
		require.Equal(t, lines(`f m 0 10 - t`, `f m 1 null - t`, `f j 0 {"a": [10, null], "b": "b", "null_output": null} - t`), startAll("f"))
		r.completeTask("m", 1, `{"x": 1}`)
		r.completeTask("m", 0, `[1, 2]`)
		require.Equal(t, lines(`f n 0 [1, 2] - t`, `f n 1 {"x": 1} - t`), startAll("f"), "a map over a map gets its outputs, by index, as they are")

		d.flow("g").mapStep("m").step("s", after("m")).start(`[{"e": 1}, null, [2], "x"]`)
		require.Equal(t, lines(`g m 0 {"e": 1} - t`, `g m 1 null - t`, `g m 2 [2] - t`, `g m 3 "x" - t`), startAll("g"), "elements of the input, unwrapped")
	})
}

func TestStartTasksMarksTheTask(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f", timeout(10)).step("a").step("b", timeout(100)).start(`{}`)
		r.begin()
		for _, step := range []string{"a", "b"} {
			require.Equal(t, "started 1 t "+worker.String(), r.task(step, "status, attempts_count, started_at >= queued_at, last_worker_id"))
		}
		require.Equal(t, lines("a 12", "b 102"), d.table(`
			select step_slug, ceil(extract(epoch from vt - clock_timestamp())) from flowc.queue order by 1`), "hidden until the attempt must be over")
	})
}

// TestStartTasksIgnores: what cannot be started is passed over in silence.
func TestStartTasksIgnores(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.flow("f", attempts(1)).step("a").step("b", whenExhausted("skip"))
		d.flow("g").step("a").start(`{}`)
		start := func(flow string, ids any) string {
			return d.table(`select count(*) from pgflow.start_tasks($1, $2, $3)`, flow, ids, worker)
		}
		message := func(r *run, step string) []int64 {
			return []int64{value[int64](d, `select message_id from pgflow.step_tasks where run_id = $1 and step_slug = $2`, r.id, step)}
		}
		require.Equal(t, "0", start("f", nil), "NULL, as of nothing read")
		require.Equal(t, "0", start("f", []int64{}))
		require.Equal(t, "0", start("f", []int64{-1, 1 << 40}))
		require.Equal(t, "0", start("none", []int64{1}))

		r := f.start(`{}`)
		require.Equal(t, "0", start("g", message(r, "a")), "a message of another flow")
		require.Equal(t, "1", start("f", append(message(r, "a"), -1)))
		require.Equal(t, "0", start("f", message(r, "a")), "started already")
		r.completeTask("a", 0, `1`)
		require.Equal(t, "0", start("f", message(r, "a")), "completed")
		r.exhaust("b")
		require.Equal(t, "0", start("f", message(r, "b")), "of a skipped step")

		r = f.start(`{}`)
		ids := message(r, "b")
		r.exhaust("a")
		require.Equal(t, "failed 2", r.status())
		require.Equal(t, "0", start("f", ids), "of a failed run")

		r = f.start(`{}`)
		d.exec(`update pgflow.step_states set status = 'skipped', skip_reason = 'x', remaining_tasks = null where run_id = $1 and step_slug = 'a'`, r.id)
		require.Equal(t, "1", start("f", append(message(r, "a"), message(r, "b")...)))
		require.Equal(t, "0", d.table(`select read_ct from flowc.queue where msg_id = $1`, message(r, "a")[0]), "its message stays as it is")
	})
}

// TestStartTasksSkippedDependency: it is absent from the input.
func TestStartTasksSkippedDependency(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").step("a", requires(`{"no": 1}`)).step("b").step("j", after("a", "b")).start(`{}`).complete("b", `2`)
		require.Equal(t, `j 0 {"b": 2}`, r.read(1))
	})
}

// TestStartTasksLargeArray: an array too large for its row gives the same elements.
func TestStartTasksLargeArray(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		input := `["` + strings.Repeat("x", 100_000) + `", {"k": [1]}, null, 4]`
		r := d.flow("f").mapStep("m").mapStep("n", after("m")).start(input)
		require.Equal(t, lines(`100002`, `10`, `4`, `1`), d.table(`
			select length(input::text) from pgflow.start_tasks('f', array(select msg_id from pgmq.read('f', 60, 100)), $1) order by task_index`, worker))
		for i := range 4 {
			r.completeTask("m", i, fmt.Sprintf(`"%d%s"`, i, strings.Repeat("y", 30_000)))
		}
		require.Equal(t, lines("0yy", "1yy", "2yy", "3yy"), d.table(`
			select left(input #>> '{}', 3) from pgflow.start_tasks('f', array(select msg_id from pgmq.read('f', 60, 100)), $1) order by task_index`, worker))
	})
}

// flowc.claim --------------------------------------------------------------------

const claimed = `step_slug, task_index, claim_number, attempt, max_attempts, base_delay, timeout, input, run_input, array_from`

// claim claims for a worker and gives a line for each task, in the order given.
func (d *db) claim(columns string, flows []string, limits []int, except ...string) string {
	d.t.Helper()
	if except == nil {
		except = []string{}
	}
	return d.table(`select `+columns+` from flowc.claim($1::uuid, $2, $3, $4)`, worker, flows, limits, except)
}

func (d *db) register(id any, flows ...string) {
	d.t.Helper()
	d.exec(`select flowc.register_worker($1, 'test', $2)`, id, flows)
}

func TestClaim(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.register(worker, "f")
		r := d.flow("f", attempts(4), timeout(10)).step("a").step("b", attempts(2), baseDelay(7), timeout(100)).
			step("j", after("a", "b")).mapStep("m", after("b")).start(`{"in": 1}`)
		require.Equal(t, lines(`a 0 1 1 4 0 10 {} {"in": 1} -`, `b 0 1 1 2 7 100 {} {"in": 1} -`), d.claim(claimed, []string{"f"}, []int{10}))
		require.Equal(t, lines("a 12 1 "+worker.String(), "b 102 1 "+worker.String()), d.table(`
			select step_slug, ceil(extract(epoch from vt - clock_timestamp())), read_ct, worker_id from flowc.queue order by 1`))
		require.Equal(t, "started 1 t "+worker.String(), r.task("a", "status, attempts_count, started_at >= queued_at, last_worker_id"))
		require.Empty(t, d.claim(claimed, []string{"f"}, []int{10}))
		r.completeTask("a", 0, `1`)
		r.completeTask("b", 0, `[5, null]`)
		require.Equal(t, lines(`j 0 1 1 4 0 10 {"a": 1, "b": [5, null]} - -`, `m 0 1 1 4 0 10 5 - -`, `m 1 1 1 4 0 10 null - -`),
			d.claim(claimed, []string{"f"}, []int{10}))
	})
}

func TestClaimLimits(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.register(worker, "f", "g")
		d.flow("f").mapStep("m").start(`[1, 2, 3, 4]`)
		d.flow("g").mapStep("m").step("other").start(`[1, 2, 3]`)
		d.flow("h").step("a").start(`{}`)
		const columns = `flow_slug, step_slug, task_index`
		require.Empty(t, d.claim(columns, []string{}, []int{}))
		require.Empty(t, d.claim(columns, []string{"f", "none"}, []int{0, 5}))
		require.Equal(t, lines("f m 0", "f m 1", "g m 0"), d.claim(columns, []string{"f", "g"}, []int{2, 1}))
		require.Equal(t, lines("f m 2", "f m 3", "g other 0"), d.claim(columns, []string{"f", "g"}, []int{9, 9}, "g.m", "f.other"))
		require.Equal(t, lines("g m 1", "g m 2"), d.claim(columns, []string{"f", "g"}, []int{9, 9}))
	})
}

// randomText is a text that cannot be compressed to much less.
func randomText(length int) string {
	var b strings.Builder
	for b.Len() < length {
		b.WriteString(rand.Text())
	}
	return b.String()
}

// TestClaimLargeArray: the array is not sent with every element of it.
// A claim begins at the message it is told to, of ready tasks: those that are delayed and due
// are found, and so is everything in a flow with several priorities.
func TestClaimBeginsAt(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.register(worker, "f")
		d.exec(`select pgflow.create_flow('f')`)
		d.exec(`select pgflow.add_step('f', 'a')`)
		d.exec(`select flowc.start('f', '{1,2,3,4,5}', array_fill(null::uuid, array[5]))`)
		ids := value[[]int64](d, `select array_agg(message_id order by message_id) from pgflow.step_tasks`)
		require.Len(t, ids, 5)
		claim := func(first int64) []int64 {
			return value[[]int64](d, `select array_agg(message_id) from flowc.claim($1::uuid, '{f}', '{1}', '{}', false, array[$2::bigint])`, worker, first)
		}
		require.Equal(t, ids[2:3], claim(ids[2]))
		require.Equal(t, ids[3:4], claim(ids[2]))
		d.exec(`update pgflow.step_tasks set subqueue = 'd', due_at = clock_timestamp() where message_id = $1`, ids[0])
		require.Equal(t, ids[:1], claim(ids[2]))
		require.Equal(t, ids[4:], claim(ids[2]))
		require.Empty(t, claim(ids[2]))
		d.exec(`insert into flowc.prioritized_flows values ('f')`)
		require.Equal(t, ids[1:2], claim(ids[2]))
	})
}

func TestClaimLargeArray(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.register(worker, "f")
		large := `["` + randomText(5000) + `", null, 3]`
		r := d.flow("f").mapStep("m").mapStep("n", after("m")).start(large)
		require.Equal(t, lines("m 0 - run", "m 1 - run", "m 2 - run"), d.claim("step_slug, task_index, input, array_from", []string{"f"}, []int{9}))
		const values = `select source, value from flowc.read_values(array[$1, $1]::uuid[], array[$2, 'none'], 1000000)`
		require.Equal(t, lines("run "+large, "none -"), d.table(values, r.id, "run"))
		for i := range 3 {
			r.completeTask("m", i, large)
		}
		require.Equal(t, lines("n 0 - m", "n 1 - m", "n 2 - m"), d.claim("step_slug, task_index, input, array_from", []string{"f"}, []int{9}))
		require.Equal(t, lines("m ["+large+", "+large+", "+large+"]", "none -"), d.table(values, r.id, "m"))
	})
}

// TestClaimOneStep: a step can be claimed by itself, beside its flow without it.
func TestClaimOneStep(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.register(worker, "f", "g")
		d.flow("f").step("a").mapStep("m")
		d.flow("g").mapStep("m").start(`[1]`)
		(&flow{d, "f"}).start(`[1, 2, 3]`)
		require.Equal(t, lines("f m 0", "f m 1"), d.claim("flow_slug, step_slug, task_index", []string{"f.m", "f"}, []int{2, 0}, "f.m"))
		require.Equal(t, lines("g m 0", "f a 0", "f m 2"), d.claim("flow_slug, step_slug, task_index", []string{"f", "g", "f.m", "f.none"}, []int{9, 9, 9, 9}, "f.m"))
	})
}

// TestClaimSaysHowLongTasksWaited: since they could have been claimed, and not
// since they exist.
func TestClaimSaysHowLongTasksWaited(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.register(worker, "f")
		d.flow("f").step("a").start(`{}`)
		d.exec(`update flowc.queue set vt = vt - interval '100 s'`)
		d.exec(`update pgflow.step_tasks set queued_at = queued_at - interval '200 s'`)
		require.Equal(t, "t", d.claim("waited between 100 and 150", []string{"f"}, []int{9}))
		d.exec(`update flowc.queue set vt = vt - interval '100 s'`)
		d.exec(`update pgflow.workers set worker_id = gen_random_uuid()`)
		require.Equal(t, "2 -", d.claim("claim_number, waited", []string{"f"}, []int{9}), "reclaimed")
	})
}

// TestHeaders: they travel with their runs, and go with them.
func TestHeaders(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.register(worker, "f")
		d.flow("f").step("a").step("b", after("a"))
		start := func(ids, headers string) string {
			return d.table(`select n, existed from flowc.start('f', '{1,2,3}', $1::text::uuid[], headers => $2::text::jsonb[]) order by n`, ids, headers)
		}
		one, two := "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
		require.Equal(t, lines("1 f", "2 f", "3 t"), start("{"+one+","+two+","+one+"}", `{"{\"k\": \"v\"}", null, "{\"k\": \"other\"}"}`))
		require.Equal(t, lines("1 t", "2 t", "3 f"), start("{"+one+","+two+",null}", `{"{\"k\": \"new\"}", "{\"k\": \"new\"}", null}`), "a run that exists keeps what it has")
		require.Equal(t, lines(one+` a {"k": "v"}`, two+` a -`), d.claim("run_id, step_slug, headers", []string{"f"}, []int{2}))
		(&run{d, "f", one}).completeTask("a", 0, `1`)
		require.Equal(t, lines("a -", `b {"k": "v"}`), d.claim("step_slug, headers", []string{"f"}, []int{2}))
		d.exec(`select flowc.delete_runs(array[$1::uuid])`, one)
		require.Equal(t, "0", d.table(`select count(*) from flowc.run_headers`))

		d.exec(`select flowc.start('f', '{1}', null, start_in => '1 h', headers => array['{}']::jsonb[])`)
		require.Equal(t, "1", d.table(`select count(*) from flowc.run_headers`), "of scheduled runs, too")
		d.exec(`select flowc.delete_flow('f', true)`)
		require.Equal(t, "0", d.table(`select count(*) from flowc.run_headers`))
	})
}

// TestClaimIgnoresForeignMessages: what was sent by hand is for pgmq.read.
func TestClaimIgnoresForeignMessages(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.register(worker, "f")
		d.flow("f").step("a")
		d.exec(`select pgmq.send('f', '{"hello": 1}')`)
		require.Empty(t, d.claim(claimed, []string{"f"}, []int{9}))
		require.Equal(t, `{"hello": 1}`, d.table(`select message from pgmq.read('f', 1, 9)`))
	})
}

// TestClaimTidiesUp: messages of tasks that are over leave the queue.
func TestClaimTidiesUp(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.register(worker, "f")
		r := d.flow("f").step("a").step("b").start(`{}`)
		d.exec(`update pgflow.step_tasks set status = 'completed' where step_slug = 'a'`)
		require.Equal(t, "b", d.claim("step_slug", []string{"f"}, []int{9}))
		require.Equal(t, "b0", r.queued())
		require.Equal(t, "a0", r.archived())
	})
}

// TestClaimAndReadTogether: both kinds of workers can serve one flow.
func TestClaimAndReadTogether(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.register(worker, "f")
		r := d.flow("f").mapStep("m").start(`[1, 2, 3]`)
		require.Equal(t, "m 0", d.claim("step_slug, task_index", []string{"f"}, []int{1}))
		require.Equal(t, "m 1 2", r.read(1))
		require.Equal(t, "m 2", d.claim("step_slug, task_index", []string{"f"}, []int{9}))
	})
}
