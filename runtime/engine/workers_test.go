package engine_test

import (
	inner "github.com/flowc-dev/flowc/runtime/internal/listen"

	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

func TestTrackWorkerFunction(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		const columns = `select function_name, enabled, debounce, last_invoked_at, updated_at > created_at from pgflow.worker_functions`
		d.exec(`select pgflow.track_worker_function(function_name => 'f')`)
		require.Equal(t, "f t 00:00:06 - t", d.table(columns))
		updated := d.table(`select updated_at from pgflow.worker_functions`)
		d.exec(`update pgflow.worker_functions set enabled = false, debounce = '1 minute'`)
		d.exec(`select pgflow.track_worker_function('f')`)
		require.Equal(t, "f f 00:01:00 - t", d.table(columns), "only the time changes")
		require.Equal(t, "t", d.table(`select updated_at > $1::text::timestamptz from pgflow.worker_functions`, updated))
		d.fails("23514", `new row for relation "worker_functions" violates check constraint "worker_functions_debounce_check"`,
			`update pgflow.worker_functions set debounce = '999 ms'`)
	})
}

func TestMarkWorkerStopped(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.exec(`select pgflow.mark_worker_stopped(worker_id => $1)`, worker)
		require.Equal(t, "t", d.table(`select clock_timestamp() - stopped_at < interval '1 second' from pgflow.workers`))
		d.exec(`select pgflow.mark_worker_stopped(gen_random_uuid())`)
		require.Equal(t, "1", d.table(`select count(*) from pgflow.workers`))
	})
}

// TestWorkersCanBeDeleted while tasks still name them.
func TestWorkersCanBeDeleted(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").step("a").start(`{}`).begin()
		d.exec(`delete from pgflow.workers`)
		require.Equal(t, "completed", r.completeTask("a", 0, `1`))
	})
}

func TestRegisterAndStopWorker(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.exec(`select flowc.register_worker($1, 'name', '{f,g}')`, second)
		const columns = `select queue_name, function_name, stopped_at is not null, deprecated_at from pgflow.workers where worker_id = $1`
		require.Equal(t, "* name f -", d.table(columns, second))
		d.exec(`select flowc.enter_idle($1, '{f,g}')`, second)
		d.exec(`select flowc.stop_worker($1)`, second)
		require.Equal(t, "* name t -", d.table(columns, second))
		require.Equal(t, "0", d.table(`select count(*) from flowc.idle_workers`))
		d.exec(`select flowc.register_worker($1, 'name', '{f,g}')`, second)
		require.Equal(t, "* name f -", d.table(columns, second), "it can come back")
	})
}

// TestHeartbeat tells a worker what is no longer its own.
func TestHeartbeat(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.register(worker, "f")
		f := d.flow("f", attempts(1)).step("kept").step("done").step("skipped", whenExhausted("skip"))
		r, failed, cancelled := f.start(`{}`), f.start(`{}`), f.start(`{}`)
		messages := value[[]int64](d, `select array_agg(message_id order by message_id) from flowc.claim($1::uuid, '{f}', '{99}')`, worker)
		require.Len(t, messages, 9)
		attempts := make([]int, len(messages))
		for i := range attempts {
			attempts[i] = 1
		}
		beat := func(id any) string {
			return d.table(`select lost, deprecated from flowc.heartbeat($1, array_fill('f'::text, array[9]), $2, $3)`, id, messages, attempts)
		}
		require.Equal(t, "{} f", beat(worker))
		r.completeTask("done", 0, `1`)
		r.forceSkip("skipped", "x")
		failed.failTask("kept", 0, "x")
		d.exec(`select flowc.cancel_run($1)`, cancelled.id)
		require.Equal(t, "t f", d.table(`select lost @> $2 and lost <@ $2, deprecated from flowc.heartbeat($1, array_fill('f'::text, array[9]), $3, $4)`, worker, messages[1:], messages, attempts))
		d.exec(`update pgflow.workers set deprecated_at = now() where worker_id = $1`, worker)
		require.Equal(t, "t", d.table(`select deprecated from flowc.heartbeat($1, '{}', '{}', '{}')`, worker))
		require.Equal(t, "{} -", d.table(`select lost, deprecated from flowc.heartbeat($1, '{}', '{}', '{}')`, second), "it has to register again")
		require.Equal(t, "9", d.table(`select cardinality(lost) from flowc.heartbeat($1, array_fill('f'::text, array[9]), $2, $3)`, second, messages, attempts))
	})
}

// TestHeartbeatHolds: what a living worker has in flight is nobody else's, however long its
// report takes; it is when the worker has dropped it, or is silent.
func TestHeartbeatHolds(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.register(worker, "f")
		d.register(second, "f")
		r := d.flow("f", timeout(1)).step("a").start(`{}`)
		message := value[int64](d, `select message_id from flowc.claim($1::uuid, '{f}', '{9}')`, worker)
		overdue := func() {
			d.exec(`update pgflow.step_tasks set started_at = clock_timestamp() - interval '1 hour', visible_at = clock_timestamp()`)
		}
		taken := func() string {
			return d.table(`select step_slug, claim_number from flowc.claim($1::uuid, '{f}', '{9}')`, second)
		}
		beat := func(messages ...int64) {
			d.exec(`select flowc.heartbeat($1, array_fill('f'::text, array[cardinality($2::bigint[])]), $2, array_fill(1, array[cardinality($2::bigint[])]))`, worker, messages)
		}
		for range 4 { // more often than it could be taken over
			overdue()
			beat(message)
			require.Empty(t, taken())
			overdue()
			require.Equal(t, "0", d.table(`select pgflow.requeue_stalled_tasks()`))
		}
		require.Equal(t, "started 1 0 -", r.task("a", "status, attempts_count, requeued_count, permanently_stalled_at"))
		beat([]int64{}...)
		require.Equal(t, "0", d.table(`select count(*) from flowc.extended_leases`))
		overdue()
		beat(message)
		d.exec(`update pgflow.workers set last_heartbeat_at = clock_timestamp() - interval '6 seconds' where worker_id = $1`, worker)
		require.Equal(t, "a 2", taken(), "it is silent")
		beat(message)
		require.Equal(t, "0", d.table(`select count(*) from flowc.extended_leases`), "it is another's")
		d.exec(`update flowc.extended_leases set worker_id = $1`, second)
		overdue()
		require.Equal(t, "1", d.table(`select pgflow.requeue_stalled_tasks()`), "it was dropped")
	})
}

