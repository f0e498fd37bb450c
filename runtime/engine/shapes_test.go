// Shapes and definitions: comparing, compiling, upserting.

package engine_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// none is the shape of a pattern that is not there.
const none = `{"defined": false}`

// stepShape is a step of a shape with every key.
func stepShape(slug, stepType, dependencies, required, forbidden string) string {
	return fmt.Sprintf(`{"slug": %q, "stepType": %q, "whenUnmet": "skip", "dependencies": %s, "whenExhausted": "fail", `+
		`"requiredInputPattern": %s, "forbiddenInputPattern": %s}`, slug, stepType, dependencies, required, forbidden)
}

func TestGetFlowShape(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		require.Equal(t, `{"steps": []}`, d.table(`select pgflow._get_flow_shape('none')`))
		d.flow("f", attempts(7)).step("z").step("a", timeout(9)).step("j", after("z", "a"), requires(`{"a": {"k": 1}}`)).
			mapStep("m", after("j"), forbids(`{}`), whenUnmet("fail"), whenExhausted("skip-cascade"))
		require.JSONEq(t, `{"steps": [`+
			stepShape("z", "single", "[]", none, none)+`,`+
			stepShape("a", "single", "[]", none, none)+`,`+
			stepShape("j", "single", `["a", "z"]`, `{"defined": true, "value": {"a": {"k": 1}}}`, none)+`,`+
			`{"slug": "m", "stepType": "map", "dependencies": ["j"], "whenUnmet": "fail", "whenExhausted": "skip-cascade",
			  "requiredInputPattern": {"defined": false}, "forbiddenInputPattern": {"defined": true, "value": {}}}]}`,
			d.table(`select pgflow._get_flow_shape('f')`))
	})
}

func TestCompareFlowShapes(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	a := stepShape("a", "single", "[]", none, none)
	for _, c := range []struct{ name, local, db, want string }{
		{"equal", a, a, ``},
		{"both empty", ``, ``, ``},
		{"first is longer", a, ``, `Step count differs: 1 vs 0|Step at index 0: missing in second shape (first has 'a')`},
		{"second is longer", a, a + `,` + stepShape("b", "single", "[]", none, none),
			`Step count differs: 1 vs 2|Step at index 1: missing in first shape (second has 'b')`},
		{"everything differs",
			`{"slug": "x", "stepType": "map", "dependencies": ["q", "p"], "whenUnmet": "fail", "whenExhausted": "skip",
			  "requiredInputPattern": {"defined": true, "value": {"k": 1}}, "forbiddenInputPattern": {"defined": true, "value": {}}}`, a,
			`Step at index 0: slug differs 'x' vs 'a'|Step at index 0: type differs 'map' vs 'single'|` +
				`Step at index 0: dependencies differ [p, q] vs []|Step at index 0: whenUnmet differs 'fail' vs 'skip'|` +
				`Step at index 0: whenExhausted differs 'skip' vs 'fail'|` +
				`Step at index 0: requiredInputPattern differs '{"value": {"k": 1}, "defined": true}' vs '{"defined": false}'|` +
				`Step at index 0: forbiddenInputPattern differs '{"value": {}, "defined": true}' vs '{"defined": false}'`},
		{"the order of dependencies does not count", stepShape("a", "single", `["x", "y"]`, none, none), stepShape("a", "single", `["y", "x"]`, none, none), ``},
		{"a missing key is no difference", `{"requiredInputPattern": {"defined": false}, "forbiddenInputPattern": {"defined": false}}`, a, ``},
		{"but a missing pattern is", `{"slug": "a", "requiredInputPattern": {"defined": false}}`, a,
			`Step at index 0: forbiddenInputPattern differs '' vs '{"defined": false}'`},
		{"patterns missing on both sides", `{"slug": "a"}`, `{"slug": "a"}`, ``},
		{"options do not count", `{"slug": "a", "options": {"timeout": 1}}`, `{"slug": "a"}`, ``},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, d.table(`
				select array_to_string(pgflow._compare_flow_shapes(('{"steps": [' || $1 || ']}')::jsonb, ('{"steps": [' || $2 || ']}')::jsonb), '|')`, c.local, c.db))
		})
	}
	require.Equal(t, "{}", d.table(`select pgflow._compare_flow_shapes('{}', '{}')`), "missing steps count as none")
	require.Equal(t, `{"Step count differs: 0 vs 1","Step at index 0: missing in first shape (second has 'a')"}`,
		d.table(`select pgflow._compare_flow_shapes('{}', '{"steps": [{"slug": "a"}]}')`))
}

