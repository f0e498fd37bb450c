//go:build unix

package chaos

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/devdb"
)

// A second signal ends a worker that drains at once, whatever its handlers do. It
// releases what it has in flight, and no attempt is counted.
func TestChaosSecondSignal(t *testing.T) {
	a := newArena(t, nil, "job", "odd")
	f := newFleet(t, errand{URL: a.url, Flow: "job", Grace: time.Hour}, 1)
	heeding := a.startAll(a.url, job, []number{{N: 1, Millis: 3_600_000}}, 0)
	deaf := newFleet(t, errand{URL: a.url, Flow: "odd", Grace: time.Hour}, 1)
	f.all = append(f.all, deaf.all...)
	stones := a.startAll(a.url, odd, []number{{N: 2, Do: "stone deaf"}}, 0)
	require.Eventually(t, func() bool { return len(f.attempts())+len(deaf.attempts()) == 2 }, patience, 10*time.Millisecond)
	<-heeding.done
	<-stones.done

	for _, p := range f.all {
		p.signal(syscall.SIGTERM)
	}
	for _, p := range f.all {
		require.Eventually(t, func() bool { return strings.Contains(p.log.String(), "draining") }, patience, 10*time.Millisecond)
	}
	require.Len(t, f.running(), 2, "they drain")
	for _, p := range f.all {
		began := time.Now()
		p.signal(syscall.SIGTERM)
		p.endedWell()
		took := time.Since(began)
		t.Logf("ended %s after the second signal", took.Round(time.Millisecond))
		require.LessOrEqual(t, took, goal(2*time.Second))
	}
	// What becomes of the deaf one's task is a matter of its timeout, a second.
	require.Equal(t, 1, ask[int](a, `SELECT count(*) FROM pgflow.step_tasks WHERE flow_slug = 'job' AND status = 'queued' AND attempts_count = 0`))
	require.Equal(t, 2, ask[int](a, `SELECT count(*) FROM pgflow.workers WHERE stopped_at IS NOT NULL`))
}

// So it is while the database is away, and then the worker says what it left.
func TestChaosSecondSignalWithoutDatabase(t *testing.T) {
	a := newArena(t, nil, "job")
	f := newFleet(t, errand{URL: a.url, Flow: "job", Grace: time.Hour}, 1)
	l := a.startAll(a.url, job, []number{{N: 1, Millis: 3_600_000}}, 0)
	require.Eventually(t, func() bool { return len(f.attempts()) == 1 }, patience, 10*time.Millisecond)
	<-l.done
	require.NoError(t, a.server.Stop(devdb.Immediate))
	p := f.all[0]
	require.Eventually(t, func() bool { return strings.Contains(p.log.String(), "database unreachable") }, patience, 10*time.Millisecond)
	p.signal(syscall.SIGINT)
	require.Eventually(t, func() bool { return strings.Contains(p.log.String(), "draining") }, patience, 10*time.Millisecond)
	began := time.Now()
	p.signal(syscall.SIGINT)
	p.ended(patience)
	took := time.Since(began)
	t.Logf("ended %s after the second signal", took.Round(time.Millisecond))
	require.LessOrEqual(t, took, goal(2500*time.Millisecond))
	require.Equal(t, 1, p.cmd.ProcessState.ExitCode())
	require.Contains(t, p.log.String(), "its tasks could not be released, they run again once the worker is presumed dead")
	require.NoError(t, a.server.Resume(a.ctx))

	f.add()
	require.Eventually(t, func() bool { return f.repeated() == 1 }, patience, 10*time.Millisecond, "somebody else takes it over")
}
