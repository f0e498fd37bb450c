package worker_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/dsl"
	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// ticking is a job that the clock starts every so often, and what its handler saw.
type ticking struct {
	handler.Service
	seen chan time.Time
}

func newTicking(slug, cron string) *ticking {
	c := &ticking{seen: make(chan time.Time, 1000)}
	c.Service = serve(job[dsl.None, string](slug, spec.Flow{Cron: cron}),
		func(ctx context.Context, _ dsl.None) (string, error) {
			c.seen <- handler.Tick(ctx)
			return "", nil
		})
	return c
}

// TestTicks has four workers and a schedule: each tick is one run.
func TestTicks(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	c := newTicking("sweep", "@every 1s")
	pool := database(t, c.Service)
	for range 4 {
		run(t, pool, worker.Config{Concurrency: 2}, c.Service)
	}
	var ticks []time.Time
	for range 4 {
		ticks = append(ticks, receive(t, c.seen))
	}
	slices.SortFunc(ticks, time.Time.Compare) // two workers may tell of theirs at once
	for i, tick := range ticks[1:] {
		gap := tick.Sub(ticks[i])
		require.Greater(t, gap, time.Millisecond, "ticks %v", ticks)
		require.Zero(t, gap.Round(time.Microsecond)%time.Second, "ticks %v", ticks) // some are missed where all workers are late
	}
	// However long it took to be started, no tick was started twice.
	require.Equal(t, 0, count(t, pool, `SELECT count(*) - count(DISTINCT tick_at) FROM flowc.ticks`))

	schedules, err := ops.ListSchedules(ctx, pool)
	require.NoError(t, err)
	require.Len(t, schedules, 1)
	require.Equal(t, "sweep", schedules[0].Flow)
	require.False(t, schedules[0].LastAt.Before(ticks[3]))
}

// TestTickOfALaterUpsert wakes a worker that waits for a later tick.
func TestTickOfALaterUpsert(t *testing.T) {
	t.Parallel()
	c := newTicking("sweep", "@every 1h")
	pool := database(t, c.Service)
	run(t, pool, worker.Config{}, c.Service)
	eventually(t, func() bool { return count(t, pool, `SELECT count(*) FROM flowc.idle_workers`) == 1 }, "the worker is not idle")
	upsert(t, pool, newTicking("sweep", "@every 1s").Service)
	receive(t, c.seen)
}

// TestTicksOfStoppingWorkers has workers come and go all the time: each tick is still
// one run, and all of them end.
func TestTicksOfStoppingWorkers(t *testing.T) {
	t.Parallel()
	c := newTicking("sweep", "@every 1s")
	pool := database(t, c.Service)
	var all sync.WaitGroup
	ctx, stop := context.WithCancel(testContext(t))
	defer stop()
	for i := range 3 {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				w, err := worker.New(pool, worker.Config{Name: fmt.Sprint(i), Logger: slog.New(slog.DiscardHandler)}, c.Service)
				if err != nil {
					t.Error(err)
					return
				}
				lives, die := context.WithTimeout(ctx, time.Duration(300+100*i)*time.Millisecond)
				if err := w.Run(lives); err != nil {
					t.Error(err)
				}
				die()
			}
		})
	}
	for range 4 {
		receive(t, c.seen)
	}
	stop()
	all.Wait()
	require.Zero(t, count(t, pool, `SELECT count(*) - count(DISTINCT tick_at) FROM flowc.ticks`))
	require.Zero(t, count(t, pool, `SELECT count(*) FROM flowc.ticks WHERE run_id NOT IN (SELECT run_id FROM pgflow.runs)`))
}

// TestTick is zero in a run that no schedule started, and the same in each
// attempt and step of one that it did.
func TestTick(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	seen := make(chan time.Time, 10)
	def := spec.Flow{Slug: "report",
		Cron: "@daily", BaseDelay: spec.Set(time.Duration(0)),
		Steps: []spec.Step{{Slug: "collect"}, {Slug: "sum", Deps: []string{"collect"}}},
	}
	note := func(ctx context.Context, _ handler.Values) (any, error) {
		seen <- handler.Tick(ctx)
		if task, _ := handler.TaskFromContext(ctx); task.Step == "sum" && task.Attempt == 1 {
			return nil, fmt.Errorf("once more")
		}
		return 1, nil
	}
	service := handler.Serve(def, []handler.Handler{handler.HandleValues("collect", note), handler.HandleValues("sum", note)})
	pool := database(t, service)
	run(t, pool, worker.Config{}, service)

	byHand, err := runtime.StartFlow(ctx, pool, "report", nil)
	require.NoError(t, err)
	_, err = byHand.Wait(ctx)
	require.NoError(t, err)
	for range 3 {
		require.Zero(t, receive(t, seen))
	}

	started, err := runtime.RunSchedule(ctx, pool, "report")
	require.NoError(t, err)
	_, err = started.Wait(ctx)
	require.NoError(t, err)
	info, err := started.Info(ctx)
	require.NoError(t, err)
	require.WithinDuration(t, info.StartedAt, info.Tick, patience)
	for range 3 {
		require.True(t, info.Tick.Equal(receive(t, seen)))
	}
}

// TestPGFlowNoSchedules refuses to serve what nobody would start.
func TestPGFlowNoSchedules(t *testing.T) {
	t.Parallel()
	unscheduled := newTicking("sweep", "")
	ctx, pool, _ := contract(t, unscheduled.Service)
	w, err := worker.New(pool, worker.Config{}, newTicking("sweep", "@daily").Service)
	require.NoError(t, err)
	err = w.Run(ctx)
	require.ErrorIs(t, err, runtime.ErrNeedsEngine)
	require.ErrorContains(t, err, "flow sweep has a schedule")
}

// TestScheduleThatIsNotDeclared is told, and no reason not to work.
func TestScheduleThatIsNotDeclared(t *testing.T) {
	t.Parallel()
	stored := newTicking("sweep", "@every 1s")
	pool := database(t, stored.Service, newTicking("same", "@daily").Service)
	declared := newTicking("sweep", "@daily")
	w := run(t, pool, worker.Config{}, declared.Service, newTicking("same", "@daily").Service)
	receive(t, declared.seen)
	require.Contains(t, w.log.String(), `flow=sweep declared=@daily stored="@every 1s"`)
	require.NotContains(t, w.log.String(), "flow=same declared")
}
