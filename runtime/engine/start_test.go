package engine_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func TestStartFlow(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.flow("f").step("a").step("b").mapStep("m", after("a")).step("j", after("a", "b", "m"))
		require.Equal(t, `f started {"k": 1} - 4 - -`, d.table(`
			select flow_slug, status, input, output, remaining_steps, completed_at, failed_at from pgflow.start_flow('f', '{"k": 1}')`))
		r := &run{d, f.slug, d.table(`select run_id from pgflow.runs`)}
		for step, want := range map[string]string{
			"a": "f started 1 1 0 t", "b": "f started 1 1 0 t", "m": "f created - - 1 f", "j": "f created - 1 3 f",
		} {
			require.Equal(t, want, r.step(step, `flow_slug, status, remaining_tasks, initial_tasks, remaining_deps, started_at is not null`), step)
		}
		require.Equal(t, "f 0 queued 0 - - - 0", r.task("a", `flow_slug, task_index, status, attempts_count, started_at, output, last_worker_id, requeued_count`))
		require.Equal(t, "a0 b0", r.queued(), "only the roots have messages, in the order of the definition")
	})
}

// TestMessageFormat: four keys, no headers, visible at once.
func TestMessageFormat(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").step("a").start(`{}`)
		require.Equal(t, fmt.Sprintf(`{"run_id": "%s", "flow_slug": "f", "step_slug": "a", "task_index": 0} - t 0`, r.id),
			d.table(`select message, headers, vt <= clock_timestamp(), read_ct from pgmq.q_f`))
		require.Equal(t, "t", d.table(`select message_id = (select msg_id from pgmq.q_f) from pgflow.step_tasks`))
	})
}

func TestStartFlowTakesARunID(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.flow("f").step("a")
		d.flow("g").step("a")
		id := uuid.NewString()
		require.Equal(t, id, d.table(`select run_id from pgflow.start_flow('f', '{}', $1)`, id))
		d.fails("23505", `duplicate key value violates unique constraint "runs_pkey"`, `select pgflow.start_flow(flow_slug => 'f', input => '{}', run_id => $1)`, id)
		d.fails("23505", `duplicate key value violates unique constraint "runs_pkey"`, `select pgflow.start_flow('g', '{}', $1)`, id)
		require.Equal(t, "1 1 1", d.table(`
			select (select count(*) from pgflow.runs), (select count(*) from pgflow.step_tasks), (select count(*) from flowc.queue)`), "nothing of the refused")
	})
}

func TestStartFlowRefuses(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.flow("plain").step("a")
		d.flow("lists").step("a").mapStep("m")
		d.fails("23503", `insert or update on table "runs" violates foreign key constraint "runs_flow_slug_fkey"`, `select pgflow.start_flow('none', '{}')`)
		d.fails("23502", `null value in column "input" of relation "runs" violates not-null constraint`, `select pgflow.start_flow('plain', null)`)
		d.fails("P0001", `Flow lists has root map steps but input is NULL`, `select pgflow.start_flow('lists', null)`)
		for input, kind := range map[string]string{`{}`: "object", `"x"`: "string", `1`: "number", `true`: "boolean", `null`: "null"} {
			d.run(kind, func(t *testing.T, d *db) {
				d.fails("P0001", fmt.Sprintf(`Flow lists has root map steps but input is not an array (got %s)`, kind), `select pgflow.start_flow('lists', $1::jsonb)`, input)
			})
		}
		require.Equal(t, "0", d.table(`select count(*) from pgflow.runs`))
	})
}

func TestStartFlowOddInputs(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.flow("empty")
		require.Equal(t, "completed 0 - t", d.table(`select status, remaining_steps, output, completed_at is not null from pgflow.start_flow('empty', '{}')`), "no steps, no waiting")
		f := d.flow("f").step("a")
		for _, input := range []string{`null`, `[]`, `"x"`, `0`} {
			require.Equal(t, "a:started", f.start(input).steps(), "JSON %s is an input like any other", input)
		}
	})
}

