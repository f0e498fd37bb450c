// Values and options at their limits.

package engine_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// bomb is a list of numbers, each of which takes 131,072 characters as text.
func bomb(numbers int) string { return "[" + strings.Repeat("1e131071,", numbers-1) + "1e131071]" }

// TestRefusesNumberBombs: what is small in storage and huge as text comes in through no
// function of the contract. It is refused as what is too large is.
func TestRefusesNumberBombs(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		const refused = "a value contains numbers that are too long where they are written without exponents: 39322200 bytes"
		text := bomb(300)
		d.flow("f").step("a").step("b", after("a"))
		d.flow("maps").mapStep("m")
		d.fails("54000", refused, `select pgflow.start_flow('f', $1::jsonb)`, text)
		d.fails("54000", refused, `select pgflow.start_flow_with_states('maps', $1::jsonb)`, text)
		d.fails("54000", refused, `select flowc.start('f', array['{}', $1::jsonb, null], null)`, text)
		d.fails("54000", strings.ReplaceAll(refused, "39322200", "39322207"),
			`select pgflow.add_step('f', 'c', required_input_pattern => jsonb_build_object('a', $1::jsonb))`, text)
		require.Equal(t, "0 2", d.table(`select (select count(*) from pgflow.runs), (select count(*) from pgflow.steps where flow_slug = 'f')`))

		r := (&flow{d, "f"}).start(`{}`).begin()
		d.fails("54000", refused, `select pgflow.complete_task($1, 'a', 0, $2::jsonb)`, r.id, text)
		d.fails("54000", refused, `select flowc.report($1::uuid, array[run_id], array[step_slug], array[task_index], array[message_id],
			array[attempts_count], null, array[$2::jsonb], null, null) from pgflow.step_tasks`, worker, text)
		require.Equal(t, "a:started b:created", r.steps())
		require.Equal(t, "completed", r.completeTask("a", 0, `{"price": 1.7976931348623157e308}`))
	})
}

// TestTakesLongValues: what is long in storage as well is no bomb.
func TestTakesLongValues(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.flow("f").step("a")
		for name, input := range map[string]string{
			"escapes":  `["` + strings.Repeat(`\u0001`, 1<<20) + `"]`,
			"zeros":    "[" + strings.Repeat("1e22,", 100_000) + "0]",
			"floats":   "[" + strings.Repeat("1.7976931348623157e308,", 20_000) + "0]",
			"nothings": "[" + strings.Repeat(`"",`, 100_000) + "null]",
			"one long": "1e131071",
		} {
			d.run(name, func(t *testing.T, d *db) {
				f := &flow{d, "f"}
				require.Equal(t, "started 1", f.start(input).status())
			})
		}
	})
}

// TestClaimLeavesOutLargeValues: what is large is read for each task by itself.
func TestClaimLeavesOutLargeValues(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		large, small := `"`+randomText(20_000)[:20_000]+`"`, `"`+randomText(10_000)+`"`
		f := d.flow("f").step("a").step("b").step("c").step("d").step("join", after("a", "b", "c", "d"))
		const columns = "step_slug, input, run_input, array_from"
		r := f.start(large)
		require.Equal(t, lines("a {} - -", "b {} - -", "c {} - -", "d {} - -"), d.claim(columns, []string{"f"}, []int{9}))
		r.completeTask("a", 0, large)
		r.completeTask("b", 0, small)
		r.completeTask("c", 0, nil)
		r.completeTask("d", 0, "["+large+"]")
		require.Equal(t, `join {"b": `+small+`, "c": null} - a,d`, d.claim(columns, []string{"f"}, []int{9}))

		const values = `select source, length(value::text) from flowc.read_values($1::text[]::uuid[], $2, $3)`
		runs := []string{r.id, r.id, r.id, r.id, r.id}
		require.Equal(t, lines("a 20002", "c 4", "none -", "run 20002", "d 20004"), d.table(values, runs, []string{"a", "c", "none", "run", "d"}, 1<<20))
		require.Equal(t, "a 20002", d.table(values, runs, []string{"a", "c", "none", "run", "d"}, 1), "at least the first")
		require.Equal(t, lines("none -", "c 4"), d.table(values, runs[:3], []string{"none", "c", "run"}, 100))

		require.Equal(t, `join {} "`+"x"+`" -`, func() string {
			d.flow("g").step("join")
			(&flow{d, "g"}).start(`"x"`)
			return d.claim(columns, []string{"g"}, []int{9})
		}(), "what is small comes along")
	})
}

