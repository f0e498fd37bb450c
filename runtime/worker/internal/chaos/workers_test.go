//go:build unix

package chaos

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// recoveryTime is how long it may take until a dead worker's tasks run elsewhere,
// whatever their timeout: five seconds of silence, a sweep, and a claim.
const recoveryTime = 7 * time.Second

// F1: worker processes are killed, one of four every now and then.
func TestChaosKilledWorkers(t *testing.T) {
	r := chances(t)
	a := newArena(t, nil, "sum")
	runs, over := scaled(5000, 400), scaled(60*time.Second, 8*time.Second)
	f := newFleet(t, errand{URL: a.url, Flow: "sum", Most: 20 * time.Millisecond}, 4)
	l := a.start(a.url, sum, runs, over)
	kills := 0
	for l.running() {
		time.Sleep(between(r, 500*time.Millisecond, 2*time.Second))
		running := f.running()
		running[r.IntN(len(running))].kill()
		kills++
		f.add()
	}
	a.settled(l)
	f.stop()
	a.audit(runs)
	times := a.recoveries(f)
	t.Logf("%d kills, %d tries repeated, recovery %s", kills, f.repeated(), summary(times))
	require.LessOrEqual(t, f.repeated(), kills*f.errand.Concurrency)
	require.LessOrEqual(t, quantile(times, 0.99), recoveryTime)
}

// F2: worker processes are told to stop, one after the other, and replaced.
func TestChaosRollingRestarts(t *testing.T) {
	chances(t)
	a := newArena(t, nil, "sum")
	runs, restarts := scaled(4000, 400), scaled(20, 5)
	over := scaled(40*time.Second, 5*time.Second)
	f := newFleet(t, errand{URL: a.url, Flow: "sum", Most: 20 * time.Millisecond}, 4)
	l := a.start(a.url, sum, runs, over)
	for range restarts {
		time.Sleep(over / time.Duration(restarts+1))
		f.add()
		f.running()[0].stop()
	}
	a.settled(l)
	f.stop()
	a.audit(runs)
	require.Zero(t, f.repeated(), "tries begun more than once")
	require.Zero(t, ask[int](a, `SELECT count(*) FROM chaos.takeovers`))
	require.Zero(t, ask[int](a, `SELECT count(*) FROM pgflow.step_tasks WHERE requeued_count > 0`))
}
