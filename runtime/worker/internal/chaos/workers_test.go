//go:build unix

package chaos

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// recoveryTime is how long it may take until a dead worker's tasks run elsewhere,
// whatever their timeout: five seconds of silence, a sweep, and a claim.
const recoveryTime = 7 * time.Second

// Worker processes are killed, one of four every now and then.
func TestChaosKilledWorkers(t *testing.T) {
	r := chances(t)
	a := newArena(t, nil, "sum")
	runs, over := scaled(5000, 200), scaled(60*time.Second, 4*time.Second)
	f := newFleet(t, errand{URL: a.url, Flow: "sum", Most: 20 * time.Millisecond}, 4)
	l := a.start(a.url, sum, runs, over)
	kills := 0
	for l.running() {
		time.Sleep(between(r, scaled(500*time.Millisecond, 250*time.Millisecond), scaled(2*time.Second, 1000*time.Millisecond)))
		running := f.running()
		running[r.IntN(len(running))].kill()
		kills++
		f.add()
	}
	a.settled(l)
	f.stop()
	a.audit(runs)
	times := a.recoveries(f)
	t.Logf("%d kills, %d attempts repeated, recovery %s", kills, f.repeated(), summary(times))
	require.LessOrEqual(t, f.repeated(), kills*atRisk(f.errand.Concurrency))
	require.LessOrEqual(t, quantile(times, 0.99), goal(recoveryTime))
}

// Worker processes are told to stop, one after the other, and replaced.
func TestChaosRollingRestarts(t *testing.T) {
	chances(t)
	a := newArena(t, nil, "sum")
	runs, restarts := scaled(4000, 200), scaled(20, 5)
	over := scaled(40*time.Second, 3*time.Second)
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
	if n := f.repeated(); n > 0 {
		t.Log(strings.Join(list[string](a, `SELECT t::text FROM pgflow.step_tasks t WHERE requeued_count > 0`), "\n"))
	}
	require.Zero(t, f.repeated(), "attempts begun more than once")
	require.Empty(t, list[string](a, `SELECT c::text FROM chaos.reclaims c`))
	require.Empty(t, list[string](a, `SELECT t::text FROM pgflow.step_tasks t WHERE requeued_count > 0`))
}

// atRisk is how many attempts are repeated at most because a worker is killed, as its
// documentation says: those that run, and three times as many that wait to be reported.
func atRisk(concurrency int) int { return 4 * concurrency }

// Workers are killed while a map has many tasks.
func TestChaosKilledFan(t *testing.T) {
	r := chances(t)
	a := newArena(t, nil, "fan")
	tasks := scaled(10_000, 2000)
	f := newFleet(t, errand{URL: a.url, Flow: "fan", Concurrency: 16, Most: 20 * time.Millisecond}, 4)
	began := time.Now()
	l := a.startAll(a.url, fan, []number{{N: tasks}}, 0)
	kills := 0
	for kills < scaled(8, 2) {
		time.Sleep(between(r, 300*time.Millisecond, 800*time.Millisecond))
		running := f.running()
		running[r.IntN(len(running))].kill()
		kills++
		f.add()
	}
	a.settled(l)
	took := time.Since(began)
	f.stop()
	a.auditTables()
	a.auditEffects(tasks + 2)
	require.Equal(t, tasks*(tasks-1), ask[int](a, `SELECT (output ->> 'gather')::int FROM pgflow.runs WHERE status = 'completed'`))
	require.Zero(t, ask[int](a, `SELECT count(*) FROM pgflow.step_tasks WHERE attempts_count - requeued_count <> 1`))
	times := a.recoveries(f)
	t.Logf("%d tasks in %s, %d kills, %d attempts repeated, recovery %s", tasks, took.Round(time.Millisecond), kills, f.repeated(), summary(times))
	require.LessOrEqual(t, f.repeated(), kills*atRisk(f.errand.Concurrency))
	require.LessOrEqual(t, quantile(times, 0.99), goal(recoveryTime))
}

