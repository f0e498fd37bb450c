// Steps without tasks: maps over empty arrays.

package engine_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTasklessRootMap(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").mapStep("m").start(`[]`)
		require.Equal(t, "completed 0", r.status())
		require.Equal(t, "completed 0 0 [] t t", r.step("m", "status, initial_tasks, remaining_tasks, output, started_at = completed_at, started_at is not null"))
		require.Equal(t, "", r.task("m", "*"))
		require.Empty(t, r.queued())
		require.Equal(t, `{"m": []}`, r.output())
	})
}

// TestTasklessChain: maps behind an empty map are empty, single steps start.
func TestTasklessChain(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").mapStep("m").mapStep("n", after("m")).mapStep("n2", after("m")).step("s", after("n", "n2")).start(`[]`)
		require.Equal(t, "m:completed n:completed n2:completed s:started", r.steps())
		require.Equal(t, "started 1", r.status())
		require.Equal(t, `s 0 {"n": [], "n2": []}`, r.read(10))
	})
}

func TestTasklessBehindSingle(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").step("a").mapStep("m", after("a")).step("s", after("m")).step("t", after("a", "m")).start(`{}`).complete("a", `[]`)
		require.Equal(t, "a:completed m:completed s:started t:started", r.steps())
		require.Equal(t, lines(`s 0 {"m": []}`, `t 0 {"a": [], "m": []}`), r.read(10))
	})
}

// chainOfMaps defines a root map with maps behind it, in a row.
func (d *db) chainOfMaps(slug string, length int) {
	d.t.Helper()
	f := d.flow(slug).mapStep("m0")
	for i := 1; i < length; i++ {
		f.mapStep(fmt.Sprintf("m%d", i), after(fmt.Sprintf("m%d", i-1)))
	}
}

// TestTasklessDepth: 49 waves pass, more do not, and leave nothing behind.
func TestTasklessDepth(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.chainOfMaps("passes", 49)
		d.chainOfMaps("limit", 50)
		d.chainOfMaps("too_deep", 51)
		require.Equal(t, `completed 0 {"m48": []}`, d.table(`select status, remaining_steps, output from pgflow.start_flow('passes', '[]')`))
		d.fails("P0001", "Cascade loop exceeded safety limit of 50 iterations", `select pgflow.start_flow('limit', '[]')`)
		d.fails("P0001", "Cascade loop exceeded safety limit of 50 iterations", `select pgflow.start_flow('too_deep', '[]')`)
		require.Equal(t, "passes 1", d.table(`select flow_slug, count(*) from pgflow.runs group by 1`))
	})
}

// TestTasklessDepthBehindATask: the error comes to whoever completes the task,
// and the task stays started.
func TestTasklessDepthBehindATask(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.flow("f").step("a").mapStep("m0", after("a"))
		for i := 1; i < 51; i++ {
			f.mapStep(fmt.Sprintf("m%d", i), after(fmt.Sprintf("m%d", i-1)))
		}
		r := f.start(`{}`).begin()
		d.fails("P0001", "Cascade loop exceeded safety limit of 50 iterations", `select pgflow.complete_task($1, 'a', 0, '[]')`, r.id)
		require.Equal(t, "started", r.task("a", "status"))
		require.Equal(t, "a0", r.queued())
	})
}

func TestCascadeCompleteTasklessSteps(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		const cascade = `select pgflow.cascade_complete_taskless_steps($1)`
		r := d.flow("f").step("a").mapStep("m", after("a")).mapStep("n", after("m")).start(`{}`)
		require.Equal(t, "0", d.table(cascade, r.id))
		d.exec(`update pgflow.step_states set remaining_deps = 0, initial_tasks = 0 where step_slug = 'm'`)
		require.Equal(t, "2", d.table(cascade, r.id))
		require.Equal(t, "a:started m:completed n:completed", r.steps())
		require.Equal(t, "started 1", r.status())
		require.Equal(t, "0", d.table(cascade, r.id))
		require.Equal(t, "0", d.table(`select pgflow.cascade_complete_taskless_steps(gen_random_uuid())`))

		d.exec(`update pgflow.step_states set remaining_deps = 0, initial_tasks = 0, status = 'created', remaining_tasks = null, output = null where step_slug = 'm'`)
		d.exec(`update pgflow.runs set status = 'failed'`)
		require.Equal(t, "0", d.table(cascade, r.id), "a run that is over stays as it is")

		d.flow("singles").step("a")
		s := &run{d, "singles", d.table(`select run_id from pgflow.start_flow('singles', '{}')`)}
		d.exec(`update pgflow.step_states set status = 'created', started_at = null, remaining_tasks = null, initial_tasks = 0 where run_id = $1`, s.id)
		require.Equal(t, "1", d.table(cascade, s.id))
		require.Equal(t, "completed -", s.step("a", "status, output"), "only a map has an empty list to give")
		require.Equal(t, "started 0", s.status(), "the run is not completed here")
	})
}
