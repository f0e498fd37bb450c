// Gates: limits of tasks in flight and of attempts that begin, turns among keys, and who
// frees what when.

package engine_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// gatedStep is a step with a handler and settings, behind others.
func gatedStep(slug, settings string, deps ...string) string {
	return strings.Replace(taskStep(slug, deps...), `{"slug"`, `{"settings": {`+settings+`}, "slug"`, 1)
}

const byTenant = `"gateKey": ["run", "tenant"]`

// A holder is a worker that claims the tasks of gated steps.
type holder struct {
	d  *db
	id uuid.UUID
}

func (d *db) holder(flows ...string) *holder {
	d.t.Helper()
	w := &holder{d, uuid.New()}
	d.register(w.id, flows...)
	return w
}

// claim claims up to n tasks of a step, and gives their inputs' names.
func (w *holder) claim(lane string, n int) string {
	w.d.t.Helper()
	return strings.ReplaceAll(w.d.table(`
		select r.input ->> 'n' from flowc.claim_gated($1::uuid, array[$2], array[$3::int]) c join pgflow.runs r using (run_id) order by c.message_id`,
		w.id, lane, n), "\n", " ")
}

// report reports what the worker holds of runs with these names.
func (w *holder) report(outcome string, delay any, names ...string) string {
	w.d.t.Helper()
	return w.d.table(`
		select x.accepted, x.task_status from (
		  select array_agg(t.run_id) as runs, array_agg(t.step_slug) as steps, array_agg(t.task_index) as indexes, array_agg(t.message_id) as messages,
		    array_agg(t.claims_count) as claims, array_agg($2::text) as outcomes, array_agg(case when $2 = 'completed' then '1'::jsonb end) as outputs,
		    array_agg(case when $2 <> 'completed' then 'broke' end) as errors, array_agg($3::float8) as delays
		  from pgflow.step_tasks t join pgflow.runs r using (run_id)
		  where t.last_worker_id = $1 and t.status = 'started' and r.input ->> 'n' = any ($4)) u
		cross join lateral flowc.report($1::uuid, u.runs, u.steps, u.indexes, u.messages, u.claims, u.outcomes, u.outputs, u.errors, u.delays) x`,
		w.id, outcome, delay, names)
}

func (w *holder) complete(names ...string) {
	w.d.t.Helper()
	require.Empty(w.d.t, w.report("completed", nil, names...))
}

// startAll starts runs with names and a tenant.
func (f *flow) startAll(tenant string, names ...string) (runs []*run) {
	f.d.t.Helper()
	for _, n := range names {
		runs = append(runs, f.start(fmt.Sprintf(`{"n": %q, "tenant": %q}`, n, tenant)))
	}
	return runs
}

// gates gives the gates as key, in flight and waiting.
func (d *db) gates() string {
	d.t.Helper()
	return strings.ReplaceAll(d.table(`select gate, coalesce(nullif(key, ''), '.'), in_flight, waiting from flowc.list_gates()`), "\n", ", ")
}

// sound holds that nothing leaks.
func (d *db) sound() {
	d.t.Helper()
	require.Empty(d.t, d.table(`select * from flowc.check_gates()`))
}

// idle holds that nothing is left of gates when their tasks are done.
func (w *holder) idle(lane string) {
	w.d.t.Helper()
	require.Empty(w.d.t, w.claim(lane, 9))
	require.Equal(w.d.t, "0 0 0 0", w.d.table(`
		select (select count(*) from flowc.gate_keys), (select count(*) from flowc.turns), (select count(*) from flowc.gate_changes),
		  (select count(*) from flowc.held)`))
}

// later has what is due in some seconds be due now, as if they had passed.
func (d *db) later(seconds int) {
	d.t.Helper()
	d.exec(`update flowc.turns set due_at = due_at - make_interval(secs => $1::int)`, seconds)
	d.exec(`update flowc.gate_keys set refilled_at = refilled_at - make_interval(secs => $1::int), held_until = held_until - make_interval(secs => $1::int)`, seconds)
	d.exec(`update flowc.gates set held_until = held_until - make_interval(secs => $1::int)`, seconds)
	d.exec(`update pgflow.step_tasks set visible_at = visible_at - make_interval(secs => $1::int), due_at = due_at - make_interval(secs => $1::int)
		where in_queue and status = 'queued'`, seconds)
}

func TestConcurrencyOfAGate(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.upsert("f", gatedStep("a", `"concurrency": 2`))
		f.startAll("x", "1", "2", "3", "4")
		w, other := d.holder("f"), d.holder("f")
		require.Equal(t, "f.a . 0 4", d.gates())
		require.Equal(t, "1", w.claim("f.a", 1))
		require.Equal(t, "2", other.claim("f.a", 9), "of all workers together")
		require.Empty(t, w.claim("f.a", 9))
		require.Equal(t, "f.a . 2 2", d.gates())
		w.complete("1")
		require.Equal(t, "f.a . 1 2", d.gates())
		require.Equal(t, "3", other.claim("f.a", 9))
		other.complete("2", "3")
		require.Equal(t, "4", w.claim("f.a", 9))
		d.sound()
		w.complete("4")
		w.idle("f.a")
		require.Equal(t, "f.a . 0 0", d.gates())
	})
}

