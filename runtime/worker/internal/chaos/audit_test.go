//go:build unix

package chaos

import (
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// connections are those of clients, without the arena's.
const connections = `
SELECT count(*) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND datname = current_database() AND application_name <> '` + observer + `'`

// audit is what holds after all runs of sum have ended and all workers have
// stopped, whatever happened meanwhile.
func (a *arena) audit(runs int) {
	a.t.Helper()
	a.auditTables()

	// Each run that was started has ended, and with the right output.
	require.Equal(a.t, runs, ask[int](a, `SELECT count(*) FROM pgflow.runs WHERE status = 'completed'`), "completed runs")
	require.Equal(a.t, runs, ask[int](a, `SELECT count(*) FROM pgflow.runs`), "runs")
	rows, err := a.pool.Query(a.ctx, `SELECT (input ->> 'n')::int, (output ->> 'total')::int FROM pgflow.runs`)
	require.NoError(a.t, err)
	var n, total int
	seen := map[int]bool{}
	_, err = pgx.ForEachRow(rows, []any{&n, &total}, func() error {
		require.Equal(a.t, wantSum(n), total)
		require.False(a.t, seen[n])
		seen[n] = true
		return nil
	})
	require.NoError(a.t, err)
	require.Len(a.t, seen, runs)

	a.auditEffects(runs * sumTasks)

	// What counts is attempts less reclaims, and exactly those that failed are more than one.
	require.Zero(a.t, ask[int](a, `
SELECT count(*) FROM pgflow.step_tasks t JOIN pgflow.runs r USING (run_id)
WHERE t.attempts_count - t.requeued_count <> CASE WHEN t.step_slug = 'side' AND ((r.input ->> 'n')::int + 1) % $1 = 0 THEN 2 ELSE 1 END`, sumFlakes), "tasks with another number of attempts")
}

// auditEffects sees that each task was completed once.
func (a *arena) auditEffects(tasks int) {
	a.t.Helper()
	require.Equal(a.t, tasks, ask[int](a, `SELECT count(*) FROM chaos.effects`), "completions")
	require.Equal(a.t, tasks, ask[int](a, `SELECT count(*) FROM (SELECT DISTINCT run_id, step_slug, task_index FROM chaos.effects) e`), "completed tasks")
}

// auditTables is what holds of any flow.
func (a *arena) auditTables() {
	a.t.Helper()
	// No task began before what its step waits for had ended.
	require.Zero(a.t, ask[int](a, `
SELECT count(*) FROM pgflow.step_tasks t
JOIN pgflow.deps d ON d.flow_slug = t.flow_slug AND d.step_slug = t.step_slug
JOIN pgflow.step_states p ON p.run_id = t.run_id AND p.step_slug = d.dep_slug
WHERE t.started_at IS NOT NULL AND (p.status NOT IN ('completed', 'skipped') OR NOT $1 AND t.started_at < coalesce(p.completed_at, p.skipped_at))`, a.timeless), "tasks that began too early")

	// Nothing is left to count down in what has completed.
	require.Zero(a.t, ask[int](a, `
SELECT count(*) FROM pgflow.runs r JOIN pgflow.step_states st USING (run_id)
WHERE r.status = 'completed'
  AND (r.remaining_steps <> 0 OR coalesce(st.remaining_tasks, 0) <> 0 OR st.remaining_deps <> 0 OR st.status NOT IN ('completed', 'skipped'))`), "counters")
	require.Zero(a.t, ask[int](a, `SELECT count(*) FROM pgflow.runs WHERE remaining_steps < 0`))

	// No lease is left.
	require.Zero(a.t, ask[int](a, `SELECT count(*) FROM flowc.queue`), "messages")
	require.Zero(a.t, ask[int](a, `
SELECT count(*) FROM pgflow.step_tasks t JOIN pgflow.runs r USING (run_id)
WHERE r.status = 'completed' AND t.status = 'started' AND t.permanently_stalled_at IS NULL
  AND NOT EXISTS (SELECT FROM pgflow.step_states st WHERE st.run_id = t.run_id AND st.step_slug = t.step_slug AND st.status = 'skipped')`), "started tasks")
	require.Zero(a.t, ask[int](a, `SELECT count(*) FROM flowc.suspects s JOIN pgflow.step_tasks t USING (run_id, step_slug, task_index) WHERE t.in_queue`), "suspects")

	// Nothing is left open. The workers' connections end a moment after them.
	require.Eventually(a.t, func() bool {
		return ask[int](a, connections) <= a.base
	}, patience, 20*time.Millisecond, "connections")
	require.Zero(a.t, ask[int](a, `SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'`))

	// No deadlock.
	require.Zero(a.t, a.deadlocks(), "deadlocks")
}
