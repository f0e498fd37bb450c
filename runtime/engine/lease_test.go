// Leases: requeueing, reclaiming, recovering and releasing tasks.

package engine_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// age moves what happened to a task into the past.
func (r *run) age(step string, seconds int) {
	r.d.t.Helper()
	r.d.exec(`update pgflow.step_tasks set queued_at = queued_at - make_interval(secs => $3), started_at = started_at - make_interval(secs => $3)
		where run_id = $1 and step_slug = $2`, r.id, step, seconds)
}

func (d *db) requeue() string {
	d.t.Helper()
	return d.table(`select pgflow.requeue_stalled_tasks()`)
}

func TestRequeue(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f", timeout(5)).step("a").step("long", timeout(100)).step("delayed", startDelay(60)).start(`{}`).begin()
		require.Equal(t, "0", d.requeue())
		r.age("a", 33)
		r.age("long", 33)
		require.Equal(t, "0", d.requeue(), "timeout and half a minute are not over")
		r.age("a", 3)
		r.age("long", 3)
		require.Equal(t, "1", d.requeue(), "the step's timeout counts")
		require.Equal(t, "queued - - 1 t 1", r.task("a", "status, started_at, last_worker_id, requeued_count, last_requeued_at is not null, attempts_count"))
		require.Equal(t, "t", d.table(`select vt <= clock_timestamp() from flowc.queue where step_slug = 'a'`))
		require.Equal(t, "started", r.task("long", "status"))
		require.Equal(t, "0", d.requeue())
		require.Equal(t, "queued", r.completeTask("a", 0, `1`), "what comes before it is started again is ignored")
		require.Equal(t, "a 0 {}", r.read(9))
		require.Equal(t, "2", r.task("a", "attempts_count"))
		require.Equal(t, "completed", r.completeTask("a", 0, `1`))
	})
}

func TestRequeueManyFlows(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		for _, slug := range []string{"f", "g"} {
			r := d.flow(slug, timeout(5)).mapStep("m").start(`[1, 2]`).begin()
			r.age("m", 40)
		}
		require.Equal(t, "4", d.requeue())
		require.Equal(t, "m 0 1\nm 1 2", (&run{d, "g", ""}).read(9))
	})
}

// TestPermanentlyStalled: after three times the message goes and the task counts
// as exhausted; its own status stays started.
func TestPermanentlyStalled(t *testing.T) {
	for _, c := range []struct{ mode, steps, run string }{
		{"fail", "a:failed b:created other:started", "failed 3"},
		{"skip", "a:skipped b:started other:started", "started 2"},
		{"skip-cascade", "a:skipped b:skipped other:started", "started 1"},
	} {
		t.Run(c.mode, func(t *testing.T) {
			contract(t, func(t *testing.T, d *db) {
				r := d.flow("f", timeout(5)).step("a", whenExhausted(c.mode)).step("b", after("a")).step("other", timeout(1000)).start(`{}`)
				for range 3 {
					r.begin().age("a", 40)
					require.Equal(t, "1", d.requeue())
				}
				r.begin().age("a", 40)
				require.Equal(t, "0", d.requeue(), "not requeued again")
				require.Equal(t, "started 3 t 4", r.task("a", "status, requeued_count, permanently_stalled_at is not null, attempts_count"))
				require.Contains(t, r.archived(), "a0")
				require.Equal(t, c.steps, r.steps())
				require.Equal(t, c.run, r.status())
				require.Equal(t, "flowc: task 0 of step a stalled: its worker died or overran its timeout 4 times", r.step("a", "error_message"))
				require.Equal(t, "0", d.requeue(), "never looked at again")
				require.Equal(t, "started", r.completeTask("a", 0, `1`))
				require.Equal(t, c.steps, r.steps())
			})
		})
	}
}

// TestRequeuesAreNoAttempts: a dead worker does not use up a handler's attempts.
func TestRequeuesAreNoAttempts(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f", timeout(5), attempts(2), baseDelay(1)).step("a").start(`{}`).begin()
		r.age("a", 40)
		require.Equal(t, "1", d.requeue())
		require.Equal(t, "queued", r.begin().failTask("a", 0, "first"))
		require.Equal(t, "2", d.seconds("f"), "nor make the next wait longer")
		r.show()
		require.Equal(t, "failed", r.begin().failTask("a", 0, "second"))
	})
}

// Leases of flowc.claim ------------------------------------------------------------

const second = `22222222-2222-2222-2222-222222222222`

// TestReclaim: a message whose lease has run out is claimed by another worker,
// and the report of the first counts no more.
func TestReclaim(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.register(worker, "f")
		d.register(second, "f")
		r := d.flow("f", attempts(1)).step("a").start(`{}`)
		d.claim("", []string{"f"}, []int{9})
		takeOver := func() string {
			return d.table(`select step_slug, claim_number, attempt, max_attempts from flowc.claim($1::uuid, '{f}', '{9}')`, second)
		}
		require.Empty(t, takeOver(), "the lease holds")
		r.show()
		require.Equal(t, "a 2 1 1", takeOver(), "the second claim is the first attempt")
		require.Equal(t, "started 2 1 t "+second, r.task("a", "status, attempts_count, requeued_count, last_requeued_at is not null, last_worker_id"))
		require.Equal(t, "1 f started -", d.report(report{run: r, step: "a", outcome: "completed", output: `1`, attempt: -1}))
		require.Equal(t, "1 f started -", d.report(report{run: r, step: "a", outcome: "failed", error: "x", attempt: -1}))
		for range 5 {
			r.show()
			require.NotEmpty(t, takeOver(), "a lease that expires while the worker lives is nobody's fault")
		}
		require.Equal(t, "started 6 7 1", r.task("a", "status, requeued_count, claims_count, attempts_count - requeued_count"))
		require.Equal(t, "0", d.table(`select count(*) from flowc.suspects`))
	})
}