// TestTurns: each key gets the same, whatever waits with another.
func TestTurns(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.upsert("f", gatedStep("a", byTenant))
		f.startAll("hog", "h1", "h2", "h3", "h4", "h5", "h6", "h7", "h8")
		f.startAll("x", "x1", "x2")
		f.startAll("y", "y1")
		w := d.holder("f")
		require.Equal(t, "h1 h2 x1 x2 y1", w.claim("f.a", 5), "what is left of one share goes to others")
		require.Equal(t, "h3", w.claim("f.a", 1))
		f.startAll("x", "x3", "x4")
		f.startAll("z", "z1")
		require.Equal(t, "h4 x3 z1", w.claim("f.a", 3))
		require.Equal(t, "h5 x4", w.claim("f.a", 2))
		w.complete("h1", "h2", "h3", "h4", "h5", "x1", "x2", "x3", "x4", "y1", "z1")
		require.Equal(t, "h6 h7 h8", w.claim("f.a", 5))
		w.complete("h6", "h7", "h8")
		w.idle("f.a")
	})
}

// TestKeysOfGates: what is no string or whole number is no key; a key's value decides, and
// its type does not.
func TestKeysOfGates(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.upsert("f", gatedStep("a", `"concurrency": 1, `+byTenant))
		for i, tenant := range []string{`"7"`, `7`, `7.0`, `null`, `""`, `true`, `[1]`, `"` + strings.Repeat("x", 256) + `"`} {
			f.start(fmt.Sprintf(`{"n": "%d", "tenant": %s}`, i, tenant))
		}
		f.start(`{"n": "none"}`)
		require.Equal(t, "f.a . 0 6, f.a 7 0 3", d.gates())
		w := d.holder("f")
		require.Equal(t, "0 3", w.claim("f.a", 9))
	})
}

// TestNamedGate: steps of several flows share one gate, and none of them starves.
func TestNamedGate(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		const openai = `"gate": "openai", "concurrency": 2`
		f := d.upsert("f", gatedStep("a", openai), gatedStep("b", openai))
		g := d.upsert("g", gatedStep("c", openai))
		f.startAll("x", "1", "2")
		g.startAll("x", "3")
		w := d.holder("f", "g")
		require.Equal(t, "openai {f.a,f.b,g.c} 2 -", d.table(`select gate, steps, concurrency, rate_tokens from flowc.list_gates()`))
		require.Equal(t, "openai . 0 5", d.gates())
		require.Equal(t, "1", w.claim("f.a", 1))
		require.Equal(t, "3", w.claim("g.c", 9))
		require.Empty(t, w.claim("f.b", 9))
		w.complete("3")
		require.Equal(t, "1", w.claim("f.b", 9), "what departs from one step makes room for another")
		d.exec(`select flowc.delete_flow('g', true)`)
		require.Equal(t, "openai {f.a,f.b} 2", d.table(`select gate, steps, concurrency from flowc.list_gates()`))
		d.sound()
	})
}

func TestRateOfAGate(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.upsert("f", gatedStep("a", `"rate": {"tokens": 60, "seconds": 60, "burst": 3}`))
		f.startAll("x", "1", "2", "3", "4", "5")
		w := d.holder("f")
		require.Equal(t, "1 2 3", w.claim("f.a", 9))
		require.Empty(t, w.claim("f.a", 9))
		w.complete("1", "2", "3")
		require.Empty(t, w.claim("f.a", 9), "what ends gives no token back")
		require.Equal(t, "t", d.table(`select flowc.next_turn('{f}') between clock_timestamp() and clock_timestamp() + interval '1 second'`))
		d.later(1)
		require.Equal(t, "4", w.claim("f.a", 9))
		w.report("failed", 0, "4")
		d.later(1)
		require.Equal(t, "4", w.claim("f.a", 9), "each attempt takes one")
		w.complete("4")
		d.later(100)
		require.Equal(t, "5", w.claim("f.a", 9))
		f.startAll("x", "6", "7", "8", "9")
		require.Equal(t, "6 7", w.claim("f.a", 9), "there are never more than the burst")
		w.complete("5", "6", "7")
		d.exec(`update flowc.gate_keys set refilled_at = clock_timestamp() + interval '1 day'`)
		d.exec(`update flowc.turns set due_at = clock_timestamp()`)
		require.Empty(t, w.claim("f.a", 9))
		require.Equal(t, "t", d.table(`select flowc.next_turn('{f}') < clock_timestamp() + interval '1.1 second'`), "the clock was set back")
		d.sound()
	})
}

// TestBucketsAreForgotten: the row of a key goes when it has all its tokens again.
func TestBucketsAreForgotten(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.upsert("f", gatedStep("a", `"rate": {"tokens": 10, "seconds": 1}`))
		f.startAll("x", "1")
		w := d.holder("f")
		require.Equal(t, "1", w.claim("f.a", 9))
		w.complete("1")
		d.later(0)
		require.Empty(t, w.claim("f.a", 9))
		d.later(2)
		w.idle("f.a")
	})
}

