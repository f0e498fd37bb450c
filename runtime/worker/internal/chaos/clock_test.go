//go:build linux

package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
)

// clockEnv with the value "required" makes a test fail that finds no libfaketime.
const clockEnv = "FLOWC_FAKETIME"

// A serverClock is that of a server, which goes as it is told.
type serverClock struct {
	t    *testing.T
	file string
}

// newClockArena is an arena whose server's clock is off by some seconds. Its own
// programs, and the workers, have the clock of the machine. It changes the environment for a
// while, so no test that runs beside others may call it.
func newClockArena(t *testing.T, offset int, slugs ...string) (*arena, *serverClock) {
	t.Helper()
	libraries, err := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1")
	require.NoError(t, err)
	if len(libraries) == 0 {
		require.NotEqual(t, "required", os.Getenv(clockEnv), "there is no libfaketime")
		t.Skip("needs libfaketime (apt-get install libfaketime)")
	}
	dir, err := os.MkdirTemp("/tmp", "flowc-clock-") // the server's user has to read it
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	clock := &serverClock{t: t, file: filepath.Join(dir, "offset")}
	clock.set(offset)
	env := map[string]string{
		"LD_PRELOAD": libraries[0], "FAKETIME_TIMESTAMP_FILE": clock.file, "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
	}
	for name, value := range env {
		require.NoError(t, os.Setenv(name, value))
	}
	defer func() { // the server has it, nobody else is to
		for name := range env {
			require.NoError(t, os.Unsetenv(name))
		}
	}()
	return startArena(t, nil, slugs...), clock
}

// set sets how many seconds the clock is off. All processes of the server notice at once:
// if some went on with the old time for a while, one would take workers for dead whose
// heartbeats another has noted, and no server's clock does that.
func (c *serverClock) set(offset int) {
	c.t.Helper()
	next := c.file + ".next"
	require.NoError(c.t, os.WriteFile(next, fmt.Appendf(nil, "%+d\n", offset), 0o644))
	require.NoError(c.t, os.Chmod(next, 0o644))
	require.NoError(c.t, os.Rename(next, c.file))
}

// off is by how much the server's clock is ahead.
func (a *arena) off() time.Duration {
	return time.Until(ask[time.Time](a, `SELECT clock_timestamp()`))
}

// The server's clock is five minutes ahead of all others, or behind, or jumps back
// while everything is under way. Only the server's time counts: leases, delays and
// schedules are as long as they should be, and nothing is done twice.
func TestChaosClock(t *testing.T) {
	for _, tt := range []struct {
		name         string
		offset, jump int // seconds
	}{
		{"ahead", 300, 0}, {"behind", -300, 0}, {"jumps back", 300, scaled(60, 6)},
	} {
		a, clock := newClockArena(t, tt.offset, "sum", "job", "tick")
		a.timeless = tt.jump > 0
		t.Run(tt.name, func(t *testing.T) {
			if !full {
				t.Parallel()
			}
			a.t, clock.t = t, t
			require.InDelta(t, tt.offset, a.off().Seconds(), 5)
			var fleets []*fleet
			for flow, size := range map[string]int{"sum": 3, "job": 1, "tick": 2} {
				fleets = append(fleets, newFleet(t, errand{URL: a.url, Flow: flow, Most: 10 * time.Millisecond}, size))
			}
			runs, over := scaled(1000, 60), scaled(10*time.Second, 5*time.Second)
			began := time.Now()
			l := a.start(a.url, sum, runs, over)

			// What is put off is put off for as long as it should be.
			const delay = 2 * time.Second
			run, err := job.Start(a.ctx, a.pool, number{N: 1}, runtime.WithDelay(delay))
			require.NoError(t, err)
			if tt.jump == 0 {
				_, err = run.Wait(a.ctx)
				require.NoError(t, err)
				took := time.Since(began)
				require.GreaterOrEqual(t, took, delay)
				require.LessOrEqual(t, took, delay+goal(1500*time.Millisecond))
			} else {
				time.Sleep(over / 2)
				clock.set(tt.offset - tt.jump)
				require.Eventually(t, func() bool { return a.off() < time.Duration(tt.offset-tt.jump/2)*time.Second }, patience, 10*time.Millisecond)
				// The workers' connections have seen it, too, while runs are being started.
				require.Eventually(t, func() bool {
					return ask[int](a, `SELECT count(*) FROM pgflow.workers WHERE last_heartbeat_at > clock_timestamp() + interval '1 s'`) == 0
				}, patience, 10*time.Millisecond)
				require.True(t, l.running())
				_, err = run.Wait(a.ctx)
				require.NoError(t, err)
			}
			<-l.done
			ask[bool](a, `SELECT flowc.pause_schedule('tick')`)
			a.settled(l)
			took := time.Since(began)
			for _, f := range fleets {
				f.stop()
				require.Zero(t, f.repeated(), "attempts begun more than once")
			}
			a.auditTables()
			require.Zero(t, ask[int](a, `SELECT count(*) FROM chaos.reclaims`), "leases that were lost")
			require.Equal(t, runs, ask[int](a, `SELECT count(*) FROM pgflow.runs WHERE flow_slug = 'sum' AND status = 'completed'`))
			a.auditEffects(ask[int](a, `SELECT count(*) FROM pgflow.step_tasks`))
			rows, err := a.pool.Query(a.ctx, `SELECT (input ->> 'n')::int, (output ->> 'total')::int FROM pgflow.runs WHERE flow_slug = 'sum'`)
			require.NoError(t, err)
			var n, total int
			_, err = pgx.ForEachRow(rows, []any{&n, &total}, func() error {
				require.Equal(t, wantSum(n), total)
				return nil
			})
			require.NoError(t, err)

			ticks := ask[int](a, `SELECT count(*) FROM flowc.ticks`)
			require.Equal(t, ticks, ask[int](a, `SELECT count(DISTINCT tick_at) FROM flowc.ticks`), "ticks started twice")
			require.Equal(t, ticks, ask[int](a, `SELECT count(*) FROM pgflow.runs WHERE flow_slug = 'tick'`))
			require.NotZero(t, ticks)
			require.LessOrEqual(t, ticks, int(took.Seconds())+2, "no more ticks than seconds")
			t.Logf("%d runs and %d ticks in %s, the clock off by %s in the end", runs, ticks, took.Round(time.Millisecond), a.off().Round(time.Second))
		})
	}
}
