// Delayed tasks: what they cost claims, and when they are due.

package engine_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDelayedTasksCostClaimsNothing: however many tasks wait for their time, and
// whatever made them wait, a claim looks at the same few blocks, whether there is
// something else to claim or not.
func TestDelayedTasksCostClaimsNothing(t *testing.T) {
	t.Parallel()
	for name, delay := range map[string]func(s *session, n int){
		"start delay": func(s *session, n int) {
			s.exec(`select flowc.start('late', array_fill('1'::jsonb, array[$1::int]), null)`, n)
		},
		"backoff": func(s *session, n int) {
			s.exec(`select flowc.start('f', array_fill('1'::jsonb, array[$1::int]), null)`, n)
			for left := n; left > 0; left -= 1000 {
				s.claim("f", min(left, 1000))
				s.exec(`
					select flowc.report($1::uuid, array_agg(run_id), array_agg(step_slug), array_agg(task_index), array_agg(message_id), array_agg(claims_count),
					  array_agg('failed'::text), array_agg(null::jsonb), array_agg('503'::text), array_agg(3600::double precision))
					from pgflow.step_tasks where status = 'started' and last_worker_id = $1`, worker)
			}
		},
		"visibility set by message": func(s *session, n int) {
			s.exec(`select flowc.start('f', array_fill('1'::jsonb, array[$1::int]), null)`, n)
			s.exec(`select pgflow.set_vt_batch('f', array_agg(msg_id), array_agg(21600)) from pgmq.q_f`)
		},
		"read for long": func(s *session, n int) {
			s.exec(`select flowc.start('f', array_fill('1'::jsonb, array[$1::int]), null)`, n)
			s.exec(`select count(*) from pgmq.read('f', 21600, $1)`, n)
		},
		"visibility set in the view": func(s *session, n int) {
			s.exec(`select flowc.start('f', array_fill('1'::jsonb, array[$1::int]), null)`, n)
			s.exec(`update pgmq.q_f set vt = now() + interval '6 hours'`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSession(t)
			s.flow("f", attempts(9)).step("a")
			s.flow("late").step("a", startDelay(21600))
			s.flow("other").step("a")
			claims := func() (empty, full int) {
				for range 2 { // as workers do
					s.advanceWatermarks()
				}
				empty, full = 1<<30, 1<<30
				for range 3 {
					both := func() int {
						return s.blocks(`select * from flowc.claim($1::uuid, '{f, late, other}', '{9, 9, 9}')`, worker)
					}
					empty = min(empty, both())
					s.exec(`select flowc.start('other', '{1}', null)`)
					s.exec(`select flowc.start('f', '{1}', null)`)
					full = min(full, both())
					require.Equal(s.t, "2", s.table(`select count(*) from pgflow.step_tasks where status = 'started'`))
					s.report(`1`)
				}
				return empty, full
			}
			many := 50_000
			if name == "visibility set in the view" { // a trigger for each row
				many = 5000
			}
			delay(s, 1000)
			emptyFew, fullFew := claims()
			delay(s, many)
			emptyMany, fullMany := claims()
			t.Logf("beside 1000: %d and %d blocks, beside %d: %d and %d", emptyFew, fullFew, many, emptyMany, fullMany)
			require.LessOrEqual(t, emptyMany, emptyFew+40)
			require.LessOrEqual(t, fullMany, fullFew+40)
		})
	}
}