// TestRetriesAtAGate: between two attempts a task is not in flight, and others go on.
func TestRetriesAtAGate(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.upsert("f", gatedStep("a", `"concurrency": 1, `+byTenant))
		f.startAll("x", "1", "2", "3")
		w := d.holder("f")
		require.Equal(t, "1", w.claim("f.a", 9))
		require.Equal(t, "t queued", w.report("failed", 60, "1"))
		require.Equal(t, "2", w.claim("f.a", 9))
		require.Equal(t, "t snoozed", w.report("snoozed", 90, "2"))
		require.Equal(t, "3", w.claim("f.a", 9))
		w.complete("3")
		require.Empty(t, w.claim("f.a", 9))
		require.Equal(t, "t", d.table(`select flowc.next_turn('{f}') between clock_timestamp() + interval '50 seconds' and clock_timestamp() + interval '60 seconds'`))
		d.later(60)
		require.Equal(t, "1", w.claim("f.a", 9))
		d.later(60)
		require.Empty(t, w.claim("f.a", 9))
		w.complete("1")
		f.startAll("x", "4")
		require.Equal(t, "2", w.claim("f.a", 9), "what was delayed comes first")
		d.exec(`select flowc.release($1::uuid, '{f}', array[message_id], array[claims_count]) from pgflow.step_tasks where status = 'started'`, w.id)
		require.Equal(t, "f.a x 0 2", d.gates())
		require.Equal(t, "2", w.claim("f.a", 9))
		w.complete("2")
		require.Equal(t, "4", w.claim("f.a", 9))
		require.Equal(t, "t failed", w.report("permanent", nil, "4"))
		w.idle("f.a")
	})
}

// TestStrictOrder: a task keeps its place between two attempts.
func TestStrictOrder(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.upsert("f", gatedStep("a", `"concurrency": 1, "strictOrder": true, `+byTenant))
		f.startAll("x", "1", "2")
		f.startAll("y", "y1")
		w := d.holder("f")
		require.Equal(t, "1 y1", w.claim("f.a", 9))
		require.Equal(t, "t queued", w.report("failed", 60, "1"))
		require.Empty(t, w.claim("f.a", 9), "the first one waits for its next attempt, and the others for it")
		d.later(60)
		require.Equal(t, "1", w.claim("f.a", 9))
		require.Equal(t, "t snoozed", w.report("snoozed", 60, "1"))
		require.Empty(t, w.claim("f.a", 9))
		r := value[string](d, `select run_id::text from pgflow.runs where input ->> 'n' = '1'`)
		require.Equal(t, "1", d.table(`select flowc.run_now($1::text::uuid)`, r))
		require.Equal(t, "1", w.claim("f.a", 9))
		w.complete("1", "y1")
		require.Equal(t, "2", w.claim("f.a", 9))
		w.complete("2")
		w.idle("f.a")
	})
}

// TestHoldOff: nothing with the key begins before the time is over, in any step of the gate.
func TestHoldOff(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		const api = `"gate": "api", ` + byTenant
		f := d.upsert("f", gatedStep("a", api), gatedStep("b", api))
		f.startAll("x", "1", "2")
		f.startAll("y", "y1")
		w := d.holder("f")
		require.Equal(t, "1", w.claim("f.a", 1))
		require.Equal(t, "t queued", w.report("held off", 30, "1"))
		require.Equal(t, "y1", w.claim("f.b", 9))
		require.Equal(t, "y1", w.claim("f.a", 9))
		require.Equal(t, "t", d.table(`select held_until between clock_timestamp() + interval '20 seconds' and clock_timestamp() + interval '30 seconds'
			from flowc.list_gates() where key = 'x'`))
		d.later(30)
		require.Equal(t, "1 2", w.claim("f.b", 9))
		require.Equal(t, "1 2", w.claim("f.a", 9))
		d.sound()
	})
}

