// The contract's _cascade_force_skip_steps, and rows written without the functions.

package engine_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func (r *run) forceSkip(step, reason string) string {
	r.d.t.Helper()
	return r.d.table(`select pgflow._cascade_force_skip_steps($1, $2, $3)`, r.id, step, reason)
}

func TestForceSkip(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").step("a").step("healthy").step("b", after("a", "healthy")).step("c", after("b")).step("other", after("healthy")).start(`{}`)
		require.Equal(t, "3", r.forceSkip("a", "because"))
		require.Equal(t, "a:skipped healthy:started b:skipped c:skipped other:created", r.steps(), "one lost dependency is enough")
		require.Equal(t, "because t - 0 -", r.step("a", "skip_reason, skipped_at is not null, remaining_tasks, remaining_deps, error_message"))
		require.Equal(t, "dependency_skipped t - 2", r.step("b", "skip_reason, skipped_at is not null, remaining_tasks, remaining_deps"))
		require.Equal(t, "dependency_skipped", r.step("c", "skip_reason"))
		require.Equal(t, "started 2", r.status())
		require.Equal(t, "healthy0", r.queued())
		require.Equal(t, "a0", r.archived())
		require.Equal(t, "queued", r.task("a", "status"), "tasks are not touched")

		require.Equal(t, "0", r.forceSkip("a", "again"))
		require.Equal(t, "because", r.step("a", "skip_reason"))
		require.Equal(t, "started 2", r.status())
		require.Equal(t, "0", r.forceSkip("none", "x"))
		d.fails("P0001", "Run not found: "+uuid.Nil.String(), `select pgflow._cascade_force_skip_steps($1, 'a', 'x')`, uuid.Nil)
	})
}

// TestForceSkipLeavesTheRun: ending it is the caller's.
func TestForceSkipLeavesTheRun(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").step("a").step("b", after("a")).start(`{}`)
		require.Equal(t, "2", r.forceSkip("a", "x"))
		require.Equal(t, "started 0", r.status())
		d.exec(`select pgflow.maybe_complete_run($1)`, r.id)
		require.Equal(t, "completed 0", r.status())
	})
}

// TestForceSkipStartsFromAnyStep: what is behind a step that is over is skipped
// all the same; only what is created or started changes.
func TestForceSkipStartsFromAnyStep(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").step("a").step("b", after("a")).step("c", after("b")).start(`{}`).complete("a", `1`)
		require.Equal(t, "2", r.forceSkip("a", "x"))
		require.Equal(t, "a:completed b:skipped c:skipped", r.steps())
		require.Equal(t, "dependency_skipped", r.step("b", "skip_reason"))
		require.Empty(t, r.queued())
	})
}

// TestForceSkipKeepsOthersMessages: messages of steps skipped before are not ours.
func TestForceSkipKeepsOthersMessages(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").step("a").step("b").step("j", after("a", "b")).start(`{}`)
		d.exec(`update pgflow.step_states set status = 'skipped', skip_reason = 'by hand', skipped_at = now(), remaining_tasks = null where step_slug = 'b'`)
		require.Equal(t, "2", r.forceSkip("a", "x"))
		require.Equal(t, "b0", r.queued())
		require.Equal(t, "by hand", r.step("b", "skip_reason"))
	})
}

// TestForceSkipMap: all messages of its tasks go, started or queued.
func TestForceSkipMap(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").mapStep("m").start(`[1, 2, 3]`)
		r.read(1)
		require.Equal(t, "1", r.forceSkip("m", "x"))
		require.Equal(t, lines("started", "queued", "queued"), r.task("m", "status"))
		require.Empty(t, r.queued())
		require.Equal(t, "skipped - 3", r.step("m", "status, remaining_tasks, initial_tasks"))
	})
}

// TestWrittenDirectly: states that tests and tools write into the table.
func TestWrittenDirectly(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.flow("f").step("a").step("b").step("c").start(`{}`)
		d.exec(`update pgflow.step_states set status = 'completed', remaining_tasks = 0, output = '[1]' where step_slug = 'a'`)
		d.exec(`update pgflow.step_states set status = 'failed', failed_at = now(), started_at = null where step_slug = 'b'`)
		d.exec(`update pgflow.step_tasks set message_id = null where step_slug = 'c'`)
		d.exec(`insert into pgflow.step_tasks (flow_slug, run_id, step_slug, task_index) select flow_slug, run_id, step_slug, 1 from pgflow.step_tasks where step_slug = 'c'`)
		d.fails("23514", `new row for relation "step_states" violates check constraint "output_only_for_completed_or_null"`,
			`update pgflow.step_states set output = '1' where step_slug = 'c'`)
	})
}
