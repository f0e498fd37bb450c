// Map steps.

package engine_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMapAggregates(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").step("a").mapStep("m", after("a")).step("s", after("m")).step("a_too", after("a")).start(`{}`)
		require.Equal(t, "-", r.step("m", "initial_tasks"), "not known before the list is")
		r.complete("a", `[{"n": 1}, 2, 3]`).begin()
		require.Equal(t, "started 3 3 0", r.step("m", "status, initial_tasks, remaining_tasks, remaining_deps"))
		r.completeTask("m", 2, `"c"`)
		r.completeTask("m", 0, nil)
		require.Equal(t, "started 3 1 -", r.step("m", "status, initial_tasks, remaining_tasks, output"))
		require.Equal(t, "1", r.step("s", "remaining_deps"), "what waits for a map waits for all of it")
		require.Equal(t, "m1 a_too0", r.queued())
		r.completeTask("m", 1, `["b"]`)
		require.Equal(t, `completed 3 0 [null, ["b"], "c"]`, r.step("m", "status, initial_tasks, remaining_tasks, output"), "by index, NULL as null")
		require.Equal(t, `s 0 {"m": [null, ["b"], "c"]}`, r.read(1))
		require.Equal(t, "-", r.task("m", "output")[:1], "the task keeps SQL NULL")
	})
}

func TestMapOfOne(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").mapStep("m").start(`[7]`).complete("m", `{"k": 1}`)
		require.Equal(t, `[{"k": 1}]`, r.step("m", "output"), "never the bare value")
		require.Equal(t, `{"m": [{"k": 1}]}`, r.output())
	})
}

// TestMapOverMap: as many tasks as the parent had; its outputs are not flattened.
func TestMapOverMap(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").mapStep("m").mapStep("n", after("m")).start(`[1, 2]`).begin()
		r.completeTask("m", 1, `[[3]]`)
		require.Equal(t, "- 1", r.step("n", "initial_tasks, remaining_deps"), "unknown until the parent is complete")
		r.completeTask("m", 0, `[1, 2]`)
		require.Equal(t, "2", r.step("n", "initial_tasks"))
		require.Equal(t, lines(`n 0 [1, 2]`, `n 1 [[3]]`), r.read(9))
	})
}

// TestSingleToSeveral: a map among the steps behind starts with the others, or,
// if the list is none, none does.
func TestSingleToSeveral(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.flow("f").step("a").mapStep("m", after("a")).step("s", after("a")).mapStep("n", after("a"))
		require.Equal(t, "a:completed m:started s:started n:started", f.start(`{}`).complete("a", `[1]`).steps())
		r := f.start(`{}`).begin()
		require.Equal(t, "failed", r.completeTask("a", 0, `"no list"`))
		require.Equal(t, "a:failed m:created s:created n:created", r.steps())
		require.Equal(t, "[TYPE_VIOLATION] Map step m expects array input but dependency a produced string", r.step("a", "error_message"))
	})
}

func TestMapBehindSkippedStep(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").step("a", requires(`{"no": 1}`)).mapStep("m", after("a")).mapStep("n", after("m")).step("s", after("a", "n")).start(`{}`)
		require.Equal(t, "a:skipped m:completed n:completed s:started", r.steps())
		require.Equal(t, `s 0 {"n": []}`, r.read(9))
	})
}

// TestMapInBatches: the same comes out whatever the sizes of the batches.
func TestMapInBatches(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.register(worker, "f")
		f := d.flow("f").mapStep("m").step("s", after("m"))
		const elements = 23
		for _, batch := range []int{1, 2, 7, 23, 100} {
			r := f.start(value[string](d, `select jsonb_agg(i)::text from generate_series(1, $1::int) i`, elements))
			for done := 0; done < elements; done += batch {
				d.claim("", []string{"f"}, []int{batch})
				var reports []report
				for i := done; i < min(done+batch, elements); i++ {
					reports = append(reports, report{run: r, step: "m", index: i, outcome: "completed", output: fmt.Sprint(10 * (i + 1))})
				}
				require.Empty(t, d.report(reports...))
			}
			require.Equal(t, "m:completed s:started", r.steps())
			require.Equal(t, "t", r.step("m", `output = (select jsonb_agg(i * 10) from generate_series(1, 23) i)`))
			r.complete("s", `1`)
		}
	})
}