func TestOperatingGates(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.upsert("f", gatedStep("a", `"concurrency": 1, "rate": {"tokens": 1000, "seconds": 1}, `+byTenant))
		f.startAll("x", "1", "2", "3")
		f.startAll("y", "y1", "y2")
		w := d.holder("f")
		limits := func() string {
			return d.table(`select distinct concurrency, rate_tokens, rate_seconds, burst, overridden, declared from flowc.list_gates()`)
		}
		declared := ` {"rate": {"tokens": 1000, "seconds": 1}, "concurrency": 1}`
		require.Equal(t, "1 1000 1 100 f"+declared, limits())

		require.Equal(t, "t", d.table(`select flowc.hold_gate('f.a', 'x', 60)`))
		require.Equal(t, "y1", w.claim("f.a", 9))
		require.Equal(t, "t", d.table(`select flowc.hold_gate('f.a', 'x', 0)`))
		require.Equal(t, "1", w.claim("f.a", 9))
		require.Equal(t, "t", d.table(`select flowc.hold_gate('f.a', null, 60)`))
		w.complete("1", "y1")
		require.Empty(t, w.claim("f.a", 9))
		require.Equal(t, "t", d.table(`select flowc.hold_gate('f.a', null, null)`))
		require.Equal(t, "2 y2", w.claim("f.a", 9))

		require.Equal(t, "t", d.table(`select flowc.set_gate('f.a', 2)`))
		require.Equal(t, "2 1000 1 100 t"+declared, limits())
		require.Equal(t, "3", w.claim("f.a", 9), "keys that had no room are looked at again")
		require.Equal(t, "t", d.table(`select flowc.set_gate('f.a', null, 5, 1)`))
		require.Equal(t, "1 5 1 5 t"+declared, limits())
		d.upsert("f", gatedStep("a", `"concurrency": 1, "rate": {"tokens": 1000, "seconds": 1}, `+byTenant))
		require.Equal(t, "1 5 1 5 t"+declared, limits(), "an upsert that changes nothing leaves it")
		require.Equal(t, "t", d.table(`select flowc.set_gate('f.a')`))
		require.Equal(t, "1 1000 1 100 f"+declared, limits())
		require.Equal(t, "t", d.table(`select flowc.set_gate('f.a', 7)`))
		f = d.upsert("f", gatedStep("a", `"concurrency": 3, `+byTenant))
		require.Equal(t, `3 - - - f {"concurrency": 3}`, limits())

		require.Equal(t, "f", d.table(`select flowc.set_gate('none', 1)`))
		require.Equal(t, "f", d.table(`select flowc.hold_gate('none', null, 1)`))
		require.Equal(t, "f", d.table(`select flowc.hold_gate('none', 'x', 1)`))
		d.fails("22023", "the limits of a gate must be positive", `select flowc.set_gate('f.a', 0)`)
		d.fails("22023", "the rate of a gate needs tokens and seconds", `select flowc.set_gate('f.a', tokens => 1)`)
		f.startAll("z", "z1")
		w.claim("f.a", 9)
		d.sound()
	})
}

// TestOtherWaysToATask: only claim_gated hands out tasks of gated steps.
func TestOtherWaysToATask(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.upsert("f", gatedStep("a", `"concurrency": 1`), taskStep("b"))
		f.startAll("x", "1", "2")
		w := d.holder("f")
		require.Equal(t, lines("b", "b"), d.table(`select step_slug from flowc.claim($1::uuid, '{f,f.a}', '{9,9}')`, w.id))
		require.Empty(t, d.table(`select msg_id from pgmq.read('f', 30, 9)`))
		require.Empty(t, d.table(`select t.step_slug from pgflow.start_tasks('f', array(select message_id from pgflow.step_tasks), $1) t`, w.id))
		require.Equal(t, "1", w.claim("f.a", 9))

		// After a death it is a suspect.
		d.exec(`update pgflow.workers set last_heartbeat_at = clock_timestamp() - interval '6 seconds' where worker_id = $1`, w.id)
		d.exec(`select flowc.recover()`)
		require.Equal(t, "s", d.table(`select distinct subqueue from pgflow.step_tasks where claims_count > 0 and step_slug = 'a'`))
		require.Equal(t, "b", d.table(`select distinct message ->> 'step_slug' from pgmq.read('f', 30, 9)`))
		require.Empty(t, d.table(`select t.step_slug from pgflow.start_tasks('f', array(select message_id from pgflow.step_tasks where step_slug = 'a'), $1) t`, w.id))

		// Archiving or hiding it is possible.
		require.Equal(t, "1", d.table(`select count(*) from pgmq.set_vt('f', (select message_id from pgflow.step_tasks where step_slug = 'a' and status = 'queued' and subqueue = 'g'), 60)`))
		w = d.holder("f")
		require.Empty(t, w.claim("f.a", 9))
		require.Equal(t, "1", d.table(`select count(*) from pgmq.set_vt('f', (select message_id from pgflow.step_tasks where step_slug = 'a' and status = 'queued' and subqueue = 'g'), 0)`))
		require.Equal(t, "2", w.claim("f.a", 9))
		d.exec(`select pgmq.archive('f', array(select message_id from pgflow.step_tasks where step_slug = 'a'))`)
		d.sound()
		require.Empty(t, w.report("completed", nil, "2"))
		w.idle("f.a")
	})
}

