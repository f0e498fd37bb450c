package engine_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestStartBesideUniques: what a start of a unique flow looks at, and what a deletion does,
// grows with the levels of indexes, and not with the keys and runs that there are; and a start of
// many is no more than as many starts.
func TestStartBesideUniques(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.exec(`select flowc.upsert_flow('u', $1::jsonb)`, `{"steps": [`+taskStep("work")+`], "settings": {"unique": [["run", "account"]]}}`)
	s.exec2(`vacuum analyze`)
	s.exec(`select flowc.start('u', array['{"account": 1}', '{"account": 2}']::jsonb[], null)`) // whose plans are kept
	next := 0
	measure := func() map[string]int {
		least := leastBlocks{}
		note := func(operation, sql string, args ...any) { least.note(operation, s.blocks(sql, args...)) }
		const start = `select count(*) from flowc.start('u', array(select jsonb_build_object('account', i) from generate_series($1::int, $2::int) i), null)`
		for range 8 {
			next += 1000
			note("one", start, next, next)
			note("fifty", start, next+1, next+50)
			note("fifty duplicates", start, next+1, next+50)
			run := s.table(`select run_id from pgflow.runs order by run_id desc limit 1`)
			s.exec(`select flowc.cancel_run($1::text::uuid)`, run)
			note("retry", `select flowc.retry_run($1::text::uuid)`, run)
			note("delete", `select flowc.delete_run($1::text::uuid, true)`, run)
		}
		return least
	}
	keysAndRuns := func(n int) {
		s.exec(`insert into flowc.uniques (flow_slug, key, run_id) select 'u', sha256(convert_to(i || ' of ' || $1::int, 'UTF8')), gen_random_uuid() from generate_series(1, $1::int) i`, n)
		s.exec(`
			insert into pgflow.runs (run_id, flow_slug, status, input, output, remaining_steps, completed_at)
			select flowc.new_run_id(), 'u', 'completed', '{}', '{}', 0, now() from generate_series(1, $1::int)`, n)
	}
	keysAndRuns(2_000)
	few := measure()
	keysAndRuns(100_000)
	many := measure()
	t.Logf("few: %v, many: %v", few, many)
	for operation, blocks := range many {
		n := 1
		if operation == "fifty" || operation == "fifty duplicates" {
			n = 50
		}
		require.LessOrEqual(t, blocks, few[operation]+12*n+40, operation)
	}
	require.Less(t, many["fifty"], 50*many["one"])
}
