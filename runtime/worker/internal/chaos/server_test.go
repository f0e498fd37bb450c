//go:build unix

package chaos

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/devdb"
)

// storm starts four workers and runs of sum, breaks things until all runs have
// been started, and audits. harm breaks something once, and gives the moment at
// which it was whole again.
func (a *arena) storm(workers, starters string, runs int, over, least, most time.Duration, resume time.Duration, harm func() time.Time) {
	a.t.Helper()
	r := chances(a.t)
	f := newFleet(a.t, errand{URL: workers, Flow: "sum", Most: 10 * time.Millisecond}, 4)
	began := time.Now()
	l := a.start(starters, sum, runs, over)
	var whole []time.Time
	for l.running() {
		time.Sleep(between(r, least, most))
		whole = append(whole, harm())
	}
	a.settled(l)
	took := time.Since(began)
	require.Len(a.t, f.running(), 4, "no worker gave up")
	gaps := a.gapsAfter(whole)
	a.t.Logf("%d faults, %d starts repeated, %d attempts repeated, %d reclaims, next claim after %s",
		len(whole), l.errors.Load(), f.repeated(), ask[int](a, `SELECT count(*) FROM chaos.reclaims`), summary(gaps))
	lines := 0
	for _, p := range f.all {
		lines = max(lines, strings.Count(p.lines(), "\n"))
	}
	require.LessOrEqual(a.t, lines, 5+int(took.Seconds()), "lines of log, for a second each")
	require.LessOrEqual(a.t, quantile(gaps, 1), goal(resume), "from a fault's end to the next claim")
	f.stop()
	a.audit(runs)
}

// The server is restarted, and killed.
func TestChaosServerRestarts(t *testing.T) {
	if !full {
		t.Parallel()
	}
	for name, mode := range map[string]devdb.StopMode{"fast": devdb.Fast, "immediate": devdb.Immediate, "killed": devdb.Killed} {
		t.Run(name, func(t *testing.T) {
			a := newArena(t, nil, "sum")
			r := chances(t)
			runs, over := scaled(2500, 150), scaled(25*time.Second, 3*time.Second)
			a.storm(a.url, a.url, runs, over, time.Second, 2*time.Second, time.Second, func() time.Time {
				require.NoError(t, a.server.Stop(mode))
				time.Sleep(between(r, 0, 2*time.Second))
				require.NoError(t, a.server.Resume(a.ctx))
				return time.Now()
			})
		})
	}
}

// All connections are terminated, twice a second.
func TestChaosTerminatedConnections(t *testing.T) {
	a := newArena(t, nil, "sum")
	runs, over := scaled(3000, 200), scaled(30*time.Second, 3*time.Second)
	a.storm(a.url, a.url, runs, over, 500*time.Millisecond, 500*time.Millisecond, 500*time.Millisecond, func() time.Time {
		_, err := a.pool.Exec(a.ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
		require.NoError(t, err)
		return time.Now()
	})
}

// Every transaction is serializable unless it says otherwise.
func TestChaosSerializable(t *testing.T) {
	a := newArena(t, map[string]string{"default_transaction_isolation": "serializable"}, "sum")
	runs, over := scaled(1500, 200), scaled(8*time.Second, 2*time.Second)
	f := newFleet(t, errand{URL: a.url, Flow: "sum", Concurrency: 4, Most: 10 * time.Millisecond}, scaled(16, 4))
	began := time.Now()
	l := a.start(a.url, sum, runs, over)
	a.settled(l)
	failures := strings.Count(a.serverLog(), "could not serialize access")
	t.Logf("%d runs in %s, %d starts repeated, %d serialization failures", runs, time.Since(began).Round(time.Millisecond), l.errors.Load(), failures)
	require.Zero(t, l.errors.Load())
	f.stop()
	a.audit(runs)
}
