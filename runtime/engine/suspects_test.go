// Suspects: tasks that were in flight when their worker died.

package engine_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// A dying is a worker that can die.
type dying struct {
	d  *db
	id uuid.UUID
}

func (d *db) dying(flows ...string) *dying {
	d.t.Helper()
	w := &dying{d, uuid.New()}
	d.register(w.id, flows...)
	return w
}

func (w *dying) claim(n int) string {
	w.d.t.Helper()
	return w.d.table(`select run_input, attempt from flowc.claim($1::uuid, '{f}', array[$2::int])`, w.id, n)
}

func (w *dying) suspects() string {
	w.d.t.Helper()
	return w.d.table(`select run_input, attempt, isolated_for from flowc.claim_suspects($1::uuid, '{f}', '{9}')`, w.id)
}

// die lets the worker be found dead.
func (w *dying) die() {
	w.d.t.Helper()
	w.d.exec(`update pgflow.workers set last_heartbeat_at = clock_timestamp() - interval '6 seconds' where worker_id = $1`, w.id)
	require.Equal(w.d.t, "1", w.d.table(`select flowc.recover()`))
}

func (w *dying) complete() {
	w.d.t.Helper()
	w.d.exec(`
		select flowc.report($1::uuid, array_agg(run_id), array_agg(step_slug), array_agg(task_index), array_agg(message_id), array_agg(claims_count),
		  null, array_agg('1'::jsonb), null, null)
		from pgflow.step_tasks where status = 'started' and last_worker_id = $1`, w.id)
}

// TestSuspects: of four tasks that a worker had in flight when it died, the one that is
// the reason is found by halves, and fails when it has been alone three times; the
// others use up nothing.
func TestSuspects(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	f := d.flow("f", attempts(1)).step("a")
	for _, name := range []string{`"x"`, `"b"`, `"c"`, `"d"`} {
		f.start(name)
	}
	w := d.dying("f")
	require.Equal(t, lines(`"x" 1`, `"b" 1`, `"c" 1`, `"d" 1`), w.claim(9))
	w.die()

	w = d.dying("f")
	fresh := f.start(`"fresh"`)
	require.Equal(t, `"fresh" 1`, w.claim(9), "suspects are not claimed beside others")
	w.complete()
	require.Equal(t, "completed 0", fresh.status())
	require.Equal(t, lines(`"x" 1 120`, `"b" 1 120`), w.suspects(), "two of them may be together")
	w.die()

	w = d.dying("f")
	require.Equal(t, `"x" 1 240`, w.suspects(), "now it is alone")
	w.die()
	w = d.dying("f")
	require.Equal(t, `"x" 1 480`, w.suspects())
	w.die()
	require.Equal(t, "started", d.table(`select status from pgflow.runs where input = '"x"'`))
	w = d.dying("f")
	require.Equal(t, `"x" 1 960`, w.suspects())
	w.die()
	require.Equal(t, "failed", d.table(`select status from pgflow.runs where input = '"x"'`))
	require.Equal(t, "failed 0 flowc: the worker died 3 times while it ran nothing but task 0 of step a", d.table(`
		select t.status, t.attempts_count - t.requeued_count, t.error_message from pgflow.step_tasks t join pgflow.runs r using (run_id) where r.input = '"x"'`))

	w = d.dying("f")
	require.Equal(t, `"b" 1 240`, w.suspects(), "one that may only be alone is alone")
	w.complete()
	require.Equal(t, lines(`"c" 1 120`, `"d" 1 120`), w.suspects())
	w.complete()
	require.Empty(t, w.suspects())
	require.Equal(t, lines("completed 4", "failed 1"), d.table(`select status, count(*) from pgflow.runs group by 1 order by 1`))
	d.exec(`select flowc.recover()`)
	require.Equal(t, "0", d.table(`select count(*) from flowc.suspects`))
}

// TestDrainingWorkersMakeNoSuspects: a task that outlives workers which are stopped is
// not to blame, however often.
func TestDrainingWorkersMakeNoSuspects(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	r := d.flow("f", attempts(1)).step("a").start(`"long"`)
	for range 10 {
		w := d.dying("f")
		require.Equal(t, `"long" 1`, w.claim(9))
		d.exec(`select flowc.drain_worker($1)`, w.id)
		w.die()
	}
	require.Equal(t, "queued 0 10 10", r.task("a", "status, attempts_count - requeued_count, requeued_count, claims_count"))
	w := d.dying("f")
	require.Equal(t, `"long" 1`, w.claim(9))
	w.die()
	w = d.dying("f")
	require.Equal(t, `"long" 1 120`, w.suspects(), "nor is it alone for longer")
	w.complete()
	require.Equal(t, "completed 0", r.status())
}