func TestCreateFlowFromShape(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		const shape = `{"options": {"maxAttempts": 7}, "steps": [
			{"slug": "a", "stepType": "single", "dependencies": [], "whenUnmet": "fail", "whenExhausted": "skip",
			 "requiredInputPattern": {"defined": true, "value": {"k": 1}}, "forbiddenInputPattern": {"defined": false},
			 "options": {"maxAttempts": 1, "baseDelay": 2, "timeout": 3, "startDelay": 4}},
			{"slug": "m", "stepType": "map", "dependencies": ["a"], "whenUnmet": "skip", "whenExhausted": "fail",
			 "requiredInputPattern": {"defined": false, "value": {"ignored": true}}, "forbiddenInputPattern": {"defined": false}},
			{"slug": "bare"}]}`
		d.exec(`select pgflow._create_flow_from_shape('f', $1::jsonb)`, shape)
		require.Equal(t, "7 5 60", d.table(`select opt_max_attempts, opt_base_delay, opt_timeout from pgflow.flows where flow_slug = 'f'`))
		require.Equal(t, lines(
			`a single 0 1 2 3 4 {"k": 1} - fail skip`,
			`m map 1 - - - - - - skip fail`,
			`bare single 0 - - - - - - skip fail`), d.table(`
			select step_slug, step_type, deps_count, opt_max_attempts, opt_base_delay, opt_timeout, opt_start_delay,
			       required_input_pattern, forbidden_input_pattern, when_unmet, when_exhausted
			from pgflow.steps where flow_slug = 'f' order by step_index`))

		d.exec(`select pgflow._create_flow_from_shape('again', pgflow._get_flow_shape('f'))`)
		require.Equal(t, "t", d.table(`select pgflow._get_flow_shape('again') = pgflow._get_flow_shape('f')`))
	})
}

func TestEnsureFlowCompiled(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		one := `{"steps": [` + stepShape("a", "single", "[]", none, none) + `]}`
		other := `{"steps": [` + stepShape("b", "single", "[]", none, none) + `]}`
		ensure := func(shape, more string) string {
			return d.table(`select pgflow.ensure_flow_compiled('f', $1::jsonb`+more+`)`, shape)
		}
		require.Equal(t, `{"status": "compiled", "differences": []}`, ensure(one, ``))
		require.Equal(t, `{"status": "verified", "differences": []}`, ensure(one, ``))
		require.Equal(t, `{"status": "verified", "differences": []}`, ensure(one, `, true`), "equal shapes are never compiled again")

		d.exec(`select pgflow.start_flow('f', '{}')`)
		require.Equal(t, `{"status": "mismatch", "differences": ["Step at index 0: slug differs 'b' vs 'a'"]}`, ensure(other, ``))
		require.Equal(t, "1", d.table(`select count(*) from pgflow.runs where flow_slug = 'f'`), "nothing changed")
		require.Equal(t, `{"status": "recompiled", "differences": ["Step at index 0: slug differs 'b' vs 'a'"]}`, ensure(other, `, allow_data_loss => true`))
		require.Equal(t, "0 b", d.table(`select (select count(*) from pgflow.runs where flow_slug = 'f'), step_slug from pgflow.steps where flow_slug = 'f'`))

		// What leaves the patterns out can create a flow but not verify one.
		require.Equal(t, `{"status": "compiled", "differences": []}`, d.table(`select pgflow.ensure_flow_compiled('g', '{"steps": [{"slug": "a"}]}')`))
		require.Equal(t, `{"status": "mismatch", "differences": ["Step at index 0: requiredInputPattern differs '' vs '{\"defined\": false}'", `+
			`"Step at index 0: forbiddenInputPattern differs '' vs '{\"defined\": false}'"]}`,
			d.table(`select pgflow.ensure_flow_compiled('g', '{"steps": [{"slug": "a"}]}')`))
	})
}

func TestIsLocal(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	tx, err := d.pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, tx.Rollback(t.Context())) }()
	one := &db{t: t, pool: d.pool, q: tx}
	require.False(t, value[bool](one, `select pgflow.is_local()`), "the setting is missing")
	for secret, local := range map[string]bool{
		"super-secret-jwt-token-with-at-least-32-characters-long": true,
		"something else": false,
		"":               false,
	} {
		one.exec(`select set_config('app.settings.jwt_secret', $1, true)`, secret)
		require.Equal(t, local, value[bool](one, `select pgflow.is_local()`))
	}
}