// TestFailUnclaimable: tasks that cannot be claimed fail, and no others.
func TestFailUnclaimable(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		bad := d.flow("bad").step("a").step("b")
		skips := d.flow("skips").step("a", whenExhausted("skip")).step("b", after("a"))
		first, second, third, fourth := bad.start(`{}`), bad.start(`{}`), skips.start(`{}`), d.flow("good").step("a").start(`{}`)
		d.exec(`update pgflow.step_tasks set attempts_count = 2147483647 where run_id = $1 and step_slug = 'a'`, second.id)
		d.exec(`update pgflow.step_tasks set read_count = 2147483647 where run_id = $1`, third.id)
		d.fails("22003", "integer out of range", `select flowc.claim($1::uuid, '{good,bad,skips}', '{9,9,9}')`, worker)

		const message = "flowc: the task cannot be claimed: integer out of range"
		require.Empty(t, d.table(`select * from flowc.fail_unclaimable('{good,bad.b}')`), "not asked for")
		require.Empty(t, d.table(`select * from flowc.fail_unclaimable('{bad}', '{bad.a}')`), "excepted")
		require.ElementsMatch(t, []string{"bad " + second.id + " a 0 " + message, "skips " + third.id + " a 0 " + message},
			strings.Split(d.table(`select * from flowc.fail_unclaimable('{good,bad,skips}')`), "\n"))
		require.Empty(t, d.table(`select * from flowc.fail_unclaimable('{good,bad,skips}')`), "once")
		require.Equal(t, "a:started b:started", first.steps())
		require.Equal(t, "a:failed b:started", second.steps())
		require.Equal(t, "failed", d.table(`select status from pgflow.runs where run_id = $1`, second.id))
		require.Equal(t, message, second.task("a", "error_message"))
		require.Equal(t, message, second.step("a", "error_message"))
		require.Equal(t, message, d.table(`select error_message from flowc.failed_attempts where run_id = $1`, second.id))
		require.Equal(t, "a:skipped b:started", third.steps(), "as when it is out of attempts")
		require.Equal(t, "a:started", fourth.steps())
		require.Equal(t, "0 0", fourth.task("a", "attempts_count, read_count"), "looking changes nothing")
		require.Equal(t, lines("bad a", "bad b", "good a", "skips b"), d.table(`
			select flow_slug, step_slug from flowc.claim($1::uuid, '{good,bad,skips}', '{9,9,9}') order by 1, 2`, worker))
	})
}

// TestLargestOptions: whatever create_flow and add_step take can be claimed, repeated
// and recovered, and stops no other flow.
func TestLargestOptions(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		const most = 1<<31 - 1
		d.flow("other").step("a").start(`{}`)
		long := d.flow("long", timeout(most), baseDelay(most), attempts(most)).step("a").step("b", timeout(most)).start(`{}`)
		require.Equal(t, lines("long a 1 2147483647", "long b 1 2147483647", "other a 1 60"), d.table(`
			select flow_slug, step_slug, attempt, timeout from flowc.claim($1::uuid, '{long,other}', '{8,8}') order by 1, 2`, worker))
		require.Equal(t, "queued", long.failTask("a", 0, "broke"))
		require.Equal(t, "t", long.task("a", `visible_at > clock_timestamp() + interval '68 years'`))
		require.Equal(t, "queued 2147483647", d.table(`
			select task_status, retry_in from flowc.report($1::uuid, array[$2::uuid], '{b}', '{0}', array[(
			  select message_id from pgflow.step_tasks where run_id = $2::uuid and step_slug = 'b')], '{1}', '{failed}', '{null}', '{broke}', '{null}')`,
			worker, long.id))
		require.Equal(t, "2", d.table(`select flowc.run_now($1)`, long.id))
		require.Equal(t, lines("a 0 {}", "b 0 {}"), long.read(9))
		require.Equal(t, "0", d.table(`select pgflow.requeue_stalled_tasks()`))
		require.Equal(t, "0", d.table(`select flowc.recover()`))

		late := d.flow("late").step("a", startDelay(most)).start(`{}`)
		require.Equal(t, "t", late.task("a", `visible_at > clock_timestamp() + interval '68 years'`))
		require.Equal(t, "t", d.table(`select flowc.enter_idle($1, '{long,other,late}') > clock_timestamp()`, worker))
		for _, name := range []string{"timeout", "baseDelay", "maxAttempts", "startDelay"} {
			d.run(name, func(t *testing.T, d *db) {
				shape := fmt.Sprintf(`{"steps": [{"slug": "a", "options": {"%s": 2147483647}}]}`, name)
				require.Contains(t, d.table(`select flowc.upsert_flow('upserted', $1::jsonb, true)`, shape), `"status": `)
				d.fails("22003", `value "2147483648" is out of range for type integer`, `select flowc.upsert_flow('upserted', $1::jsonb, true)`,
					strings.ReplaceAll(shape, "47}", "48}"))
			})
		}
	})
}

// TestNoStartAtInfinity: nothing waits for a time that the present cannot be subtracted from.
func TestNoStartAtInfinity(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.flow("f").step("a")
		const refused = `new row for relation "scheduled_runs" violates check constraint "scheduled_runs_due_at_check"`
		d.fails("23514", refused, `select flowc.start('f', '{1}', null, start_at => 'infinity')`)
		id := d.table(`select run_id from flowc.start('f', '{1}', null, start_at => '2100-01-01')`)
		d.fails("23514", refused, `select flowc.reschedule_run($1, 'infinity')`, id)
	})
}
