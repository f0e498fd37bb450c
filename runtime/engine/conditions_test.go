// Conditions of steps.

package engine_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRootCondition: a root is judged by the run's input.
func TestRootCondition(t *testing.T) {
	for _, c := range []struct {
		required, forbidden, input string
		met                        bool
	}{
		{`{"plan": "pro"}`, ``, `{"plan": "pro", "n": 1}`, true},
		{`{"plan": "pro"}`, ``, `{"plan": "free"}`, false},
		{`{"plan": "pro"}`, ``, `{}`, false},
		{`{"a": {"b": [1]}}`, ``, `{"a": {"b": [2, 1], "c": 0}}`, true},
		{`{}`, ``, `{}`, true},
		{`{}`, ``, `"text"`, false},
		{`{}`, ``, `[{}]`, false},
		{``, `{"test": true}`, `{"test": true}`, false},
		{``, `{"test": true}`, `{"test": false}`, true},
		{``, `{"test": true}`, `null`, true},
		{`{"a": 1}`, `{"b": 1}`, `{"a": 1}`, true},
		{`{"a": 1}`, `{"b": 1}`, `{"a": 1, "b": 1}`, false},
		{`{"a": 1}`, `{"b": 1}`, `{"b": 1}`, false},
		{``, ``, `{}`, true},
	} {
		t.Run(fmt.Sprintf("required %s forbidden %s input %s", c.required, c.forbidden, c.input), func(t *testing.T) {
			contract(t, func(t *testing.T, d *db) {
				var options []option
				if c.required != "" {
					options = append(options, requires(c.required))
				}
				if c.forbidden != "" {
					options = append(options, forbids(c.forbidden))
				}
				r := d.flow("f").step("a", options...).start(c.input)
				if c.met {
					require.Equal(t, "a:started", r.steps())
					require.Equal(t, "started 1", r.status())
					return
				}
				require.Equal(t, "a:skipped", r.steps())
				require.Equal(t, "condition_unmet t - - -", r.step("a", "skip_reason, skipped_at is not null, started_at, remaining_tasks, error_message"))
				require.Equal(t, "completed 0", r.status(), "a run whose only step is skipped is complete")
				require.Equal(t, "-", r.output())
				require.Empty(t, r.queued())
			})
		})
	}
}

// TestDependentCondition: any other step is judged by the outputs of the steps
// it waited for, by their slugs, and not by the run's input.
func TestDependentCondition(t *testing.T) {
	for _, c := range []struct {
		required, forbidden, output string
		met                         bool
	}{
		{`{"a": {"ok": true}}`, ``, `{"ok": true, "n": 1}`, true},
		{`{"a": {"ok": true}}`, ``, `{"ok": false}`, false},
		{`{"ok": true}`, ``, `{"ok": true}`, false},
		{`{"a": null}`, ``, `null`, true},
		{`{"plan": "pro"}`, ``, `{}`, false},
		{``, `{"a": {}}`, `{}`, false},
		{``, `{"a": {}}`, `[1]`, true},
		{``, `{"a": {}}`, `null`, true},
	} {
		t.Run(fmt.Sprintf("required %s forbidden %s output %s", c.required, c.forbidden, c.output), func(t *testing.T) {
			contract(t, func(t *testing.T, d *db) {
				options := []option{after("a"), requires(`{}`)}
				if c.required != "" {
					options[1] = requires(c.required)
				}
				if c.forbidden != "" {
					options = append(options, forbids(c.forbidden))
				}
				r := d.flow("f").step("a").step("b", options...).start(`{"plan": "pro"}`).complete("a", c.output)
				if c.met {
					require.Equal(t, "a:completed b:started", r.steps())
				} else {
					require.Equal(t, "a:completed b:skipped", r.steps())
					require.Equal(t, "completed 0", r.status())
				}
			})
		})
	}
}

func TestSQLNullOutputIsJSONNullInConditions(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").step("a").step("b", after("a"), requires(`{"a": null}`)).start(`{}`).begin()
		r.completeTask("a", 0, nil)
		require.Equal(t, "a:completed b:started", r.steps())
	})
}