// TestACancelledTaskKeepsItsSlot until its worker lets go of it, whatever has become of the
// run.
func TestACancelledTaskKeepsItsSlot(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]string{
		"cancelled": `select flowc.cancel_run($1)`,
		"deleted":   `select flowc.delete_run($1, true)`,
		"retried":   `select flowc.cancel_run($1), flowc.retry_run($1)`,
		"rerun":     `select flowc.cancel_run($1), flowc.retry_step($1, 'a')`,
		"completed": `select pgflow.complete_task($1, 'a', 0, '1')`,
		"failed":    `select flowc.fail_steps(array[$1::uuid], '{b}', '{x}')`,
		"archived":  `select pgmq.archive('f', array(select message_id from pgflow.step_tasks where run_id = $1))`,
		"skipped":   `select pgflow._cascade_force_skip_steps($1, 'a', 'condition_unmet')`,
	} {
		t.Run(name, func(t *testing.T) {
			contract(t, func(t *testing.T, d *db) {
				f := d.upsert("f", gatedStep("a", `"concurrency": 1, `+byTenant), taskStep("b"))
				runs := f.startAll("x", "1", "2")
				w := d.holder("f")
				require.Equal(t, "1", w.claim("f.a", 9))
				held := d.table(`select message_id, claim_number from flowc.held`)
				var message, claim int
				_, err := fmt.Sscan(held, &message, &claim)
				require.NoError(t, err)
				d.exec(`select flowc.claim($1, '{f}', '{9}')`, w.id)
				d.exec(end, runs[0].id)
				require.Empty(t, w.claim("f.a", 9))
				d.sound()
				require.Equal(t, fmt.Sprintf("{%d}", message), d.table(`select lost from flowc.heartbeat($1, '{f}', array[$2::bigint], array[$3::int])`, w.id, message, claim))
				d.exec(`select flowc.release($1, '{f}', array[$2::bigint], array[$3::int])`, w.id, message, claim)
				d.exec(`select flowc.release($1, '{f}', array[$2::bigint], array[$3::int])`, w.id, message, claim)
				next := "2"
				if name == "rerun" || name == "retried" {
					d.sound()
					require.Equal(t, next, w.claim("f.a", 9), "a new message is behind the others")
					w.complete(next)
					next = "1"
				}
				require.Equal(t, next, w.claim("f.a", 9))
				require.Equal(t, "f.a x 1 0", d.gates())
				w.complete(next)
				w.idle("f.a")
			})
		})
	}
}

// TestADeadHolder: what a dead worker held is free for others, and its own task is tried
// apart from others, when the gate has room.
func TestADeadHolder(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.upsert("f", gatedStep("a", `"concurrency": 1, `+byTenant))
		f.startAll("x", "1", "2")
		w, other := d.holder("f"), d.holder("f")
		suspects := func() string {
			return d.table(`select r.input ->> 'n' from flowc.claim_suspects($1::uuid, '{f.a}', '{9}') c join pgflow.runs r using (run_id)`, other.id)
		}
		require.Equal(t, "1", w.claim("f.a", 9))
		d.exec(`update pgflow.workers set last_heartbeat_at = clock_timestamp() - interval '6 seconds' where worker_id = $1`, w.id)
		require.Equal(t, "t", d.table(`select dead from flowc.heartbeat($1, '{}', '{}', '{}', '{f}')`, other.id))
		require.Equal(t, "1", d.table(`select flowc.recover()`))
		d.sound()
		require.Equal(t, "2", other.claim("f.a", 9))
		require.Equal(t, "f", d.table(`select suspects from flowc.heartbeat($1, '{}', '{}', '{}', '{f}')`, other.id), "the gate has no room")
		require.Empty(t, suspects())
		other.complete("2")
		require.Equal(t, "t", d.table(`select suspects from flowc.heartbeat($1, '{}', '{}', '{}', '{f}')`, other.id))
		require.Equal(t, "1", suspects())
		require.Equal(t, "f.a x 1 0", d.gates())
		f.startAll("x", "3")
		require.Empty(t, other.claim("f.a", 9))
		require.Equal(t, "t queued", other.report("failed", 0, "1"))
		require.Equal(t, "1", other.claim("f.a", 9), "it is no suspect any more")
		other.complete("1")
		require.Equal(t, "3", other.claim("f.a", 9))
		other.complete("3")
		other.idle("f.a")
	})
}

// TestStrictOrderAndSuspects: those behind a task that may have killed its worker wait until
// it is done.
func TestStrictOrderAndSuspects(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.upsert("f", gatedStep("a", `"concurrency": 1, "strictOrder": true, `+byTenant))
		f.startAll("x", "1", "2")
		w, other := d.holder("f"), d.holder("f")
		require.Equal(t, "1", w.claim("f.a", 9))
		d.exec(`update pgflow.workers set last_heartbeat_at = clock_timestamp() - interval '6 seconds' where worker_id = $1`, w.id)
		d.exec(`select flowc.recover()`)
		require.Empty(t, other.claim("f.a", 9))
		require.Equal(t, "1", d.table(`select r.input ->> 'n' from flowc.claim_suspects($1::uuid, '{f.a}', '{9}') c join pgflow.runs r using (run_id)`, other.id))
		require.Empty(t, other.claim("f.a", 9))
		other.complete("1")
		require.Equal(t, "2", other.claim("f.a", 9))
		d.sound()
	})
}

