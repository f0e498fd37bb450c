// What waits cost, in blocks: a claim beside very many, an answer, an expiry, and flows that
// have none.

package engine_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// wait has very many runs of a flow wait, whose rows are written as the engine writes them,
// only faster.
func (s *session) wait(flow string, n int) {
	s.t.Helper()
	s.exec(`select count(*) from flowc.start($1, array_fill('{}'::jsonb, array[100]), null)`, flow)
	require.Equal(s.t, "100", s.table(`select count(*) from flowc.waits`))
	one := s.table(`select run_id from flowc.waits limit 1`)
	s.exec(`create table public.more as select flowc.new_run_id() as run_id from generate_series(1, $1::int)`, n-100)
	for _, table := range []string{"pgflow.runs", "pgflow.step_states", "pgflow.step_tasks", "flowc.waits"} {
		columns := s.table(`
			select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute
			where attrelid = $1::text::regclass and attnum > 0 and attname <> 'run_id'`, table)
		s.exec2(fmt.Sprintf(`
			set local session_replication_role = replica; -- without looking for the run of each row
			insert into %[1]s (run_id, %[2]s) select m.run_id, %[3]s from %[1]s x cross join public.more m where x.run_id = '%[4]s'`,
			table, columns, "x."+strings.ReplaceAll(columns, ", ", ", x."), one))
	}
	s.exec(`drop table public.more`)
	require.Equal(s.t, fmt.Sprint(n), s.table(`select count(*) from flowc.waits`))
}

// TestClaimBesideWaits and TestChaosClaimBesideWaits count with as many waits as are there in
// seconds, and with a million.
func TestClaimBesideWaits(t *testing.T) {
	t.Parallel()
	claimBesideWaits(t, 100_000)
}

func TestChaosClaimBesideWaits(t *testing.T) {
	if os.Getenv("FLOWC_CHAOS") == "" {
		t.Skip("it makes a million waits: FLOWC_CHAOS=1")
	}
	claimBesideWaits(t, 1_000_000)
}

// claimBesideWaits checks that steps which wait are in no queue: a claim in their flow, a
// report, a heartbeat, what an idle worker asks, an answer and an expiry look at no more
// blocks beside very many of them.
func claimBesideWaits(t *testing.T, n int) {
	s := newSession(t)
	s.upsert("f", waitStep("approve", ""), taskStep("ship", "approve"))
	s.exec(`select flowc.register_worker($1, 'w', '{f}')`, worker)
	s.exec2(`vacuum analyze`)
	measure := func() map[string]int {
		least := leastBlocks{}
		for range 3 {
			s.exec(`select count(*) from flowc.start('f', array_fill('{}'::jsonb, array[50]), null)`)
			s.exec(`select flowc.signal(run_id, 'approve', '1') from (select run_id from flowc.waits order by run_id desc limit 20) w`)
			costs := map[string]int{"apply_due": s.blocks(`select flowc.apply_due('{f}')`)}
			costs["claim"] = s.claim("f", 20)
			var tasks int
			costs["report"], tasks = s.report(`1`)
			require.Equal(t, 20, tasks)
			costs["idle apply_due"] = s.blocks(`select flowc.apply_due('{f}')`)
			costs["idle claim"] = s.claim("f", 20)
			costs["heartbeat"] = s.blocks(`select * from flowc.heartbeat($1, '{}', '{}', '{}', '{f}')`, worker)
			costs["enter_idle"] = s.blocks(`select flowc.enter_idle($1, '{f}')`, worker)
			costs["list"] = s.blocks(`select * from flowc.list_waits('{f}', null, null, null, null, null, 10)`)
			last := func() string { return s.table(`select run_id from flowc.waits order by run_id desc limit 1`) }
			costs["signal"] = s.blocks(`select flowc.signal($1::text::uuid, 'approve', '1')`, last())
			s.exec(`select flowc.apply_due('{f}')`)
			s.claim("f", 1)
			s.report(`1`)
			s.exec(`update flowc.waits set due_at = clock_timestamp() where run_id = $1::text::uuid`, last())
			costs["expire"] = s.blocks(`select flowc.apply_due('{f}')`)
			for operation, blocks := range costs {
				least.note(operation, blocks)
			}
			s.exec(`delete from flowc.idle_workers`)
		}
		return least
	}
	began := time.Now()
	s.wait("f", n)
	made := time.Since(began)
	many := measure()
	s.exec(`delete from flowc.waits`)
	s.exec2(`vacuum flowc.waits`)
	few := measure()
	t.Logf("beside %d, made in %s: %v\nbeside none: %v", n, made.Round(time.Second), many, few)
	for operation, blocks := range many {
		// Some indexes are a level or two higher, and each of twenty answers looks into several
		// of them. A scan of the smallest would be a thousand.
		require.LessOrEqual(t, blocks, few[operation]+300, operation)
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
	s.wait("w", 30_000)
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
	require.LessOrEqual(t, with.start, without.start+150)
	require.LessOrEqual(t, with.claim, without.claim+150)
	require.LessOrEqual(t, with.report, without.report+150)
}