// TestUnmetSkip: the steps behind go on without it.
func TestUnmetSkip(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").step("a").step("b", requires(`{"b": 1}`)).step("j", after("a", "b")).mapStep("m", after("b")).step("after_m", after("m")).start(`{}`)
		require.Equal(t, "a:started b:skipped j:created m:completed after_m:started", r.steps())
		require.Equal(t, "1", r.step("j", "remaining_deps"))
		require.Equal(t, "0 0 [] t", r.step("m", "initial_tasks, remaining_tasks, output, started_at = completed_at"))
		require.Equal(t, "started 3", r.status())
		require.Equal(t, lines(`a 0 {}`, `after_m 0 {"m": []}`), r.read(10))
		r.completeTask("a", 0, `1`)
		require.Equal(t, `j 0 {"a": 1}`, r.read(10), "what was skipped is absent")
		r.completeTask("after_m", 0, `2`)
		r.completeTask("j", 0, `3`)
		require.Equal(t, "completed 0", r.status())
		require.JSONEq(t, `{"after_m": 2, "j": 3}`, r.output())
	})
}

// TestUnmetSkipTwoParents: two skipped in one wave count twice.
func TestUnmetSkipTwoParents(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.flow("f").step("a", requires(`{"a": 1}`)).step("b", requires(`{"b": 1}`)).step("j", after("a", "b"))
		r := f.start(`{}`)
		require.Equal(t, "a:skipped b:skipped j:started", r.steps())
		require.Equal(t, "j 0 {}", r.read(10))
		require.Equal(t, "completed", r.completeTask("j", 0, `"ok"`))
		require.Equal(t, `{"j": "ok"}`, r.output())

		r = f.start(`{"a": 1}`)
		require.Equal(t, "a:started b:skipped j:created", r.steps())
		require.Equal(t, "1", r.step("j", "remaining_deps"))
		r.complete("a", `1`)
		require.Equal(t, "a:completed b:skipped j:started", r.steps())
	})
}

// TestUnmetSkipSpreads: what a skip makes ready is judged in turn.
func TestUnmetSkipSpreads(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").
			step("a", requires(`{"a": 1}`)).
			step("b", after("a"), requires(`{"a": {}}`)).
			step("c", after("b"), forbids(`{"b": {}}`)).
			step("d", after("b"), requires(`{"b": {}}`), whenUnmet("skip-cascade")).
			step("e", after("d")).start(`{}`)
		require.Equal(t, "a:skipped b:skipped c:started d:skipped e:skipped", r.steps())
		require.Equal(t, "started 1", r.status())
		require.Equal(t, lines("a condition_unmet", "b condition_unmet", "d condition_unmet", "e dependency_skipped"),
			d.table(`select step_slug, skip_reason from pgflow.step_states where run_id = $1 and status = 'skipped' order by 1`, r.id))
	})
}

func TestUnmetSkipCascade(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").step("a", requires(`{"a": 1}`), whenUnmet("skip-cascade")).step("b").step("c", after("a", "b")).
			mapStep("m", after("a")).step("e", after("m")).start(`{}`)
		require.Equal(t, "a:skipped b:started c:skipped m:skipped e:skipped", r.steps())
		require.Equal(t, "condition_unmet 0", r.step("a", "skip_reason, remaining_deps"))
		require.Equal(t, "dependency_skipped 2", r.step("c", "skip_reason, remaining_deps"))
		require.Equal(t, "started 1", r.status())
		r.complete("b", `1`)
		require.Equal(t, "completed 0", r.status())
		require.Equal(t, "-", r.output(), "no leaf completed")
	})
}

func TestUnmetFail(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").step("a").step("b", requires(`{"b": 1}`), whenUnmet("fail")).step("s", requires(`{"s": 1}`)).start(`{}`)
		require.Equal(t, "a:created b:failed s:created", r.steps(), "a failure comes before any skip, and nothing is started")
		require.Equal(t, "Condition not met t - -", r.step("b", "error_message, failed_at is not null, started_at, skip_reason"))
		require.Equal(t, "failed 3", r.status())
		require.Empty(t, r.queued())
	})
}