// TestHoldersThatForget: what a worker does not know of, or left behind when it stopped,
// comes back.
func TestHoldersThatForget(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.upsert("f", gatedStep("a", `"concurrency": 1`))
		runs := f.startAll("x", "1", "2")
		w := d.holder("f")
		require.Equal(t, "1", w.claim("f.a", 9))
		require.Equal(t, "0", d.table(`select flowc.leave_unknown($1, '{}')`, w.id), "the reply may be on its way")
		d.exec(`update flowc.held set claimed_at = claimed_at - interval '16 seconds'`)
		require.Equal(t, "0", d.table(`select flowc.leave_unknown($1, array(select message_id from flowc.held))`, w.id))
		require.Equal(t, "1", d.table(`select flowc.leave_unknown($1, '{}')`, w.id))
		require.Equal(t, "1", w.claim("f.a", 9))
		d.exec(`select flowc.release_unknown($1, '{}')`, w.id)
		require.Equal(t, "1", w.claim("f.a", 9))

		d.exec(`select flowc.stop_worker($1)`, w.id)
		other := d.holder("f")
		require.Equal(t, "t", d.table(`select dead from flowc.heartbeat($1, '{}', '{}', '{}', '{f}')`, other.id))
		require.Equal(t, "0", d.table(`select flowc.recover()`))
		require.Equal(t, "f", d.table(`select dead from flowc.heartbeat($1, '{}', '{}', '{}', '{f}')`, other.id))
		require.Equal(t, "1", other.claim("f.a", 9))
		d.exec(`select flowc.cancel_run($1)`, runs[0].id)
		d.exec(`delete from pgflow.workers where worker_id = $1`, other.id)
		require.Equal(t, "t", d.table(`select dead from flowc.heartbeat($1, '{}', '{}', '{}', '{f}')`, w.id))
		d.exec(`select flowc.recover()`)
		require.Equal(t, "2", w.claim("f.a", 9))
		d.sound()
	})
}

// TestGatesComeAndGo: tasks in the queue move when a step gets a gate, and back.
func TestGatesComeAndGo(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.upsert("f", taskStep("a"))
		runs := f.startAll("x", "1", "2", "3", "4")
		w := d.holder("f")
		plain := func(n int) string {
			return strings.ReplaceAll(d.table(`select r.input ->> 'n' from flowc.claim($1::uuid, '{f}', array[$2::int]) c join pgflow.runs r using (run_id) order by c.message_id`, w.id, n), "\n", " ")
		}
		require.Equal(t, "1", w.claim("f.a", 1), "a step without a gate is claimed all the same")
		require.Equal(t, "2", plain(1))
		require.Equal(t, "t queued", w.report("failed", 60, "2"))
		d.exec(`select flowc.cancel_run($1)`, runs[3].id)

		d.upsert("f", gatedStep("a", `"concurrency": 2, `+byTenant))
		require.Equal(t, "f.a x 1 2", d.gates(), "what is in flight counts")
		require.Empty(t, plain(9))
		require.Equal(t, "3", w.claim("f.a", 9))
		d.exec(`select flowc.retry_run($1)`, runs[3].id)
		require.Empty(t, w.claim("f.a", 9))
		w.complete("1")
		require.Equal(t, "4", w.claim("f.a", 9))
		d.sound()

		d.upsert("f", gatedStep("a", `"concurrency": 1, "gate": "other", `+byTenant))
		require.Equal(t, "other x 2 1", d.gates(), "what is in flight counts at the new gate")
		d.later(60)
		require.Empty(t, w.claim("f.a", 9))
		w.complete("3")
		require.Empty(t, w.claim("f.a", 9), "the new limit is lower")
		w.complete("4")
		require.Equal(t, "2", w.claim("f.a", 9))
		d.sound()

		// The same if the step had none for a while, and a report may come between.
		d.upsert("f", taskStep("a"))
		f.startAll("x", "7")
		d.upsert("f", gatedStep("a", `"concurrency": 1, "gate": "third", `+byTenant))
		require.Equal(t, "third x 1 1", d.gates())
		require.Empty(t, w.claim("f.a", 9))
		d.sound()
		d.upsert("f", gatedStep("a", `"concurrency": 1, "gate": "other", `+byTenant))
		w.complete("2")
		d.upsert("f", gatedStep("a", `"concurrency": 1, "gate": "third", `+byTenant))
		require.Equal(t, "7", w.claim("f.a", 9))
		require.Equal(t, "third x 1 0", d.gates())
		d.sound()

		f.startAll("x", "5", "6")
		d.upsert("f", taskStep("a"))
		require.Empty(t, d.gates())
		require.Equal(t, "t queued", w.report("failed", 0, "7"))
		require.Equal(t, "7 5 6", plain(9))
		w.complete("7", "5", "6")
		d.exec(`select flowc.prune_gates()`)
		require.Equal(t, "0 0 0 0", d.table(`select (select count(*) from flowc.held), (select count(*) from flowc.turns), (select count(*) from flowc.gates),
			(select count(*) from flowc.gate_changes)`))
	})
}

