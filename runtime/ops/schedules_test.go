package ops_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/dsl"
	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// nightly returns a flow that has a schedule.
func nightly(cron string) spec.Flow {
	return spec.Flow{Cron: cron, Steps: []spec.Step{{Slug: "report"}}}
}

func TestSchedules(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	schedules, err := ops.ListSchedules(ctx, pool)
	require.NoError(t, err)
	require.Empty(t, schedules)

	result, err := runtime.UpsertFlow(ctx, pool, nightly("CRON_TZ=Asia/Tokyo 30 4 * * *").As("nightly"))
	require.NoError(t, err)
	require.Equal(t, runtime.UpsertCompiled, result.Status)
	_, err = runtime.UpsertFlow(ctx, pool, nightly("@every 1h").As("often"))
	require.NoError(t, err)

	schedules, err = ops.ListSchedules(ctx, pool)
	require.NoError(t, err)
	require.Len(t, schedules, 2)
	s := schedules[0]
	require.Equal(t, "nightly", s.Flow)
	require.Equal(t, "CRON_TZ=Asia/Tokyo 30 4 * * *", s.Cron)
	require.Equal(t, "19:30", s.NextAt.UTC().Format("15:04"))
	require.Zero(t, s.LastAt)
	require.Zero(t, s.Overdue)

	def, err := ops.GetDefinition(ctx, pool, "nightly")
	require.NoError(t, err)
	require.Equal(t, s.Cron, def.Cron)
	result, err = runtime.UpsertFlow(ctx, pool, def)
	require.NoError(t, err)
	require.Equal(t, runtime.UpsertVerified, result.Status)

	// Pausing and resuming say whether they did something.
	for _, step := range []struct {
		do   func() (bool, error)
		want bool
	}{
		{func() (bool, error) { return ops.PauseSchedule(ctx, pool, "often", "too often") }, true},
		{func() (bool, error) { return ops.PauseSchedule(ctx, pool, "often", "") }, false},
	} {
		did, err := step.do()
		require.NoError(t, err)
		require.Equal(t, step.want, did)
	}
	schedules, err = ops.ListSchedules(ctx, pool, "often")
	require.NoError(t, err)
	require.Len(t, schedules, 1)
	require.Equal(t, "too often", schedules[0].PauseReason)
	require.WithinDuration(t, time.Now(), schedules[0].PausedAt, time.Minute)
	require.Zero(t, schedules[0].NextAt)

	// It runs by hand nevertheless.
	run, err := runtime.RunSchedule(ctx, pool, "often")
	require.NoError(t, err)
	newHand(t, pool).Finish("often", "completed", `"done"`)
	_, err = run.Wait(ctx)
	require.NoError(t, err)
	runs, err := ops.ListRuns(ctx, pool, ops.RunFilter{Flows: []string{"often"}})
	require.NoError(t, err)
	require.Len(t, runs, 1)
	require.WithinDuration(t, runs[0].StartedAt, runs[0].Tick, time.Minute)
	require.Zero(t, runs[0].ScheduledAt)
	got, err := runtime.NewFlow[dsl.None](spec.Flow{Slug: "often"}, handler.Nothing()).Get(ctx, pool, run.ID())
	require.NoError(t, err)
	require.Zero(t, got.ScheduledAt(), "a run that was started is not scheduled any more")

	did, err := ops.ResumeSchedule(ctx, pool, "often")
	require.NoError(t, err)
	require.True(t, did)
	did, err = ops.ResumeSchedule(ctx, pool, "often")
	require.NoError(t, err)
	require.False(t, did)

	// A flow without one.
	_, err = ops.PauseSchedule(ctx, pool, "greeting", "")
	require.ErrorIs(t, err, runtime.ErrNoSchedule)
	_, err = ops.ResumeSchedule(ctx, pool, "nobody")
	require.ErrorIs(t, err, runtime.ErrNoSchedule)
	_, err = runtime.RunSchedule(ctx, pool, "greeting")
	require.ErrorIs(t, err, runtime.ErrNoSchedule)
	_, err = runtime.RunSchedule(ctx, pool, "run")
	require.ErrorIs(t, err, runtime.ErrInvalidSlug)

	result, err = runtime.UpsertFlow(ctx, pool, nightly("").As("often"))
	require.NoError(t, err)
	require.Equal(t, runtime.UpsertOptionsUpdated, result.Status)
	schedules, err = ops.ListSchedules(ctx, pool, "often")
	require.NoError(t, err)
	require.Empty(t, schedules)
}

func TestInvalidSchedules(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	_, err := runtime.UpsertFlow(ctx, pool, nightly("30 25 * * *").As("nightly"))
	var invalid *spec.InvalidFlowError
	require.ErrorAs(t, err, &invalid)
	require.Equal(t, `flowc: flow "nightly" is not valid: cron "30 25 * * *": 25 is not within 0 to 23`, err.Error())
	exists, err := runtime.FlowExists(ctx, pool, "nightly")
	require.NoError(t, err)
	require.False(t, exists)

	flow := nightly("@daily")
	flow.Steps[0].Type = spec.TypeMap
	_, err = runtime.UpsertFlow(ctx, pool, flow.As("nightly"))
	require.ErrorAs(t, err, &invalid)
	require.ErrorContains(t, err, "step report: it is a map over the flow's input, which is {} when Cron starts the flow, and has to be a list")
}

func TestNextTicks(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	ticks, err := ops.NextTicks(ctx, pool, "CRON_TZ=Asia/Tokyo 0 9 * * *", 3)
	require.NoError(t, err)
	require.Len(t, ticks, 3)
	for i, tick := range ticks {
		require.Equal(t, "00:00", tick.UTC().Format("15:04"))
		require.Equal(t, time.Duration(i)*24*time.Hour, tick.Sub(ticks[0]))
	}
	_, err = ops.NextTicks(ctx, pool, "CRON_TZ=Asia/Tokio 0 9 * * *", 3)
	require.ErrorIs(t, err, runtime.ErrInvalidOption)
	require.ErrorContains(t, err, `cron "CRON_TZ=Asia/Tokio 0 9 * * *": time zone "Asia/Tokio" not recognized`)
	_, err = ops.NextTicks(ctx, pool, "@daily", 0)
	require.ErrorIs(t, err, runtime.ErrInvalidOption)
}
