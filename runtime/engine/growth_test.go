// The cost of calls, in blocks, does not grow with tables that grew after their plans were made.

package engine_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// What an operation costs is counted here in blocks that the server looks at: these do not
// depend on the machine. When other databases of the server change many tables at once, a
// session drops what it knows of its catalog and reads that again, which is thousands of
// blocks. So each operation is done several times, and the least counts.

// A session is one connection, in which the functions keep their plans.
type session struct {
	*db
	conn *pgx.Conn
}

func newSession(t *testing.T) *session {
	t.Helper()
	d := newDB(t)
	c, err := d.pool.Acquire(t.Context())
	require.NoError(t, err)
	t.Cleanup(c.Release)
	d.q = c
	return &session{d, c.Conn()}
}

// blocks executes a statement and gives the blocks that it looked at.
func (s *session) blocks(sql string, args ...any) int {
	s.t.Helper()
	var text string
	require.NoError(s.t, s.conn.QueryRow(s.t.Context(), "explain (analyze, buffers, timing off, format json) "+sql, args...).Scan(&text), "%s", sql)
	var explained []struct {
		Plan struct {
			Hit  int `json:"Shared Hit Blocks"`
			Read int `json:"Shared Read Blocks"`
		}
	}
	require.NoError(s.t, json.Unmarshal([]byte(text), &explained))
	return explained[0].Plan.Hit + explained[0].Plan.Read
}

// claim claims tasks and gives the blocks that it looked at.
func (s *session) claim(flow string, limit int) int {
	s.t.Helper()
	return s.blocks(`select * from flowc.claim($1::uuid, array[$2], array[$3::int])`, worker, flow, limit)
}

// report completes what the worker holds, each task with an output, and gives
// the blocks that it looked at, and how many tasks it was.
func (s *session) report(output string) (blocks, tasks int) {
	s.t.Helper()
	var runs, steps, outcomes, outputs []string
	var indexes, attempts []int
	var messages []int64
	require.NoError(s.t, s.conn.QueryRow(s.t.Context(), `
		select array_agg(run_id::text), array_agg(step_slug), array_agg(task_index), array_agg(message_id), array_agg(claims_count),
		       array_agg('completed'::text), array_agg($2::text)
		from pgflow.step_tasks where status = 'started' and last_worker_id = $1`, worker, output).
		Scan(&runs, &steps, &indexes, &messages, &attempts, &outcomes, &outputs))
	return s.blocks(`select * from flowc.report($1::uuid, $2::text[]::uuid[], $3, $4, $5, $6, $7, $8::text[]::jsonb[], $9, $10)`,
		worker, runs, steps, indexes, messages, attempts, outcomes, outputs, make([]*string, len(runs)), make([]*float64, len(runs))), len(runs)
}

// TestPlansGoByKey: a plan that a session has made while the tables were small
// must not read them from end to end when they are large. What the planner then
// knew of the tables must not matter.
func TestPlansGoByKey(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]func(*session){
		"never analysed": func(*session) {},
		"analysed while empty": func(s *session) {
			s.exec2(`vacuum analyze`)
		},
		"analysed while small": func(s *session) {
			s.exec(`select flowc.start('g', array_fill('1'::jsonb, array[5]), null)`)
			s.exec(`select flowc.claim($1::uuid, '{g}', '{2}')`, worker)
			s.exec2(`vacuum analyze`)
		},
		"with priorities": func(s *session) {
			s.exec(`select flowc.start('g', array_fill('1'::jsonb, array[5]), null, priority => 'high')`)
			s.exec(`select flowc.start('g', array_fill('1'::jsonb, array[5]), null, priority => 'low')`)
			s.exec2(`vacuum analyze`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSession(t)
			s.flow("g").step("a").step("b", after("a")).mapStep("m", after("b"))
			s.exec(`select flowc.register_worker($1, 'w', '{g}')`, worker)
			s.exec(`select flowc.publish_map(gen_random_uuid(), 1, '[[{"number": 1, "name": "a", "state": "active"}]]')`)
			before(s)
			small := s.operations()
			s.exec(`select count(*) from flowc.start('g', array_fill('1'::jsonb, array[6000]), null)`)
			for operation, blocks := range s.operations() {
				// An index gets a level higher, and sleep looks at the oldest 200 messages; a
				// scan would cost twice as much.
				require.LessOrEqual(t, blocks, small[operation]+110, operation)
			}
		})
	}
}

// exec2 runs what cannot be in a transaction.
func (s *session) exec2(sql string) {
	s.t.Helper()
	_, err := s.conn.Exec(s.t.Context(), sql)
	require.NoError(s.t, err)
}

// leastBlocks are the blocks of operations when they cost least.
type leastBlocks map[string]int

func (l leastBlocks) note(operation string, blocks int) {
	if old, ok := l[operation]; !ok || blocks < old {
		l[operation] = blocks
	}
}