func TestUnmetFailTakesTheFirst(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").step("z", requires(`{"b": 1}`), whenUnmet("fail")).step("a", requires(`{"b": 1}`), whenUnmet("fail")).start(`{}`)
		require.Equal(t, "z:failed a:created", r.steps())
	})
}

// TestUnmetFailLater: the messages of the whole run go, started tasks' too.
func TestUnmetFailLater(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").step("a").step("b").step("delayed", startDelay(60)).step("c", after("a"), requires(`{"a": 1}`), whenUnmet("fail")).start(`{}`).begin()
		require.Equal(t, "completed", r.completeTask("a", 0, `2`))
		require.Equal(t, "a:completed b:started delayed:started c:failed", r.steps())
		require.Equal(t, "started", r.task("b", "status"))
		require.Equal(t, "failed 3", r.status())
		require.Empty(t, r.queued())
		require.Equal(t, "a0 b0 delayed0", r.archived())
	})
}

// TestConditionBehindEmptyMap: a step that became ready because a map was empty
// is judged too.
func TestConditionBehindEmptyMap(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").mapStep("m").step("s", after("m"), requires(`{"m": [1]}`)).step("t", after("m"), forbids(`{"m": [1]}`)).
			step("u", after("s")).start(`[]`)
		require.Equal(t, "m:completed s:skipped t:started u:started", r.steps())

		r = d.flow("g").mapStep("m").step("s", after("m"), requires(`{"m": [1]}`), whenUnmet("fail")).step("t", after("m")).start(`[]`)
		require.Equal(t, "m:completed s:failed t:created", r.steps())
		require.Equal(t, "failed 2", r.status())
	})
}

// TestConditionOnRootMap: patterns are objects, a root map's input is none.
func TestConditionOnRootMap(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").mapStep("m", requires(`{}`)).step("s", after("m")).mapStep("n", forbids(`{"a": 1}`)).start(`[1]`)
		require.Equal(t, "m:skipped s:started n:started", r.steps())
	})
}

func TestConditionOnDependentMap(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.flow("f").step("a").mapStep("m", after("a"), requires(`{"a": [1]}`)).step("s", after("m"))
		require.Equal(t, "a:completed m:started s:created", f.start(`{}`).complete("a", `[2, 1]`).steps())
		require.Equal(t, "a:completed m:skipped s:started", f.start(`{}`).complete("a", `[2]`).steps())
	})
}

// TestConditionChainLimit: 50 skips one after the other are too many.
func TestConditionChainLimit(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		chain := func(slug string, length int) {
			f := d.flow(slug).step("s0", requires(`{"x": 1}`))
			for i := 1; i < length; i++ {
				f.step(fmt.Sprintf("s%d", i), after(fmt.Sprintf("s%d", i-1)), requires(`{"x": 1}`))
			}
		}
		chain("passes", 50)
		chain("too_long", 51)
		require.Equal(t, "completed 0", d.table(`select status, remaining_steps from pgflow.start_flow('passes', '{}')`))
		d.fails("P0001", "cascade_resolve_conditions exceeded safety limit of 50 iterations", `select pgflow.start_flow('too_long', '{}')`)
		require.Equal(t, "1", d.table(`select count(*) from pgflow.runs`))
	})
}

func TestCascadeResolveConditions(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		const resolve = `select pgflow.cascade_resolve_conditions($1)`
		r := d.flow("f").step("a").step("b", after("a"), requires(`{"a": 1}`), whenUnmet("fail")).start(`{}`)
		require.Equal(t, "t", d.table(resolve, r.id))
		d.exec(`update pgflow.step_states set remaining_deps = 0 where step_slug = 'b'`)
		require.Equal(t, "f", d.table(resolve, r.id), "the run has failed")
		require.Equal(t, "f", d.table(resolve, r.id))
		require.Equal(t, "t", d.table(resolve, d.flow("g").step("a").start(`{}`).complete("a", `1`).id), "a completed run")
		require.Equal(t, "t", d.table(`select pgflow.cascade_resolve_conditions(gen_random_uuid())`), "no such run")
	})
}
