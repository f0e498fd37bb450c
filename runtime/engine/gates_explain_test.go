package engine_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// reasons gives what a run waits for: the kind, the step, how many tasks, whether it is known
// until when, and the text.
func (r *run) reasons() string {
	r.d.t.Helper()
	return r.d.table(`select kind, step_slug, tasks, until_at is not null, coalesce(message, '-') from flowc.explain_run($1::uuid)`, r.id)
}

// TestExplainTurns: a task says what its gate has no room for, and until when, as far as that
// is known. Where there is room, it waits for a worker.
func TestExplainTurns(t *testing.T) {
	contract(t, func(t *testing.T, d *db) {
		f := d.upsert("f", gatedStep("a", `"concurrency": 2, `+byTenant))
		runs := f.startAll("x", "1", "2", "3")
		w := d.holder("f")
		require.Equal(t, "queued a 1 f -", runs[2].reasons())
		require.Equal(t, "1 2", w.claim("f.a", 2))
		other := f.startAll("y", "4")
		require.Equal(t, `turn a 1 f 2 at once, key "x", and 2 are in flight`, runs[2].reasons())
		require.Equal(t, "queued a 1 f -", other[0].reasons())
		require.Equal(t, "running a 1 f -", runs[0].reasons())
		w.complete("1")
		require.Equal(t, "queued a 1 f -", runs[2].reasons())
		d.exec(`select flowc.hold_gate('f.a', 'x', 60)`)
		w.claim("f.a", 0)
		require.Equal(t, "4", w.claim("f.a", 9))
		require.Equal(t, `turn a 1 t held, 2 at once, key "x"`, runs[2].reasons())
		d.exec(`select flowc.hold_gate('f.a', null, 60)`)
		require.Equal(t, `turn a 1 t held, 2 at once, key "x"`, runs[2].reasons())

		g := d.upsert("g", strings.Replace(gatedStep("a", `"rate": {"tokens": 2, "seconds": 60, "burst": 2}, "gate": "shared"`), `"single"`, `"map"`, 1))
		run := g.start(`[1, 2, 3, 4]`)
		require.Equal(t, "no_worker - 0 f -", run.reasons())
		v := d.holder("g")
		v.claim("g.a", 9)
		require.Equal(t, "turn a 2 t 2/m at gate shared\nrunning a 2 f -", run.reasons())
	})
}