// operations does all there is to do a few times, and gives the blocks of each
// when it cost least.
func (s *session) operations() map[string]int {
	least := leastBlocks{}
	note := least.note
	do := func(operation, sql string, args ...any) {
		s.t.Helper()
		note(operation, s.blocks(sql, args...))
	}
	for range 3 {
		do("start", `select * from flowc.start('g', array['1', '2']::jsonb[], null)`)
		do("start on a shard", `select * from flowc.start('g', array['1', '2']::jsonb[], null, map_version => 1)`)
		do("start_flow", `select * from pgflow.start_flow('g', '1')`)
		note("claim", s.claim("g", 2))
		blocks, _ := s.report(`[1]`)
		note("report", blocks)

		var message int64
		var run, step string
		require.NoError(s.t, s.conn.QueryRow(s.t.Context(), `
			select message_id, run_id::text, step_slug from pgflow.step_tasks where status = 'queued' order by message_id desc limit 1`).Scan(&message, &run, &step))
		do("start_tasks", `select * from pgflow.start_tasks('g', array[$1::bigint], $2)`, message, worker)
		do("start_tasks of what is started", `select * from pgflow.start_tasks('g', array[$1::bigint], $2)`, message, worker)
		do("heartbeat", `select * from flowc.heartbeat($2, '{g}', array[$1::bigint], '{1}')`, message, worker)
		do("read", `select * from pgmq.read('g', 1, 2)`)
		do("archive", `select pgmq.archive('g', -1::bigint)`)
		do("delete", `select pgmq.delete('g', -1::bigint)`)
		do("set_vt_batch of many", `select count(*) from (select pgflow.set_vt_batch('g', array_fill($1::bigint, array[10]), array_fill(0, array[10]))) x`, message)
		do("set_vt_batch", `select * from pgflow.set_vt_batch('g', array[$1::bigint], '{0}')`, message)
		do("fail_task", `select * from pgflow.fail_task($1, $2, 0, 'broke')`, run, step)
		do("start_tasks", `select * from pgflow.start_tasks('g', array[$1::bigint], $2)`, message, worker)
		do("release", `select flowc.release($2, '{g}', array[$1::bigint], '{2}')`, message, worker)
		do("start_tasks", `select * from pgflow.start_tasks('g', array[$1::bigint], $2)`, message, worker)
		do("complete_task", `select * from pgflow.complete_task($1, $2, 0, '[1]')`, run, step)
		do("get_run", `select * from flowc.get_run($1::text::uuid, true)`, run)
		do("get_run_with_states", `select pgflow.get_run_with_states($1)`, run)
		do("find_runs", `select * from flowc.find_runs(1, array[$1::text::uuid])`, run)
		do("result", `select * from flowc.result($1, '{a, b}', true)`, run)
		do("list_tasks", `select * from flowc.list_tasks($1::text::uuid, null, null, null, 50, 100)`, run)
		do("list_runs", `select * from flowc.list_runs(null, null, null, null, null, null, null, 10)`)
		do("list_runs marks", `select * from flowc.list_runs(null, null, null, null, null, null, null, 10, '{clean}')`)
		do("run_matches", `select flowc.run_matches($1, 'no such error')`, run)
		do("explain_run", `select * from flowc.explain_run($1)`, run)
		do("declared_result", `select flowc.compose_result($1)`, run)
		do("await_run", `select flowc.await_run($1)`, run)
		do("cancel_run", `select flowc.cancel_run($1)`, run)
		do("retry_run", `select flowc.retry_run($1)`, run)
		do("run_now", `select flowc.run_now($1)`, run)
		do("force skip", `select pgflow._cascade_force_skip_steps($1, 'b', 'test')`, run)
		do("delete_runs", `select flowc.delete_runs(array[$1::text::uuid])`, run)
		do("schedule", `select * from flowc.start('g', array['1']::jsonb[], null, start_in => '1 hour')`)
		s.exec(`update flowc.scheduled_runs set due_at = now()`)
		do("start_due", `select flowc.start_due('{g}')`)
		do("recover", `select flowc.recover()`)
		do("sleep", `select flowc.enter_idle($1, '{g}')`, worker)
		do("awake", `select flowc.leave_idle($1)`, worker)
	}
	return least
}

// TestMapCostsPerTask: a task of a map of 10 000 costs what one of 100 costs,
// with elements of a kilobyte, which the worker reads once.
func TestMapCostsPerTask(t *testing.T) {
	t.Parallel()
	perTask := func(elements int) float64 {
		s := newSession(t)
		s.flow("f").mapStep("m")
		s.exec2(`vacuum analyze`)
		total := s.blocks(`select * from flowc.start('f', array[(select jsonb_agg(repeat(md5(i::text), 32)) from generate_series(1, $1::int) i)], null)`, elements)
		total += s.blocks(`select * from flowc.read_values(array[(select run_id from pgflow.runs)], '{run}', 1)`)
		for done := 0; done < elements; {
			total += s.claim("f", 100)
			blocks, tasks := s.report(`1`)
			total += blocks
			done += tasks
		}
		require.Equal(t, "completed", s.table(`select status from pgflow.runs`))
		return float64(total) / float64(elements)
	}
	few, many := perTask(100), perTask(10_000)
	t.Logf("%.1f blocks a task of 100, %.1f of 10000", few, many)
	require.LessOrEqual(t, many, 1.5*few)
}

