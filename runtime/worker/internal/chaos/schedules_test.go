//go:build unix

package chaos

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/devdb"
	"github.com/flowc-dev/flowc/runtime/ops"
)

// The clock starts a run every second while worker processes are killed and the
// server crashes: no tick is started twice, all that are started end, and the
// schedule goes on where it was.
func TestChaosSchedule(t *testing.T) {
	r := chances(t)
	a := newArena(t, nil, "tick")
	over := scaled(40*time.Second, 6*time.Second)
	f := newFleet(t, errand{URL: a.url, Flow: "tick", Most: 20 * time.Millisecond}, 4)
	kills, crashes := 0, 0
	for began := time.Now(); time.Since(began) < over; {
		time.Sleep(between(r, 300*time.Millisecond, 1200*time.Millisecond))
		if r.IntN(4) == 0 {
			require.NoError(t, a.server.Stop(devdb.Killed))
			require.NoError(t, a.server.Resume(a.ctx))
			crashes++
			continue
		}
		// At the moment of a tick, as far as that can be met.
		time.Sleep(time.Until(ask[time.Time](a, `SELECT next_at FROM flowc.schedules`).Add(-between(r, -5*time.Millisecond, 5*time.Millisecond))))
		running := f.running()
		running[r.IntN(len(running))].kill()
		kills++
		f.add()
	}
	ask[bool](a, `SELECT flowc.pause_schedule('tick')`)
	require.Eventually(t, func() bool { return ask[int](a, `SELECT count(*) FROM pgflow.runs WHERE status <> 'completed'`) == 0 }, patience, 20*time.Millisecond)
	f.stop()
	a.auditTables()
	ticks := list[time.Time](a, `SELECT tick_at FROM pgflow.runs JOIN flowc.ticks USING (run_id) ORDER BY tick_at`)
	require.Len(t, ticks, ask[int](a, `SELECT count(*) FROM pgflow.runs`), "each run is for a tick")
	a.auditEffects(2 * len(ticks))
	missed := 0
	for i := range ticks[1:] {
		distance := ticks[i+1].Sub(ticks[i])
		require.Positive(t, distance)
		require.Zero(t, distance%time.Second, "ticks keep their distance")
		missed += int(distance/time.Second) - 1
	}
	require.Zero(t, ask[int](a, `
SELECT count(*) FROM pgflow.step_states st JOIN flowc.ticks k USING (run_id)
WHERE (st.output #>> '{}')::timestamptz IS DISTINCT FROM k.tick_at`), "handlers that saw another tick")
	schedules, err := ops.ListSchedules(a.ctx, a.pool, "tick")
	require.NoError(t, err)
	require.Empty(t, schedules[0].Error)
	require.True(t, schedules[0].LastAt.Equal(ticks[len(ticks)-1]))
	t.Logf("%d ticks, %d more were missed, %d kills, %d crashes, %d attempts repeated", len(ticks), missed, kills, crashes, f.repeated())
}