// A worker is frozen for longer than it is taken for living, and thaws. What
// it had is done elsewhere meanwhile, and what it brings then counts for nothing.
func TestChaosFrozenWorker(t *testing.T) {
	a := newArena(t, nil, "job")
	frozen := scaled(15*time.Second, 7*time.Second)
	const done, goesOn = 8, 4 // of the tasks of the frozen one, when it thaws
	var inputs []number
	for i := range done + goesOn {
		length := frozen - 2*time.Second
		if i >= done {
			length = frozen + 3*time.Second
		}
		inputs = append(inputs, number{N: i, Millis: int(length.Milliseconds())})
	}
	f := newFleet(t, errand{URL: a.url, Flow: "job", Concurrency: done + goesOn}, 1)
	l := a.startAll(a.url, job, inputs, 0)
	require.Eventually(t, func() bool { return len(f.attempts()) == done+goesOn }, patience, 10*time.Millisecond)
	victim := f.all[0]
	victim.signal(syscall.SIGSTOP)
	stopped := time.Now()
	f.add()
	time.Sleep(frozen)
	victim.signal(syscall.SIGCONT)
	a.settled(l)
	lost := "lease lost"
	require.Eventually(t, func() bool { return strings.Count(victim.log.String(), lost) == done+goesOn }, patience, 10*time.Millisecond)
	require.Equal(t, goesOn, strings.Count(victim.log.String(), "the context ended"), "whoever is still at it is told")
	require.Equal(t, goesOn, strings.Count(victim.log.String(), "the task is no longer this worker's"))

	more := a.startAll(a.url, job, []number{{N: 100}}, 0)
	a.settled(more)
	f.stop()
	a.auditTables()
	a.auditEffects(done + goesOn)
	last := ask[time.Time](a, `SELECT max(at) FROM chaos.reclaims`)
	t.Logf("taken over %s after it was frozen for %s", last.Sub(stopped).Round(time.Millisecond), frozen)
	require.LessOrEqual(t, last.Sub(stopped), goal(recoveryTime))
}

// Handlers panic, end their process, and heed no deadline, a tenth of each. The
// ended processes are started again, as an init would.
func TestChaosOddHandlers(t *testing.T) {
	r := chances(t)
	a := newArena(t, nil, "odd")
	runs := scaled(1000, 100)
	var inputs []number
	exits := 0
	for i := range runs {
		in := number{N: i}
		switch lot := r.IntN(10); {
		case lot == 2 && i%scaled(1, 3) == 0, i == runs/2: // one at least
			in.Do = "exit"
			exits++
		case lot == 0:
			in.Do = "panic"
		case lot == 1:
			in.Do = "deaf"
		}
		inputs = append(inputs, in)
	}
	f := newFleet(t, errand{URL: a.url, Flow: "odd", Concurrency: 4}, 4)
	l := a.startAll(a.url, odd, inputs, scaled(30*time.Second, 4*time.Second))
	a.settledWhile(l, func() {
		for range 4 - len(f.running()) {
			f.add()
		}
	})
	f.stop()
	a.auditTables()
	stalled := ask[int](a, `SELECT count(*) FROM pgflow.runs WHERE status = 'failed'`)
	waits := list[float64](a, `
SELECT extract(epoch FROM t.completed_at - t.queued_at)::float8 FROM pgflow.step_tasks t JOIN pgflow.runs r USING (run_id)
WHERE r.input ->> 'do' IS NULL AND t.requeued_count = 0 ORDER BY 1`)
	hit := ask[int](a, `SELECT count(*) FROM pgflow.step_tasks t JOIN pgflow.runs r USING (run_id) WHERE r.input ->> 'do' IS NULL AND t.requeued_count > 0`)
	t.Logf("%d processes ended, %d of %d runs stalled; of the plain ones %d were taken over, the others took p50 %.3fs p99 %.3fs max %.3fs",
		exits, stalled, runs, hit, waits[len(waits)/2], waits[len(waits)*99/100], waits[len(waits)-1])
	require.Zero(t, ask[int](a, `SELECT count(*) FROM pgflow.step_tasks WHERE attempts_count - requeued_count > 3 OR requeued_count > 3`))
	require.Equal(t, runs, stalled+ask[int](a, `SELECT count(*) FROM pgflow.runs WHERE status = 'completed'`))
	require.Zero(t, ask[int](a, `
SELECT count(*) FROM pgflow.runs r JOIN pgflow.step_states st USING (run_id)
WHERE r.status = 'failed' AND st.error_message NOT LIKE '%stalled: its worker died or overran its timeout 4 times'`))
	require.LessOrEqual(t, len(f.all)-4, exits, "processes that had to be replaced")
}
