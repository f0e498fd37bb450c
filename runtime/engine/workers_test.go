// The rows of workers, and heartbeats.

package engine_test

import (
	"testing"

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

// TestHeartbeatExtendsLeases: what a living worker has in flight is nobody else's, however long its
// report takes; it is when the worker has dropped it, or is silent.
func TestHeartbeatExtendsLeases(t *testing.T) {
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
		for range 4 { // more often than it could be reclaimed
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

// TestHeartbeatTellsWhatIsDue a worker that was thought dead.
func TestHeartbeatTellsWhatIsDue(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.register(worker, "f")
		d.exec(`update pgflow.workers set last_heartbeat_at = clock_timestamp() - interval '1 minute', stopped_at = now()`)
		d.exec(`select flowc.heartbeat($1, '{}', '{}', '{}')`, worker)
		require.Equal(t, "- t", d.table(`select stopped_at, last_heartbeat_at > clock_timestamp() - interval '1 second' from pgflow.workers`))
	})
}

// Waking -------------------------------------------------------------------------
