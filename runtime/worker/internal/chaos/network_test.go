//go:build unix

package chaos

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/internal/pgbouncer"
)

// All connections are reset, every second.
func TestChaosResets(t *testing.T) {
	a := newArena(t, nil, "sum")
	proxy, url := a.proxy()
	runs, over := scaled(3000, 250), scaled(30*time.Second, 3*time.Second)
	a.storm(url, url, runs, over, time.Second, time.Second, 500*time.Millisecond, func() time.Time {
		proxy.Reset()
		return time.Now()
	})
}

// Connections are refused for a while, and for so long that all workers have
// been silent for longer than the living are. None of them is taken for dead.
func TestChaosRefusals(t *testing.T) {
	a := newArena(t, nil, "sum")
	proxy, url := a.proxy()
	outages := scaled([]time.Duration{3 * time.Second, 30 * time.Second, 3 * time.Second}, []time.Duration{8 * time.Second, time.Second})
	turn := 0
	runs, over := scaled(3000, 150), scaled(36*time.Second, 3*time.Second)
	a.storm(url, url, runs, over, time.Second, time.Second, 2*time.Second, func() time.Time {
		proxy.Refuse()
		time.Sleep(outages[min(turn, len(outages)-1)])
		turn++
		require.NoError(t, proxy.Accept())
		return time.Now()
	})
	require.Zero(t, ask[int](a, `SELECT count(*) FROM chaos.reclaims`))
}

// All connections of the workers become half-open, at once. Those who start runs
// are spared: pgx holds each dead connection of a user's pool for 15 seconds.
func TestChaosHalfOpen(t *testing.T) {
	a := newArena(t, nil, "sum")
	proxy, url := a.proxy()
	runs, over := scaled(1000, 300), scaled(25*time.Second, 6*time.Second)
	a.storm(url, a.url, runs, over, 2*time.Second, 4*time.Second, 3*time.Second, func() time.Time {
		proxy.Freeze()
		return time.Now()
	})
	require.Zero(t, ask[int](a, `SELECT count(*) FROM chaos.reclaims`))
}

// The network is slow, a quarter of a second for a round trip and 64 kB/s.
func TestChaosSlowNetwork(t *testing.T) {
	a := newArena(t, nil, "sum")
	proxy, url := a.proxy()
	proxy.Slow(100*time.Millisecond, 64<<10)
	runs, over := scaled(400, 40), scaled(13*time.Second, 2*time.Second)
	f := newFleet(t, errand{URL: url, Flow: "sum", Most: 10 * time.Millisecond}, 4)
	began := time.Now()
	l := a.start(url, sum, runs, over)
	a.settled(l)
	t.Logf("%d runs in %s", runs, time.Since(began).Round(time.Millisecond))
	f.stop()
	a.audit(runs)
	require.Zero(t, f.repeated())
	require.Zero(t, ask[int](a, `SELECT count(*) FROM chaos.reclaims`))
}

// A pooler in transaction mode stands before the server, and nobody knows.
func TestChaosPooler(t *testing.T) {
	a := newArena(t, nil, "sum")
	url := pgbouncer.Start(t, a.url)
	runs, over := scaled(3000, 200), scaled(20*time.Second, 3*time.Second)
	f := newFleet(t, errand{URL: url, Flow: "sum", Most: 10 * time.Millisecond}, 4)
	l := a.start(url, sum, runs, over)
	a.settled(l)
	waits := list[float64](a, `SELECT extract(epoch FROM started_at - queued_at)::float8 FROM pgflow.step_tasks WHERE attempts_count = 1 ORDER BY 1`)
	t.Logf("%d starts repeated, tasks wait p50 %.3fs p99 %.3fs max %.3fs", l.errors.Load(),
		waits[len(waits)/2], waits[len(waits)*99/100], waits[len(waits)-1])
	f.stop()
	require.Zero(t, l.errors.Load())
	require.Zero(t, f.repeated())
	require.LessOrEqual(t, waits[len(waits)*99/100], goal(1500*time.Millisecond).Seconds(), "the longest poll interval, and a claim")
	a.base += ask[int](a, connections) // PgBouncer keeps its own
	a.audit(runs)
}