// TestFlowOfManySteps: a flow of 500 steps starts in one statement, and a step of
// it costs what one of 50 costs.
func TestFlowOfManySteps(t *testing.T) {
	t.Parallel()
	perStep := func(steps int) (start, step float64) {
		s := newSession(t)
		f := s.flow("f").step("s0")
		for i := 1; i < steps; i++ {
			f.step(fmt.Sprintf("s%d", i), after(fmt.Sprintf("s%d", i-1)))
		}
		s.exec2(`vacuum analyze`)
		started := 1 << 30
		for n := range 3 {
			started = min(started, s.blocks(`select * from flowc.start('f', '{1}', null)`))
			require.Equal(t, fmt.Sprint(steps*(n+1)), s.table(`select count(*) from pgflow.step_states`))
		}
		least := 1 << 30
		for range 40 {
			claimed := s.claim("f", 1)
			reported, tasks := s.report(`1`)
			require.Equal(t, 1, tasks)
			least = min(least, claimed+reported)
		}
		return float64(started) / float64(steps), float64(least)
	}
	start, step := perStep(50)
	startMany, stepMany := perStep(500)
	t.Logf("start: %.1f blocks a step of 50, %.1f of 500; step: %.1f of 50, %.1f of 500", start, startMany, step, stepMany)
	require.LessOrEqual(t, startMany, 1.5*start)
	require.LessOrEqual(t, stepMany, 1.5*step)
}

// TestSkipThroughLayers: between layers of two steps, each waiting for both
// before, there are exponentially many paths, which must not be walked.
func TestSkipThroughLayers(t *testing.T) {
	t.Parallel()
	perLayer := func(layers int) float64 {
		s := newSession(t)
		f := s.flow("f").step("root")
		before := []string{"root"}
		for i := range layers {
			layer := []string{fmt.Sprintf("a%d", i), fmt.Sprintf("b%d", i)}
			f.step(layer[0], after(before...)).step(layer[1], after(before...))
			before = layer
		}
		least := 1 << 30
		for range 3 {
			r := f.start(`1`)
			least = min(least, s.blocks(`select pgflow._cascade_force_skip_steps($1, 'root', 'test')`, r.id))
			require.Equal(t, layers*2+1, strings.Count(r.steps(), ":skipped"))
		}
		return float64(least) / float64(layers)
	}
	few, many := perLayer(5), perLayer(40)
	t.Logf("%.1f blocks a layer of 5, %.1f of 40", few, many)
	require.LessOrEqual(t, many, few)
}

// TestAmongManyFlows: what working a flow costs does not grow with the flows beside
// it, even if the session has made its plans when there were none.
func TestAmongManyFlows(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.flow("f").step("a")
	s.exec2(`vacuum analyze`)
	work := func() int {
		total := s.blocks(`select * from flowc.start('f', array_fill('1'::jsonb, array[100]), null)`)
		total += s.claim("f", 100)
		blocks, tasks := s.report(`1`)
		require.Equal(t, 100, tasks)
		return total + blocks
	}
	least := func() int { return min(work(), work(), work(), work()) }
	few := least()
	s.exec(`insert into pgflow.flows (flow_slug) select 'f' || i from generate_series(1, 300) i`)
	s.exec(`insert into pgflow.steps (flow_slug, step_slug, step_index, deps_count)
		select 'f' || i, 's' || k, k, least(k, 1) from generate_series(1, 300) i, generate_series(0, 9) k`)
	s.exec(`insert into pgflow.deps (flow_slug, dep_slug, step_slug)
		select 'f' || i, 's' || k - 1, 's' || k from generate_series(1, 300) i, generate_series(1, 9) k`)
	many := least()
	t.Logf("%d blocks beside no other flow, %d beside 300", few, many)
	// Each of some ten lookups of definitions a task goes one level deeper.
	require.LessOrEqual(t, many, few+100*20)
}

// TestClaimOverManyFlows: what a claim looks at grows with the flows that it is
// for and not with what waits in them.
func TestClaimOverManyFlows(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.exec(`select pgflow.create_flow('f' || i), pgflow.add_step('f' || i, 's') from generate_series(1, 300) i`)
	s.exec2(`vacuum analyze`)
	claim := func(flows, waiting int) int {
		s.exec(`select flowc.start('f1', array_fill('1'::jsonb, array[$1::int]), null)`, waiting)
		least := 1 << 30
		for range 3 {
			least = min(least, s.blocks(`
				select * from flowc.claim($1::uuid, array(select 'f' || i from generate_series(1, $2::int) i), array_fill(10, array[$2::int]))`, worker, flows))
		}
		return least
	}
	few, many, deep := claim(10, 50), claim(300, 50), claim(10, 5000)
	t.Logf("%d blocks for 10 flows, %d for 300, %d for 10 in which 5000 tasks wait", few, many, deep)
	require.LessOrEqual(t, many, few+6*290)
	require.LessOrEqual(t, deep, few+10*10)
}
