package engine_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestValidSlugs(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	for slug, valid := range map[any]bool{
		"a": true, "_": true, "snake_case_2": true, "CamelCase": true, strings.Repeat("x", 128): true, "runs": true,
		nil: false, "": false, strings.Repeat("x", 129): false, "run": false, "1a": false, "a-b": false, "a b": false, "a.b": false, "ä": false, "a\n": false,
	} {
		d.run(fmt.Sprintf("%v", slug), func(t *testing.T, d *db) {
			require.Equal(t, valid, value[bool](d, `select pgflow.is_valid_slug($1)`, slug))
		})
	}
}

func TestCreateFlow(t *testing.T) {
	const options = `opt_max_attempts, opt_base_delay, opt_timeout`
	contract(t, func(t *testing.T, d *db) {
		require.Equal(t, "defaults 3 5 60", d.table(`select flow_slug, `+options+` from pgflow.create_flow('defaults')`))
		require.Equal(t, "given 10 60 3", d.table(`select flow_slug, `+options+` from pgflow.create_flow('given', 10, 60, 3)`), "by position")
		require.Equal(t, "zero 0 0 1", d.table(`select flow_slug, `+options+` from pgflow.create_flow('zero', base_delay => 0, max_attempts => 0, timeout => 1)`))
		require.Equal(t, "given 10 60 3", d.table(`select flow_slug, `+options+` from pgflow.create_flow('given', 1, 1, 1)`), "the stored row wins")
		require.Equal(t, "defaults 1\ngiven 1\nzero 1", d.table(`select queue_name, count(*) from pgmq.list_queues() group by 1 order by 1`))
	})
}

func TestCreateFlowRefuses(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		for _, slug := range []string{"", "run", "1x", "a-b", strings.Repeat("x", 129)} {
			d.fails("23514", `new row for relation "flows" violates check constraint "slug_is_valid"`, `select pgflow.create_flow($1)`, slug)
		}
		d.fails("P0001", "queue name is too long, maximum length is 47 characters", `select pgflow.create_flow($1)`, strings.Repeat("x", 48))
		d.exec(`select pgflow.create_flow($1)`, strings.Repeat("x", 47))
		d.fails("23514", `new row for relation "flows" violates check constraint "opt_timeout_is_positive"`, `select pgflow.create_flow('f', timeout => 0)`)
		d.fails("23514", `new row for relation "flows" violates check constraint "opt_base_delay_is_nonnegative"`, `select pgflow.create_flow('f', base_delay => -1)`)
		d.fails("23514", `new row for relation "flows" violates check constraint "opt_max_attempts_is_nonnegative"`, `select pgflow.create_flow('f', max_attempts => -1)`)

		d.flow("Foo")
		err := d.fails("P0001", `a queue whose name differs from "foo" only by case exists already`, `select pgflow.create_flow('foo')`)
		require.Contains(t, err.Hint, "Choose another name")
		require.Equal(t, "Foo", d.table(`select flow_slug from pgflow.flows where lower(flow_slug) = 'foo'`), "nothing of it stays")
	})
}

func TestAddStep(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.flow("f")
		const columns = `step_slug, step_type, step_index, deps_count, opt_max_attempts, opt_base_delay, opt_timeout, opt_start_delay,
			required_input_pattern, forbidden_input_pattern, when_unmet, when_exhausted`
		require.Equal(t, "a single 0 0 - - - - - - skip fail", d.table(`select `+columns+` from pgflow.add_step('f', 'a')`))
		require.Equal(t, "b map 1 1 7 8 9 10 - - skip fail", d.table(`select `+columns+` from pgflow.add_step('f', 'b', array['a'], 7, 8, 9, 10, 'map')`), "by position")
		require.Equal(t, `c single 2 2 - - - - {"a": {}} {"b": {}} fail skip-cascade`, d.table(`select `+columns+` from pgflow.add_step('f', 'c', array['a', 'b'],
			required_input_pattern => '{"a": {}}', forbidden_input_pattern => '{"b": {}}', when_unmet => 'fail', when_exhausted => 'skip-cascade')`), "untyped literals")
		require.Equal(t, "d single 3 0 - - - - - - skip fail", d.table(`select `+columns+` from pgflow.add_step('f', 'd', null, step_type => null)`), "explicit NULLs")
		require.Equal(t, lines("a b", "a c", "b c"), d.table(`select dep_slug, step_slug from pgflow.deps where flow_slug = 'f' order by 1, 2`))

		d.flow("g").step("z").step("a")
		require.Equal(t, lines("z 0", "a 1"), d.table(`select step_slug, step_index from pgflow.steps where flow_slug = 'g' order by 2`), "each flow counts its own steps")
	})
}

