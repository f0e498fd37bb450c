package worker_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/dsl"
	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/internal/faultnet"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// An idle worker is notified by those who start runs, and need not poll for them.
func TestIdleWorkerIsWoken(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	echo := job[int, int]("echo", spec.Flow{})
	service := serve(echo, func(_ context.Context, n int) (int, error) { return n, nil })
	pool := database(t, service)
	seen := newRecords()
	run(t, pool, worker.Config{Metrics: seen}, service)
	other := dbtest.With(t, pool, nil) // starts through the worker's own pool claim as well
	idle := func() bool { return count(t, pool, `SELECT count(*) FROM flowc.idle_workers`) == 1 }
	eventually(t, idle, "the worker is idle")
	const runs = 60
	polls := seen.wokenBy(worker.WakeReasonPoll)
	for n := range runs {
		eventually(t, idle, "the worker is idle again")
		out, err := echo.StartSync(ctx, other, n)
		require.NoError(t, err)
		require.Equal(t, n, out)
	}
	require.Less(t, seen.wokenBy(worker.WakeReasonPoll)-polls, runs, "otherwise each run would have been found by a poll")
	require.Greater(t, seen.wokenBy(worker.WakeReasonNotification), runs/2)
}

func TestScheduledRunStartsInTime(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	now := job[dsl.None, time.Time]("now", spec.Flow{})
	service := handler.Serve(now.Definition(), []handler.Handler{
		handler.Handle("now", handler.Nothing(), handler.NoInput(func(context.Context) (time.Time, error) { return time.Now(), nil })),
	})
	pool := database(t, service)
	run(t, pool, worker.Config{}, service)
	scheduled, err := now.StartIn(ctx, pool, dsl.None{}, 700*time.Millisecond)
	require.NoError(t, err)
	at, err := scheduled.Wait(ctx)
	require.NoError(t, err)
	require.False(t, at.Before(scheduled.ScheduledAt()), "never early")
	require.Less(t, at.Sub(scheduled.ScheduledAt()), time.Second)
}

// A worker that has nothing to do leaves the database alone, but for a heartbeat
// and a poll now and then.
func TestIdle(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := job[int, int]("work", spec.Flow{})
	service := serve(flow, func(_ context.Context, n int) (int, error) { return n, nil })
	direct := database(t, service)
	var network faultnet.Network
	run(t, through(t, &network, direct), worker.Config{}, service)
	_, err := flow.StartSync(ctx, direct, 1)
	require.NoError(t, err)
	eventually(t, func() bool { return count(t, direct, `SELECT count(*) FROM flowc.idle_workers`) == 1 }, "it is idle")
	const window = 4 * time.Second
	before := network.Sent()
	time.Sleep(window)
	// A claim a second, a listener's ping every two, and every 1.5 seconds a
	// heartbeat and two statements for all; each may need a ping before.
	require.Less(t, network.Sent()-before, 40)
}

// What a transaction did long before its commit wakes a worker at the commit, as if it had
// just been done: no heartbeat has to find it.
func TestLateCommitsWake(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	def := spec.Flow{Slug: "f", Steps: []spec.Step{
		{Slug: "ask", Type: spec.TypeWait, Key: spec.Path{spec.RunKey}},
		{Slug: "work", Deps: []string{"ask"}},
	}}
	flow := runtime.NewFlow[string](def, handler.Output[int]("work"))
	service := handler.Serve(def, []handler.Handler{
		handler.Handle("work", handler.Nothing(), handler.NoInput(func(context.Context) (int, error) { return 1, nil })),
	})
	pool := database(t, service)
	seen := newRecords()
	run(t, pool, worker.Config{Metrics: seen}, service)
	other := dbtest.With(t, pool, nil)
	for name, act := range map[string]func(tx pgx.Tx, id string) error{
		"signal": func(tx pgx.Tx, id string) error {
			_, err := runtime.Signal(ctx, tx, id, "ask", 1)
			return err
		},
		"signal by key": func(tx pgx.Tx, _ string) error { return runtime.SignalBy(ctx, tx, "f", "ask", "k", 1) },
		"cancel":        func(tx pgx.Tx, id string) error { return runtime.CancelRun(ctx, tx, id, "why") },
		"start": func(tx pgx.Tx, id string) error {
			started, err := flow.Start(ctx, tx, "other")
			if err == nil {
				_, err = runtime.Signal(ctx, tx, started.ID(), "ask", 1)
			}
			if err == nil {
				_, err = runtime.Signal(ctx, tx, id, "ask", 1)
			}
			return err
		},
	} {
		const times = 5
		woken := 0
		for range times {
			r, err := flow.Start(ctx, other, "k")
			require.NoError(t, err)
			eventually(t, func() bool {
				return count(t, pool, `SELECT count(*) FROM flowc.idle_workers`) == 1 && count(t, pool, `SELECT count(*) FROM flowc.waits WHERE unchecked_at IS NOT NULL`) == 0
			}, "the worker is idle, and has done what is due")
			tx, err := other.Begin(ctx)
			require.NoError(t, err)
			require.NoError(t, act(tx, r.ID()))
			for _, age := range []string{
				`UPDATE flowc.signals SET pending_at = pending_at - interval '1 hour'`,
				`UPDATE flowc.keyed_signals SET pending_at = pending_at - interval '1 hour'`,
				`UPDATE flowc.waits SET unchecked_at = unchecked_at - interval '1 hour'`,
				`UPDATE flowc.requests SET requested_at = requested_at - interval '1 hour'`,
			} {
				_, err = tx.Exec(ctx, age)
				require.NoError(t, err)
			}
			before := seen.wokenBy(worker.WakeReasonTimer)
			require.NoError(t, tx.Commit(ctx))
			_, err = r.Via(other).Wait(ctx)
			if name != "cancel" {
				require.NoError(t, err)
			}
			if seen.wokenBy(worker.WakeReasonTimer) > before {
				woken++
			}
		}
		require.Greater(t, woken, times/2, "%s: otherwise heartbeats found them", name)
	}
}

// An answer that is too large to be delivered beside others is delivered all the same.
func TestLargeAnswers(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	def := spec.Flow{Slug: "f", Steps: []spec.Step{
		{Slug: "ask", Type: spec.TypeWait},
		{Slug: "work", Deps: []string{"ask"}},
	}}
	flow := runtime.NewFlow[string](def, handler.Output[int]("work"))
	service := handler.Serve(def, []handler.Handler{
		handler.Handle("work", handler.Output[[]int]("ask"), func(_ context.Context, all []int) (int, error) { return len(all), nil }),
	})
	pool := database(t, service)
	run(t, pool, worker.Config{}, service)
	for _, size := range []int{20_000, 1} {
		r, err := flow.Start(ctx, pool, "x")
		require.NoError(t, err)
		_, err = runtime.Signal(ctx, pool, r.ID(), "ask", make([]int, size))
		require.NoError(t, err)
		got, err := r.Wait(ctx)
		require.NoError(t, err)
		require.Equal(t, size, got)
	}
}