// TestHeartbeatRaises a worker that was thought dead.
func TestHeartbeatRaises(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.register(worker, "f")
		d.exec(`update pgflow.workers set last_heartbeat_at = clock_timestamp() - interval '1 minute', stopped_at = now()`)
		d.exec(`select flowc.heartbeat($1, '{}', '{}', '{}')`, worker)
		require.Equal(t, "- t", d.table(`select stopped_at, last_heartbeat_at > clock_timestamp() - interval '1 second' from pgflow.workers`))
	})
}

// Waking -------------------------------------------------------------------------

// listen gives the notifications of two channels that come until a marker does.
func listen(t *testing.T, d *db) func() []string {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), d.pool.Config().ConnConfig)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.Background())) })
	_, err = conn.Exec(t.Context(), `listen flowc_work; listen flowc_done; listen marker`)
	require.NoError(t, err)
	return func() []string {
		d.exec(`select pg_notify('marker', '')`)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var got []string
		for {
			n, err := conn.WaitForNotification(ctx)
			require.NoError(t, err)
			if n.Channel == "marker" {
				return got
			}
			got = append(got, n.Channel+" "+n.Payload)
		}
	}
}

// TestWaking: whoever makes work notifies if a worker sleeps for that flow.
func TestWaking(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	got := listen(t, d)
	f := d.flow("f").step("a").step("b", after("a"))
	d.flow("g").step("a").start(`{}`)
	r := f.start(`{}`)
	require.Empty(t, got(), "nobody sleeps")

	d.exec(`select flowc.enter_idle($1, '{f,h}')`, second)
	d.flow("h")
	f.start(`{}`)
	require.Equal(t, []string{"flowc_work f"}, got())
	(&flow{d, "g"}).start(`{}`)
	require.Empty(t, got(), "nobody sleeps for g")
	r.complete("a", `1`)
	require.Equal(t, []string{"flowc_work f"}, got(), "a step started")
	d.exec(`select flowc.start('f', '{1}', null, start_in => '1 hour')`)
	require.Equal(t, []string{"flowc_work f"}, got(), "a worker has to set its timer")
	r.age("a", 1000)
	for _, sql := range []string{
		`select pgflow.requeue_stalled_tasks()`, `select flowc.start_due('{f}')`,
	} {
		d.exec(sql)
	}
	require.Empty(t, got(), "nothing to do, nobody to wake")

	r.begin().age("b", 1000)
	d.exec(`select pgflow.requeue_stalled_tasks()`)
	require.Equal(t, []string{"flowc_work f"}, got())
	d.exec(`select flowc.leave_idle($1)`, second)
	f.start(`{}`)
	require.Empty(t, got())
}

// TestSleep says when the next thing is due.
func TestSleep(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		sleep := func(flows ...string) string {
			return d.table(`select round(extract(epoch from flowc.enter_idle($1, $2) - clock_timestamp()))`, second, flows)
		}
		d.flow("f").step("a", startDelay(100)).start(`{}`)
		d.flow("g").step("a")
		require.Equal(t, "-", sleep("g"))
		require.Equal(t, "100", sleep("f", "g"))
		d.exec(`select flowc.start('g', '{1}', null, start_in => '50 s')`)
		require.Equal(t, "50", sleep("f", "g"))
		require.Equal(t, "100", sleep("f"))
	})
}

// TestWaiting: the end of a run is announced if somebody waits for it, once.
func TestWaiting(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	got := listen(t, d)
	f := d.flow("f", attempts(1)).step("a")
	completes, fails, cancelled, unwatched := f.start(`{}`), f.start(`{}`), f.start(`{}`), f.start(`{}`)
	for _, r := range []*run{completes, completes, fails, cancelled} {
		d.exec(`select flowc.await_run($1)`, r.id)
	}
	require.Equal(t, "3", d.table(`select count(*) from flowc.run_waiters`))
	completes.complete("a", `1`)
	fails.exhaust("a")
	unwatched.complete("a", `1`)
	d.exec(`select flowc.cancel_run($1)`, cancelled.id)
	done := func(r *run) string { return "flowc_done " + inner.DoneKey(uuid.MustParse(r.id)) }
	require.Equal(t, []string{done(completes), done(fails), done(cancelled)}, got(), "and says nothing by which it could be read")
	require.Equal(t, "0", d.table(`select count(*) from flowc.run_waiters`))
	d.exec(`select flowc.await_run($1)`, completes.id)
	d.exec(`select flowc.await_run(gen_random_uuid())`)
	require.Equal(t, "0", d.table(`select count(*) from flowc.run_waiters`), "nobody waits for what is over")
}