func TestStartRootMap(t *testing.T) {
	for input, tasks := range map[string]int{
		`[1]`: 1, `[1, 1, 1]`: 3, `[null, [1, 2], {"a": []}]`: 3, `["a", null]`: 2,
	} {
		t.Run(input, func(t *testing.T) {
			contract(t, func(t *testing.T, d *db) {
				r := d.flow("f").mapStep("m").step("after_m", after("m")).mapStep("m2").start(input)
				for _, step := range []string{"m", "m2"} {
					require.Equal(t, fmt.Sprintf("started %d %[1]d", tasks), r.step(step, "status, initial_tasks, remaining_tasks"))
				}
				require.Equal(t, fmt.Sprint(tasks), d.table(`select count(distinct task_index) from pgflow.step_tasks where step_slug = 'm' and task_index < $1`, tasks))
				require.Equal(t, 2*tasks, len(strings.Fields(r.queued())), "several root maps run over the same input")
				require.Equal(t, "t", d.table(`
					select bool_and(ordered) from (
					  select message_id > lag(message_id, 1, 0::bigint) over (order by step_slug, task_index) as ordered from pgflow.step_tasks) o`),
					"messages ascend with the index, step by step")
			})
		})
	}
}

func TestStartDelay(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").step("a", startDelay(30)).step("b").mapStep("m", after("b"), startDelay(60)).start(`{}`)
		const delays = `select message ->> 'step_slug', ceil(extract(epoch from vt - clock_timestamp())) from pgmq.q_f order by msg_id`
		require.Equal(t, lines("a 30", "b 0"), d.table(delays))
		require.Equal(t, "b 0 {}", r.read(10), "what waits for its time is not read")
		r.completeTask("b", 0, `[1, 2]`)
		require.Equal(t, lines("a 30", "m 60", "m 60"), d.table(delays), "the delay is that of every task")
	})
}

// TestStartReadySteps: the function can be called at any time.
func TestStartReadySteps(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").step("a").step("b", after("a")).start(`{}`)
		start := func() { d.exec(`select pgflow.start_ready_steps($1)`, r.id) }
		start()
		require.Equal(t, "a:started b:created", r.steps())
		require.Equal(t, "a0", r.queued(), "what is started is not started again")
		r.complete("a", `{}`)
		start()
		require.Equal(t, "b0", r.queued())

		d.exec(`update pgflow.step_states set status = 'created', remaining_tasks = null where step_slug = 'b'`)
		d.exec(`update pgflow.runs set status = 'failed'`)
		start()
		require.Equal(t, "a:completed b:created", r.steps(), "a run that is over starts nothing")

		d.exec(`update pgflow.runs set status = 'started'`)
		d.exec(`update pgflow.step_states set initial_tasks = null where step_slug = 'b'`)
		start()
		require.Equal(t, "a:completed b:created", r.steps(), "a step with an unknown number of tasks does not start")
		d.exec(`select pgflow.start_ready_steps(gen_random_uuid())`)
	})
}

// TestStartedTogetherInOrder: steps that start in one call get their messages in
// the order of the definition.
func TestStartedTogetherInOrder(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		r := d.flow("f").step("root").step("zebra", after("root")).step("ant", after("root")).mapStep("mole", after("root")).start(`{}`)
		r.complete("root", `[1, 2]`)
		require.Equal(t, "zebra0 ant0 mole0 mole1", r.queued())
	})
}

// flowc.start --------------------------------------------------------------------