// TestAnotherGateMeanwhile: what is claimed or reported while a step gets another gate counts
// there, and is not counted for ever.
func TestAnotherGateMeanwhile(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	f := d.upsert("f", gatedStep("a", `"concurrency": 1, `+byTenant))
	w := d.holder("f")
	f.startAll("x", "1", "2", "3")
	change := func(d *db, gate string) {
		d.exec(`update flowc.settings set settings = settings || jsonb_build_object('gate', $1::text) where flow_slug = 'f' and step_slug = 'a'`, gate)
	}

	claim, tx := d.transaction()
	require.Equal(t, "1", (&holder{claim, w.id}).claim("f.a", 9))
	change(d, "other")
	set := d.meanwhile(`select flowc.set_gates('f')`)
	require.NoError(t, tx.Commit(t.Context()))
	<-set
	require.Equal(t, "other x 1 2", d.gates())
	require.Empty(t, w.claim("f.a", 9))
	d.sound()

	upsert, tx := d.transaction()
	change(upsert, "third")
	upsert.exec(`select flowc.set_gates('f')`)
	left := d.meanwhile(`select flowc.leave_gates(worker_id, array[message_id], array[claim_number]) from flowc.held`)
	require.NoError(t, tx.Commit(t.Context()))
	<-left
	require.Equal(t, "third x 0 2", d.gates())
	require.Equal(t, "2", w.claim("f.a", 9))
	d.sound()
}

// TestPausedGates: of a paused flow nothing is claimed, and nothing is forgotten.
func TestPausedGates(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.upsert("f", gatedStep("a", `"concurrency": 1`))
		f.startAll("x", "1")
		w := d.holder("f")
		d.exec(`select flowc.pause_flow('f', true)`)
		require.Empty(t, w.claim("f.a", 9))
		d.exec(`select flowc.pause_flow('f', false)`)
		require.Equal(t, "1", w.claim("f.a", 9))
	})
}

// TestNobodyWaitsForGates: starts, reports and cancels in transactions that stay open hold
// up no claim, nor does an open claim hold up them, and what is locked is found afterwards.
func TestNobodyWaitsForGates(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	f := d.upsert("f", gatedStep("a", `"concurrency": 2, `+byTenant))
	w := d.holder("f")
	d.exec(`set lock_timeout = '1s'`) // of one connection of the pool; the others have the test's

	one, tx1 := d.transaction()
	two, tx2 := d.transaction()
	(&flow{one, "f"}).startAll("x", "1")
	(&flow{two, "f"}).startAll("x", "2")
	f.startAll("x", "3")
	require.Equal(t, "3", w.claim("f.a", 9))
	require.NoError(t, tx1.Commit(context.Background()))
	require.Equal(t, "1", w.claim("f.a", 9))

	// An open claim has the key.
	w.complete("3")
	three, tx3 := d.transaction()
	f.startAll("x", "4")
	require.Equal(t, "4", (&holder{three, w.id}).claim("f.a", 9))
	require.NoError(t, tx2.Commit(context.Background()))
	f.startAll("x", "5")
	w.complete("1")
	require.Empty(t, w.claim("f.a", 9), "somebody has the key")
	require.NoError(t, tx3.Rollback(context.Background()))
	require.Equal(t, "2 4", w.claim("f.a", 9))

	// Somebody has a task.
	w.complete("2", "4")
	four, tx4 := d.transaction()
	four.exec(`select from pgflow.step_tasks t join pgflow.runs r using (run_id) where r.input ->> 'n' = '5' for update of t`)
	require.Empty(t, w.claim("f.a", 9))
	require.Empty(t, w.claim("f.a", 9))
	require.NoError(t, tx4.Rollback(context.Background()))
	d.later(1)
	require.Equal(t, "5", w.claim("f.a", 9))

	// A dead worker's task is locked.
	five, tx5 := d.transaction()
	five.exec(`select from pgflow.step_tasks t join pgflow.runs r using (run_id) where r.input ->> 'n' = '5' for update of t`)
	d.exec(`update pgflow.workers set last_heartbeat_at = clock_timestamp() - interval '6 seconds' where worker_id = $1`, w.id)
	require.Equal(t, "1", d.table(`select flowc.recover()`))
	other := d.holder("f")
	require.Equal(t, "f.a x 1 0", d.gates())
	require.NoError(t, tx5.Rollback(context.Background()))
	require.Equal(t, "t", d.table(`select dead from flowc.heartbeat($1, '{}', '{}', '{}', '{f}')`, other.id))
	d.exec(`select flowc.recover()`)
	require.Equal(t, "5", other.claim("f.a", 9))
	other.complete("5")
	other.idle("f.a")
}