// TestLocalStackIsCompiledAgain: on a developer's stack nobody has to allow it.
func TestLocalStackIsCompiledAgain(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	d.flow("f").step("a").start(`{}`)
	shape := `{"steps": [` + stepShape("b", "single", "[]", none, none) + `]}`
	require.Contains(t, d.table(`select pgflow.ensure_flow_compiled('f', $1::jsonb)`, shape), `"mismatch"`)
	tx, err := d.pool.Begin(t.Context())
	require.NoError(t, err)
	local := &db{t: t, pool: d.pool, q: tx}
	local.exec(`set local app.settings.jwt_secret = 'super-secret-jwt-token-with-at-least-32-characters-long'`)
	require.Equal(t, `{"status": "recompiled", "differences": ["Step at index 0: slug differs 'b' vs 'a'"]}`,
		local.table(`select pgflow.ensure_flow_compiled('f', $1::jsonb)`, shape))
	require.NoError(t, tx.Commit(t.Context()))
	require.Equal(t, "b", d.table(`select step_slug from pgflow.steps`))
}

// TestUpsertFlow: definitions put into the database by programs, with options.
func TestUpsertFlow(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		definition := func(slug string, attempts, delay int) string {
			return fmt.Sprintf(`{"options": {"maxAttempts": %d, "baseDelay": 5, "timeout": 60}, "steps": [
				{"slug": %q, "stepType": "single", "dependencies": [], "whenUnmet": "skip", "whenExhausted": "fail",
				 "requiredInputPattern": {"defined": false}, "forbiddenInputPattern": {"defined": false}, "options": {"startDelay": %d}}]}`, attempts, slug, delay)
		}
		upsert := func(definition string, lose bool) string {
			return d.table(`select j ->> 'status', j -> 'differences', j -> 'deleted_runs' from flowc.upsert_flow('f', $1::jsonb, $2) j`, definition, lose)
		}
		require.Equal(t, "-", d.table(`select flowc.compare_flow('f', '{}')`))
		require.Equal(t, "f", d.table(`select flowc.flow_exists('f')`))
		require.Equal(t, "compiled [] 0", upsert(definition("a", 3, 0), false))
		require.Equal(t, "t", d.table(`select flowc.flow_exists('f')`))
		require.Equal(t, "verified [] 0", upsert(definition("a", 3, 0), false))
		require.Equal(t, "options_updated [] 0", upsert(definition("a", 4, 0), false))
		require.Equal(t, "options_updated [] 0", upsert(definition("a", 4, 2), true))
		require.Equal(t, "4 5 60 2", d.table(`
			select f.opt_max_attempts, f.opt_base_delay, f.opt_timeout, s.opt_start_delay from pgflow.flows f join pgflow.steps s using (flow_slug)`))
		require.Equal(t, "verified [] 0", upsert(d.table(`select flowc.get_definition('f')`), false), "what is read can be written")

		d.exec(`select pgflow.start_flow('f', '{}')`)
		require.Equal(t, `mismatch ["Step at index 0: slug differs 'b' vs 'a'"] 0`, upsert(definition("b", 1, 0), false))
		require.Equal(t, "4", d.table(`select opt_max_attempts from pgflow.flows`), "a mismatch changes no options")
		require.Equal(t, `{"Step at index 0: slug differs 'b' vs 'a'"}`, d.table(`select flowc.compare_flow('f', $1::jsonb)`, definition("b", 1, 0)))
		require.Equal(t, `recompiled ["Step at index 0: slug differs 'b' vs 'a'"] 1`, upsert(definition("b", 1, 0), true))
		d.exec(`select pgflow.start_flow('f', '{}')`)
		require.Equal(t, `{"active": 1, "existed": true}`, d.table(`select flowc.delete_flow('f')`), "it is safe unless told otherwise")
		require.Equal(t, `mismatch`, d.table(`select flowc.upsert_flow('f', $1::jsonb) ->> 'status'`, definition("a", 1, 0)))
		require.Equal(t, `{"runs": 1, "steps": 1, "existed": true}`, d.table(`select flowc.delete_flow('f', true)`))
		require.Equal(t, `{"runs": 0, "steps": 0, "existed": false}`, d.table(`select flowc.delete_flow('f')`))
	})
}