// TestDelayedTasksComeBack: what waited for its time is claimed when that has come,
// under the same message, wherever the watermark is meanwhile.
func TestDelayedTasksComeBack(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	f := d.flow("f", attempts(9), baseDelay(100)).step("a")
	r := f.start(`"first"`)
	id := value[int64](d, `select message_id from pgflow.step_tasks`)
	claim := func() string { return d.claim("run_input, message_id, attempt", []string{"f"}, []int{1}) }
	require.Equal(t, fmt.Sprintf(`"first" %d 1`, id), claim())
	require.Equal(t, "1 t queued 200", d.report(report{run: r, step: "a", outcome: "failed", error: "503"}))
	for range 3 {
		o := f.start(`2`)
		require.Contains(t, claim(), "2 ")
		o.completeTask("a", 0, `1`)
		d.advanceWatermarks()
	}
	d.advanceWatermarkTo("f", id+1)
	require.Empty(t, claim())
	require.Equal(t, fmt.Sprint(id), d.table(`select msg_id from pgmq.q_f`), "the queue shows it")
	require.Equal(t, "t", d.table(`select flowc.enter_idle($1, '{f}') between now() + interval '190 s' and now() + interval '200 s'`, worker), "a worker that sleeps knows when it is due")
	r.show()
	require.Equal(t, fmt.Sprintf(`"first" %d 2`, id), claim())
	require.Empty(t, d.table(`select * from flowc.heartbeat($1, '{f}', array[$2::bigint], '{2}') where lost <> '{}'`, worker, id), "the heartbeat finds it")
	require.Equal(t, "1 t queued 400", d.report(report{run: r, step: "a", outcome: "failed", error: "503"}))
	require.Equal(t, "1", d.table(`select flowc.run_now($1)`, r.id))
	require.Equal(t, fmt.Sprintf(`"first" %d 3`, id), claim())
	require.Equal(t, "0", d.table(`select flowc.release($1, '{f}', array[$2::bigint], '{3}')`, worker, id))
	require.Equal(t, fmt.Sprintf(`"first" %d 3`, id), claim(), "given back: the attempt does not count")
	require.Equal(t, "3 4 3", r.task("a", "attempts_count, claims_count, attempts_count - requeued_count"), "the number of claims only grows")
	require.Equal(t, "t", d.table(`select pgmq.archive('f', $1::bigint)`, id))
	require.Empty(t, r.queued())
}

// TestDelayedTasksAndOthersOfOneFlow: due tasks come first, limits hold for both.
func TestDelayedTasksAndOthersOfOneFlow(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	late := d.flow("f", attempts(9)).step("a", startDelay(50)).step("b")
	late.start(`1`)
	late.start(`2`)
	claim := func(n int) string { return d.claim("step_slug", []string{"f"}, []int{n}) }
	require.Equal(t, "b", claim(1))
	d.exec(`update pgmq.q_f set vt = now() where message->>'step_slug' = 'a'`)
	require.Equal(t, lines("a", "a"), claim(2))
	require.Equal(t, "b", claim(2))
	require.Empty(t, claim(2))
}

// TestReadDelayedTasks: other languages' workers get what is due by the contract's
// functions.
func TestReadDelayedTasks(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f", attempts(9), baseDelay(100)).step("a", startDelay(50)).step("b").start(`1`)
		require.Equal(t, "b 0 {}", r.read(9))
		d.exec(`update pgmq.q_f set vt = clock_timestamp() where message->>'step_slug' = 'a'`)
		require.Equal(t, "a 0 {}", r.read(9))
		require.Equal(t, "queued", r.failTask("a", 0, "503"))
		require.Empty(t, r.read(9))
		d.exec(`select pgmq.set_vt('f', msg_id, 0) from pgmq.q_f where message->>'step_slug' = 'a'`)
		require.Equal(t, "a 0 {}", r.read(9))
		require.Equal(t, "completed", r.completeTask("a", 0, `1`))
	})
}

// TestReadForLong: a message that was read for longer than a moment is started, and
// comes back under its id if it is not.
func TestReadForLong(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f", attempts(9)).step("a").step("b").start(`1`)
		require.Equal(t, "2", d.table(`select count(*) from pgmq.read('f', 3600, 9)`))
		require.Empty(t, r.read(9))
		d.exec(`select pgflow.start_tasks('f', array(select msg_id from pgmq.q_f where message->>'step_slug' = 'a'), $1)`, worker)
		require.Equal(t, "completed", r.completeTask("a", 0, `1`))
		id := d.table(`select msg_id from pgmq.q_f`)
		d.exec(`select pgmq.set_vt('f', $1::bigint, 0)`, id)
		require.Equal(t, "b 0 {}", r.read(9))
		require.Equal(t, "completed", r.completeTask("b", 0, `1`))
	})
}