// TestClaimBesideFullGates: keys that have no room cost a claim nothing, however many they
// are, nor do tasks that wait behind them; and flows without gates pay for neither.
func TestClaimBesideFullGates(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.upsert("f", gatedStep("a", `"concurrency": 1, `+byTenant))
	s.upsert("plain", taskStep("a"))
	s.exec(`select flowc.register_worker($1, 'w', '{f, plain}')`, worker)
	s.exec2(`vacuum analyze`)
	claim := `select * from flowc.claim_gated($1::uuid, '{f.a}', '{16}')`
	measure := func(round int) map[string]int {
		least := leastBlocks{}
		for i := range 3 {
			costs := map[string]int{"nothing": s.blocks(claim, worker)}
			s.exec(`select count(*) from flowc.start('f', array(select jsonb_build_object('tenant', format('t%s-%s-%s', $1::int, $2::int, i)) from generate_series(1, 16) i), null)`, round, i)
			costs["claim"] = s.blocks(claim, worker)
			var runs []string
			var messages []int64
			var claims []int32
			require.NoError(t, s.conn.QueryRow(t.Context(), `
				select array_agg(t.run_id::text), array_agg(t.message_id), array_agg(t.claims_count)
				from (select * from pgflow.step_tasks where subqueue = 'g' and in_queue and status = 'started' order by message_id desc limit 16) t`).Scan(&runs, &messages, &claims))
			costs["report"] = s.blocks(`select flowc.report($1::uuid, $2::text[]::uuid[], array_fill('a'::text, array[16]), array_fill(0, array[16]), $3, $4,
				null, array_fill('1'::jsonb, array[16]), null, null)`, worker, runs, messages, claims)
			s.exec(`select count(*) from flowc.start('plain', array_fill('{}'::jsonb, array[16]), null)`)
			costs["plain claim"] = s.claim("plain", 16)
			costs["enter_idle"] = s.blocks(`select flowc.enter_idle($1, '{f, plain}')`, worker)
			costs["heartbeat"] = s.blocks(`select * from flowc.heartbeat($1, '{}', '{}', '{}', '{f, plain}')`, worker)
			for name, blocks := range costs {
				least.note(name, blocks)
			}
			s.exec(claim, worker)
		}
		return least
	}
	small := measure(0)
	s.exec(`select count(*) from flowc.start('f', array(select jsonb_build_object('tenant', i % 1000) from generate_series(1, 20000) i), null)`)
	for range 200 {
		s.exec(`select count(*) from flowc.claim_gated($1::uuid, '{f.a}', '{100}')`, worker)
	}
	require.Equal(t, "1000 19000", s.table(`
		select (select count(*) from flowc.held), (select count(*) from pgflow.step_tasks where subqueue = 'g' and in_queue and status = 'queued')`))
	for operation, blocks := range measure(1) {
		require.LessOrEqual(t, blocks, 2*small[operation]+40, "%s: at first %v", operation, small)
	}
}

// TestStrictOrderOfASharedGate: each step keeps its own order. While the first task of one
// waits for a retry, those of another may begin, one at a time.
func TestStrictOrderOfASharedGate(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		const mail = `"gate": "mail", "concurrency": 1, "strictOrder": true, ` + byTenant
		f := d.upsert("f", gatedStep("a", mail), gatedStep("b", mail))
		f.startAll("x", "1", "2")
		w := d.holder("f")
		require.Equal(t, "1", w.claim("f.a", 9))
		require.Empty(t, w.claim("f.b", 9), "the place is taken")
		require.Equal(t, "t queued", w.report("failed", 60, "1"))
		require.Empty(t, w.claim("f.a", 9), "2 is behind 1")
		require.Equal(t, "1", w.claim("f.b", 9), "what waits for a retry takes no place")
		d.later(60)
		require.Empty(t, w.claim("f.a", 9), "the place is taken by the other step")
		w.complete("1")
		d.later(60)
		require.Equal(t, "1", w.claim("f.a", 9))
		w.complete("1")
		require.Equal(t, "2", w.claim("f.a", 9))
		w.complete("2")
		require.Equal(t, "2", w.claim("f.b", 9))
		w.complete("2")
		require.Empty(t, w.claim("f.b", 9))
		w.idle("f.a")
		d.sound()
	})
}

// TestStrictOrderOfAMap: elements are worked on in the order of the list, those of an earlier
// run first, and one that waits for a retry holds up those behind it.
func TestStrictOrderOfAMap(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		step := strings.Replace(gatedStep("m", `"concurrency": 1, "strictOrder": true`), `"single"`, `"map"`, 1)
		f := d.upsert("f", step)
		first, second := f.start(`["1", "2", "3"]`), f.start(`["4", "5"]`)
		w := d.holder("f")
		next := func() string {
			return d.table(`select t.task_index, t.run_id = $2::text::uuid from flowc.claim_gated($1::uuid, '{f.m}', '{9}') c join pgflow.step_tasks t using (run_id, step_slug, task_index)`, w.id, second.id)
		}
		report := func(outcome string, delay any) {
			d.exec(`select flowc.report($1::uuid, array[t.run_id], array[t.step_slug], array[t.task_index], array[t.message_id], array[t.claims_count], array[$2::text],
				array[case when $2 = 'completed' then '1'::jsonb end], array[case when $2 <> 'completed' then 'broke' end], array[$3::float8])
				from pgflow.step_tasks t where t.last_worker_id = $1::uuid and t.status = 'started'`, w.id, outcome, delay)
		}
		require.Equal(t, "0 f", next())
		report("completed", nil)
		require.Equal(t, "1 f", next())
		report("failed", 60)
		require.Empty(t, next(), "the third element and the second run wait for the second element")
		d.later(60)
		for _, want := range []string{"1 f", "2 f", "0 t", "1 t"} {
			require.Equal(t, want, next())
			report("completed", nil)
		}
		require.Empty(t, next())
		require.Equal(t, "completed\ncompleted", d.table(`select status from pgflow.runs where run_id in ($1::text::uuid, $2::text::uuid)`, first.id, second.id))
		w.idle("f.m")
	})
}