func TestStartMany(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.flow("f").step("a")
		d.flow("g").step("a")
		ids := []string{newID(t), newID(t), newID(t)}
		const start = `select n, run_id, existed, status, scheduled_at from flowc.start($1, $2::text[]::jsonb[], $3::text[]::uuid[])`
		require.Equal(t, "1 "+ids[0]+" f started -", d.table(start, "f", []string{`1`, `2`}, ids[:2]), "all simply started")
		require.Equal(t, lines("1 "+ids[2]+" f started -", "2 "+ids[0]+" t started -", "3 "+ids[2]+" t started -"),
			d.table(start, "f", []string{`3`, `4`, `5`}, []string{ids[2], ids[0], ids[2]}), "an id starts one run, the first")
		require.Equal(t, lines(ids[0]+" 1", ids[1]+" 2", ids[2]+" 3"), d.table(`
			select r.run_id, r.input from pgflow.runs r join flowc.queue q using (run_id) order by q.msg_id`), "in the order of the ids")
		d.fails("23505", `duplicate key value violates unique constraint "runs_pkey"`, start, "g", []string{`1`}, ids[:1])
		d.fails("23503", `insert or update on table "runs" violates foreign key constraint "runs_flow_slug_fkey"`, start, "none", []string{`1`}, ids[:1])
		require.Equal(t, "2 t", d.table(`select count(distinct run_id), bool_and(run_id is not null) from flowc.start('f', '{1,2}', null)`), "ids are made up")
		require.Empty(t, d.table(start, "f", []string{}, []string{}))
		require.Equal(t, "t", d.table(`select bool_and(run_id::text ~ '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-') from flowc.start('f', '{1,2,3}', null)`))
	})
}

// newID is a run id that sorts behind those before it, as clients make them.
func newID(t *testing.T) string {
	id, err := uuid.NewV7()
	require.NoError(t, err)
	return id.String()
}

// TestStartManyAllOrNone: one bad input is the end of all.
func TestStartManyAllOrNone(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.flow("f").mapStep("m")
		d.fails("P0001", "Flow f has root map steps but input is not an array (got object)", `select flowc.start('f', array['[1]', '{}']::jsonb[], null)`)
		require.Equal(t, "0", d.table(`select count(*) from pgflow.runs`))
		require.Equal(t, lines("started", "completed", "started"), d.table(`select status from flowc.start('f', array['[1]', '[]', '[2]']::jsonb[], null) order by n`))
	})
}

func TestScheduledStart(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.flow("f").step("a").mapStep("m", after("a"))
		id := uuid.NewString()
		require.Equal(t, "t f started t", d.table(`
			select run_id = $1, existed, status, scheduled_at > clock_timestamp() + interval '59 minutes'
			from flowc.start('f', '{1}', array[$1::uuid], start_in => '1 hour')`, id))
		r := &run{d, "f", id}
		require.Equal(t, "a:created m:created", r.steps())
		require.Empty(t, r.queued())
		require.Equal(t, "scheduled", d.table(`select status from flowc.get_run($1)`, id))
		require.Equal(t, "0", d.table(`select flowc.start_due('{f}')`), "it is not due")

		require.Equal(t, "t", d.table(`select flowc.reschedule_run($1, clock_timestamp())`, id))
		require.Equal(t, "0", d.table(`select flowc.start_due('{other}')`))
		require.Equal(t, "1", d.table(`select flowc.start_due('{other,f}')`))
		require.Equal(t, "0", d.table(`select flowc.start_due('{f}')`))
		require.Equal(t, "a:started m:created", r.steps())
		require.Equal(t, "f", d.table(`select flowc.reschedule_run($1, clock_timestamp())`, id), "it has started")
		r.complete("a", `[]`)
		require.Equal(t, "completed 0", r.status())

		require.Equal(t, "started -", d.table(`select status, scheduled_at from flowc.start('f', '{1}', null, start_at => '2001-01-01')`), "what is past starts at once")
	})
}

func TestScheduledEmptyRootMap(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		d.flow("f").mapStep("m")
		id := d.table(`select run_id from flowc.start('f', '{[]}', null, start_in => '1 hour')`)
		d.exec(`select flowc.reschedule_run($1, clock_timestamp())`, id)
		require.Equal(t, "1", d.table(`select flowc.start_due('{f}')`))
		require.Equal(t, "completed 0", (&run{d, "f", id}).status())
	})
}
