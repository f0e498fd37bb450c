// What waits cost, in blocks: a claim beside very many, an answer, an expiry, and flows that
// have none.

package engine_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// manyWaits is how many steps wait beside what is measured. Tables and indexes have as many
// levels as with a million.
const manyWaits = 100_000

// wait has very many runs of a flow wait, whose rows are written as the engine writes them,
// only faster.
func (s *session) wait(flow string, n int) {
	s.t.Helper()
	s.exec(`select count(*) from flowc.start($1, array_fill('{}'::jsonb, array[100]), null)`, flow)
	require.Equal(s.t, "100", s.table(`select count(*) from flowc.waits`))
	s.exec(`insert into pgflow.runs (run_id, flow_slug, input, remaining_steps) select flowc.new_run_id(), $1, '{}', 2 from generate_series(1, $2::int)`, flow, n-100)
	one := s.table(`select run_id from flowc.waits limit 1`)
	for _, table := range []string{"pgflow.step_states", "pgflow.step_tasks", "flowc.waits"} {
		columns := s.table(`
			select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute
			where attrelid = $1::text::regclass and attnum > 0 and attname <> 'run_id'`, table)
		s.exec(fmt.Sprintf(`
			insert into %[1]s (run_id, %[2]s)
			select r.run_id, %[3]s from %[1]s x cross join pgflow.runs r
			where x.run_id = $1::text::uuid and r.flow_slug = $2 and not exists (select from %[1]s o where o.run_id = r.run_id)`,
			table, columns, "x."+strings.ReplaceAll(columns, ", ", ", x.")), one, flow)
	}
	require.Equal(s.t, fmt.Sprint(n), s.table(`select count(*) from flowc.waits`))
}

// TestClaimBesideWaits: steps that wait are in no queue: a claim, a report, a heartbeat and
// what an idle worker asks look at no more blocks beside very many of them.
func TestClaimBesideWaits(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.upsert("f", waitStep("approve", ""), taskStep("ship", "approve"), taskStep("work"))
	s.upsert("w", waitStep("approve", ""), taskStep("ship", "approve"))
	s.exec(`select flowc.register_worker($1, 'w', '{f, w}')`, worker)
	s.exec2(`vacuum analyze`)
	measure := func() map[string]int {
		least := map[string]int{}
		for range 3 {
			s.exec(`select count(*) from flowc.start('f', array_fill('{}'::jsonb, array[50]), null)`)
			s.exec(`select flowc.signal(run_id, 'approve', '1') from flowc.waits where flow_slug = 'f' order by run_id desc limit 10`)
			costs := map[string]int{"claim": s.claim("f", 20)}
			costs["report"], _ = s.report(`1`)
			costs["apply_due"] = s.blocks(`select flowc.apply_due('{f, w}')`)
			costs["idle apply_due"] = s.blocks(`select flowc.apply_due('{f, w}')`)
			costs["heartbeat"] = s.blocks(`select * from flowc.heartbeat($1, '{}', '{}', '{}', '{f, w}')`, worker)
			costs["enter_idle"] = s.blocks(`select flowc.enter_idle($1, '{f, w}')`, worker)
			costs["list"] = s.blocks(`select * from flowc.list_waits('{w}', null, null, null, null, null, 10)`)
			run := s.table(`select run_id from flowc.waits where flow_slug = 'f' limit 1`)
			costs["signal"] = s.blocks(`select flowc.signal($1::text::uuid, 'approve', '1')`, run)
			costs["expire"] = func() int {
				s.exec(`update flowc.waits set due_at = clock_timestamp() where run_id = $1::text::uuid`, run)
				return s.blocks(`select flowc.apply_due('{f, w}')`)
			}()
			for operation, blocks := range costs {
				if old, ok := least[operation]; !ok || blocks < old {
					least[operation] = blocks
				}
			}
			s.exec(`delete from flowc.idle_workers`)
		}
		return least
	}
	s.wait("w", manyWaits)
	many := measure()
	s.exec(`delete from flowc.waits where flow_slug = 'w'`)
	s.exec2(`vacuum flowc.waits`)
	few := measure()
	t.Logf("beside %d: %v\nbeside none: %v", manyWaits, many, few)
	for operation, blocks := range many {
		// An index is a level or two higher, of which each of ten answers looks at some.
		require.LessOrEqual(t, blocks, few[operation]+60, operation)
	}
}

// TestFlowsWithoutWaits: what the engine looks at for a flow without waits and settings is as
// much beside flows that have them as without.
func TestFlowsWithoutWaits(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.flow("g").step("a").step("b", after("a"))
	s.exec(`select flowc.register_worker($1, 'w', '{g}')`, worker)
	s.exec2(`vacuum analyze`)
	s.upsert("w", waitStep("approve", ""), taskStep("ship", "approve"))
	s.wait("w", 10_000)
	s.exec(`create table public.waits as select * from flowc.waits`)
	s.exec(`create table public.settings as select * from flowc.settings`)
	type cost struct{ start, claim, report int }
	measure := func(least cost) cost {
		start := s.blocks(`select count(*) from flowc.start('g', array_fill('{}'::jsonb, array[20]), null)`)
		claim := s.claim("g", 20)
		report, _ := s.report(`1`)
		return cost{min(least.start, start), min(least.claim, claim), min(least.report, report)}
	}
	with := cost{1 << 30, 1 << 30, 1 << 30}
	without := with
	for range 8 { // in turn, since the tables of runs grow
		with = measure(with)
		s.exec(`truncate flowc.waits, flowc.settings`)
		without = measure(without)
		s.exec(`insert into flowc.waits select * from public.waits`)
		s.exec(`insert into flowc.settings select * from public.settings`)
	}
	t.Logf("beside waits of others %+v, without %+v", with, without)
	// A scan of the waits would be some hundred.
	require.LessOrEqual(t, with.start, without.start+60)
	require.LessOrEqual(t, with.claim, without.claim+60)
	require.LessOrEqual(t, with.report, without.report+60)
}