// TestAddStepAgain: the stored row wins, and no edge is added that deps_count
// does not know of.
func TestAddStepAgain(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.flow("f").step("a").step("b").step("c", after("a"), attempts(2))
		require.Equal(t, "c single 2 1 2 skip", d.table(`
			select step_slug, step_type, step_index, deps_count, opt_max_attempts, when_unmet
			from pgflow.add_step('f', 'c', array['a', 'b'], 9, step_type => 'single', when_unmet => 'fail')`))
		require.Equal(t, "a", d.table(`select dep_slug from pgflow.deps where flow_slug = 'f' and step_slug = 'c'`))
	})
}

func TestAddStepRefuses(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.flow("f").step("a").step("b").step("c")
		for _, c := range []struct{ call, code, message string }{
			{`'f', 'm', array['a', 'b'], step_type => 'map'`, "P0001", `Map step "m" can have at most one dependency, but 2 were provided: a, b`},
			{`'f', 'm', array['c', 'a', 'b'], step_type => 'map'`, "P0001", `Map step "m" can have at most one dependency, but 3 were provided: c, a, b`},
			{`'none', 'm'`, "23503", `insert or update on table "steps" violates foreign key constraint "steps_flow_slug_fkey"`},
			{`'f', 'm', array['none']`, "23503", `insert or update on table "deps" violates foreign key constraint "deps_flow_slug_dep_slug_fkey"`},
			{`'f', 'm', array['m']`, "23514", `new row for relation "deps" violates check constraint "deps_check"`},
			{`'f', 'run'`, "23514", `new row for relation "steps" violates check constraint "steps_step_slug_check"`},
			{`'f', '1m'`, "23514", `new row for relation "steps" violates check constraint "steps_step_slug_check"`},
			{`'f', 'm', step_type => 'many'`, "23514", `new row for relation "steps" violates check constraint "steps_step_type_check"`},
			{`'f', 'm', when_unmet => 'ignore'`, "23514", `new row for relation "steps" violates check constraint "when_unmet_is_valid"`},
			{`'f', 'm', when_exhausted => 'ignore'`, "23514", `new row for relation "steps" violates check constraint "when_exhausted_is_valid"`},
			{`'f', 'm', when_unmet => null`, "23502", `null value in column "when_unmet" of relation "steps" violates not-null constraint`},
			{`'f', 'm', when_exhausted => null`, "23502", `null value in column "when_exhausted" of relation "steps" violates not-null constraint`},
			{`'f', 'm', required_input_pattern => '[]'`, "23514", `new row for relation "steps" violates check constraint "required_input_pattern_is_object"`},
			{`'f', 'm', required_input_pattern => '"x"'`, "23514", `new row for relation "steps" violates check constraint "required_input_pattern_is_object"`},
			{`'f', 'm', required_input_pattern => 'null'`, "23514", `new row for relation "steps" violates check constraint "required_input_pattern_is_object"`},
			{`'f', 'm', forbidden_input_pattern => '1'`, "23514", `new row for relation "steps" violates check constraint "forbidden_input_pattern_is_object"`},
			{`'f', 'm', start_delay => -1`, "23514", `new row for relation "steps" violates check constraint "opt_start_delay_is_nonnegative"`},
			{`'f', 'm', max_attempts => -1`, "23514", `new row for relation "steps" violates check constraint "opt_max_attempts_is_nonnegative"`},
			{`'f', 'm', base_delay => -1`, "23514", `new row for relation "steps" violates check constraint "opt_base_delay_is_nonnegative"`},
			{`'f', 'm', timeout => 0`, "23514", `new row for relation "steps" violates check constraint "opt_timeout_is_positive"`},
		} {
			d.run(c.call, func(t *testing.T, d *db) {
				d.fails(c.code, c.message, `select pgflow.add_step(`+c.call+`)`)
			})
		}
		require.Equal(t, lines("a", "b", "c"), d.table(`select step_slug from pgflow.steps where flow_slug = 'f' order by 1`))
	})
}