// TestSuspectsAreClearedByAnAttempt: a suspect whose attempt ends, be it with an error,
// is none any more, and what it counted is forgotten.
func TestSuspectsAreClearedByAnAttempt(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	r := d.flow("f", attempts(9), baseDelay(0)).step("a").start(`1`)
	for attempt := 1; attempt < 5; attempt++ {
		w := d.dying("f")
		require.Equal(t, fmt.Sprintf("1 %d", attempt), w.claim(9))
		w.die()
		w = d.dying("f")
		require.Equal(t, fmt.Sprintf("1 %d 120", attempt), w.suspects())
		d.exec(`select pgflow.fail_task($1, 'a', 0, 'boom')`, r.id)
		d.exec(`select flowc.recover()`)
		require.Equal(t, "0", d.table(`select count(*) from flowc.suspects`))
	}
	require.Equal(t, "4 8 4", r.task("a", "attempts_count - requeued_count, claims_count, requeued_count"))
	require.Equal(t, lines("1", "2", "3", "4"), d.table(`select attempt from flowc.failed_attempts order by 1`), "the history numbers attempts as handlers are told")
}

// TestRetriedSuspects: whoever retries a run or a step has what crashed tried as if it
// were new, however soon the worker dies again, and of whatever.
func TestRetriedSuspects(t *testing.T) {
	t.Parallel()
	for name, retry := range map[string]string{"run": `select flowc.retry_run($1)`, "step": `select flowc.retry_step($1, 'a')`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDB(t)
			f := d.flow("f").step("a")
			r := f.start(`"x"`)
			w := d.dying("f")
			w.claim(9)
			w.die()
			for range 2 {
				w = d.dying("f")
				w.suspects()
				w.die()
			}
			require.Equal(t, "failed 1", r.status())
			require.Equal(t, "t", d.table(retry, r.id))
			f.start(`"y"`)
			w = d.dying("f")
			require.Equal(t, 2, len(strings.Split(w.claim(9), "\n")))
			w.die()
			require.Equal(t, "started 1", r.status(), "it was not alone")
			require.Equal(t, "1 0", d.table(`select group_size, isolated_crashes from flowc.suspects where run_id = $1`, r.id))
		})
	}
}

// TestCrashLimit: how often is the caller's to say.
func TestCrashLimit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ limit, crashes int }{{1, 1}, {5, 5}, {-1, 0}} {
		t.Run(fmt.Sprint(c.limit), func(t *testing.T) {
			t.Parallel()
			d := newDB(t)
			r := d.flow("f", attempts(1)).step("a").start(`1`)
			for n := 1; n <= 8; n++ {
				w := d.dying("f")
				if got := w.claim(9); got == "" {
					w.suspects()
				}
				d.exec(`update pgflow.workers set last_heartbeat_at = clock_timestamp() - interval '6 seconds' where worker_id = $1`, w.id)
				d.exec(`select flowc.recover($1)`, c.limit)
				want := "started 1"
				if c.crashes > 0 && n >= c.crashes {
					want = "failed 1"
				}
				require.Equal(t, want, r.status(), n)
			}
		})
	}
}

// TestWhoClaimsSuspects: as many workers as there are suspects, but not more than half,
// and only those that serve their flow.
func TestWhoClaimsSuspects(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	f := d.flow("f").step("a")
	takers := func(workers []*dying) (n int) {
		for _, w := range workers {
			if d.table(`select suspects from flowc.heartbeat($1, '{}', '{}', '{}', '{f, g}')`, w.id) == "t" {
				n++
			}
		}
		return n
	}
	four := []*dying{d.dying("f"), d.dying("f", "g"), d.dying("f"), d.dying("f")}
	d.dying("g")
	require.Zero(t, takers(four))
	for range 3 {
		f.start(`1`)
	}
	w := d.dying("f")
	w.claim(1)
	require.Zero(t, takers(four))
	w.die()
	require.Equal(t, 1, takers(four))
	require.Equal(t, 1, takers(four[:1])+takers(four[1:]), "always the same")
	w = d.dying("f")
	w.claim(9)
	w.die()
	require.Equal(t, 2, takers(four), "half of them")
	d.exec(`select flowc.pause_flow('f', true)`)
	require.Zero(t, takers(four))
}

// TestSuspectsOfOthersLocks: recovery does not wait for a run that somebody holds.
func TestSuspectsOfLockedRuns(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	f := d.flow("f").step("a")
	held, free := f.start(`1`), f.start(`2`)
	for range 2 {
		w := d.dying("f")
		w.claim(1)
		w.die()
	}
	tx, err := d.pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(t.Context()) }()
	_, err = tx.Exec(t.Context(), `select from pgflow.runs where run_id = $1 for update`, held.id)
	require.NoError(t, err)
	d.exec(`select flowc.recover(1)`)
	require.Equal(t, "failed 1", free.status())
	require.Equal(t, "started 1", held.status())
	require.NoError(t, tx.Rollback(t.Context()))
	d.exec(`select flowc.recover(1)`)
	require.Equal(t, "failed 1", held.status())
}