// TestReclaimLeavesOthers: tasks of other languages' workers are for
// requeue_stalled_tasks, unless the worker is gone.
func TestReclaimLeavesOthers(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.register(second, "f")
		r := d.flow("f").step("a").start(`{}`).begin() // by the tests' worker, whose queue is not *
		r.show()
		require.Empty(t, d.table(`select * from flowc.claim($1::uuid, '{f}', '{9}')`, second))
		require.Equal(t, "started 1 0", r.task("a", "status, attempts_count, requeued_count"))
		require.Equal(t, "10", d.seconds("f"))
		r.show()
		d.exec(`delete from pgflow.workers where worker_id = $1`, worker)
		require.Equal(t, "a 2", d.table(`select step_slug, claim_number from flowc.claim($1::uuid, '{f}', '{9}')`, second))
	})
}

// TestRecover: what a silent worker has in flight can be claimed at once.
func TestRecover(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.register(worker, "f")
		d.register(second, "f")
		d.flow("f").mapStep("m").start(`[1, 2]`)
		d.exec(`select flowc.enter_idle($1, '{f}')`, worker)
		d.claim("", []string{"f"}, []int{1})
		require.Equal(t, "m 1", d.table(`select step_slug, task_index from flowc.claim($1::uuid, '{f}', '{9}')`, second))
		require.Equal(t, "0", d.table(`select flowc.recover()`))
		d.exec(`update pgflow.workers set last_heartbeat_at = clock_timestamp() - interval '6 seconds' where worker_id = $1`, worker)
		require.Equal(t, "1", d.table(`select flowc.recover()`))
		require.Equal(t, "0", d.table(`select flowc.recover()`), "buried once")
		require.Equal(t, "t 0", d.table(`select stopped_at is not null, (select count(*) from flowc.idle_workers) from pgflow.workers where worker_id = $1`, worker))
		require.Empty(t, d.table(`select * from flowc.claim($1::uuid, '{f}', '{9}')`, second), "not beside others")
		require.Equal(t, "m 0 2 1", d.table(`select step_slug, task_index, claim_number, attempt from flowc.claim_suspects($1::uuid, '{f}', '{9}')`, second))
	})
}

func TestRelease(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.register(worker, "f")
		r := d.flow("f").mapStep("m").start(`[1, 2, 3]`)
		messages := value[[]int64](d, `select array_agg(message_id) from flowc.claim($1::uuid, '{f}', '{9}')`, worker)
		release := func(id any, attempt int) {
			require.Equal(t, "0", d.table(`select flowc.release($1, '{f, f}', $2, $3)`, id, messages[:2], []int{attempt, attempt}))
		}
		tasks := func() string {
			return r.task("m", "status, attempts_count, started_at is not null and started_at >= queued_at or null, last_worker_id")
		}
		started := "started 1 t " + worker.String()
		release(second, 1)
		require.Equal(t, lines(started, started, started), tasks(), "not its own")
		release(worker, 2)
		require.Equal(t, lines(started, started, started), tasks(), "another attempt")
		release(worker, 1)
		require.Equal(t, lines("queued 0 - -", "queued 0 - -", started), tasks())
		release(worker, 1)
		require.Equal(t, lines("m 0 1", "m 1 1"), d.claim("step_slug, task_index, attempt", []string{"f"}, []int{9}), "untried and visible at once")
		count := func() string { return d.table(`select status, count(*) from pgflow.step_tasks group by 1 order by 1`) }
		require.Equal(t, "0", d.table(`select flowc.release_unknown($1, $2)`, worker, messages[1:]))
		require.Equal(t, lines("queued 1", "started 2"), count())
		require.Equal(t, "0", d.table(`select flowc.release_unknown($1, '{}')`, worker))
		require.Equal(t, "queued 3", count())
	})
}

// What somebody has locked for a moment is still the worker's, which releases it again.
func TestReleaseOfLockedTasks(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d := newDB(t)
	d.register(worker, "f")
	r := d.flow("f").mapStep("m").start(`[1, 2, 3]`)
	messages := value[[]int64](d, `select array_agg(message_id) from flowc.claim($1::uuid, '{f}', '{9}')`, worker)
	tasks := func() string { return r.task("m", "status, requeued_count") }
	release := func() string {
		return d.table(`select flowc.release($1, '{f, f}', $2, '{1, 1}')`, worker, messages[:2])
	}

	tx, err := d.pool.Begin(ctx)
	require.NoError(t, err)
	_, err = tx.Exec(ctx, `select from pgflow.step_tasks where task_index = 1 for update`)
	require.NoError(t, err)
	require.Equal(t, "1", release())
	require.Equal(t, lines("queued 0", "started 0", "started 0"), tasks())
	require.NoError(t, tx.Rollback(ctx))
	require.Equal(t, "0", release())
	require.Equal(t, lines("queued 0", "queued 0", "started 0"), tasks())
}