func TestDefinitionsWrittenDirectly(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.flow("f").step("a")
		d.fails("23505", `duplicate key value violates unique constraint "steps_flow_slug_step_index_key"`,
			`insert into pgflow.steps (flow_slug, step_slug, step_index) values ('f', 'b', 0)`)
		d.exec(`insert into pgflow.steps (flow_slug, step_slug, step_index) values ('f', 'b', 1)`)
		d.exec(`insert into pgflow.flows (flow_slug) values ('bare')`)
		require.Equal(t, "3 1 60", d.table(`select opt_max_attempts, opt_base_delay, opt_timeout from pgflow.flows where flow_slug = 'bare'`))
	})
}

// TestOptionsAreReadWhenUsed: a changed row tunes runs under way.
func TestOptionsAreReadWhenUsed(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f", attempts(1)).step("a").start(`{}`).begin()
		d.exec(`update pgflow.flows set opt_max_attempts = 2 where flow_slug = 'f'`)
		require.Equal(t, "queued", r.failTask("a", 0, "x"))
		d.exec(`update pgflow.steps set opt_max_attempts = 2 where flow_slug = 'f'`)
		d.exec(`update pgflow.flows set opt_max_attempts = 9 where flow_slug = 'f'`)
		require.Equal(t, "failed", r.begin().failTask("a", 0, "x"), "the step's option comes before the flow's")
	})
}

func TestDeleteFlowAndData(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.flow("f").step("a").step("b", after("a"), whenExhausted("skip"), attempts(1))
		f.start(`{}`).complete("a", `{}`).exhaust("b")
		f.start(`{}`).begin()
		other := d.flow("other").step("a").start(`{}`)
		d.exec(`select pgflow.delete_flow_and_data('f')`)
		for _, table := range []string{"pgflow.flows", "pgflow.steps", "pgflow.deps", "pgflow.runs", "pgflow.step_states", "pgflow.step_tasks"} {
			require.Equal(t, "0", d.table(`select count(*) from `+table+` where flow_slug = 'f'`), table)
		}
		require.Equal(t, "0 0 0", d.table(`
			select (select count(*) from flowc.queue where queue_name = 'f'), (select count(*) from flowc.archive where queue_name = 'f'), (select count(*) from flowc.failed_attempts)`))
		require.Equal(t, "other", d.table(`select queue_name from pgmq.list_queues()`))
		require.Equal(t, "a0", other.queued(), "other flows are left alone")

		d.exec(`select pgflow.delete_flow_and_data('f')`) // nothing to do is no error
		require.Equal(t, "a:started", d.flow("f").step("a").start(`{}`).steps(), "the slug can be used again")
	})
}

func TestPollForTasksIsDeprecated(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.flow("f").step("a").start(`{}`)
		require.Empty(t, d.table(`select * from pgflow.poll_for_tasks('f', 1, 1)`))
		require.Empty(t, d.table(`select * from pgflow.poll_for_tasks(queue_name => 'f', vt => 1, qty => 1, max_poll_seconds => 1, poll_interval_ms => 10)`))
	})
}
