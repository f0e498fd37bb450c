package flowtest_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/flowtest"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/testdata/golden/cron"
	"github.com/flowc-dev/flowc/testdata/golden/cron/report"
	"github.com/flowc-dev/flowc/testdata/golden/cron/tidy"
)

// reporter gives the day of its tick as an amount.
type reporter struct{}

func (reporter) Collect(ctx context.Context) ([]cron.Amount, error) {
	return []cron.Amount{{Cents: handler.Tick(ctx).Day()}}, nil
}

func (reporter) Sum(ctx context.Context, in []cron.Amount) (cron.Total, error) {
	return cron.Total{Cents: 100*in[0].Cents + handler.Tick(ctx).Day()}, nil
}

// TestTick runs a flow as the clock would, inline and in a database.
func TestTick(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	inline := flowtest.Inline(report.Serve(reporter{}))
	at := time.Date(2026, 11, 27, 4, 30, 0, 0, time.UTC)
	run, err := inline.Tick(ctx, report.Slug, at)
	require.NoError(t, err)
	typed, err := report.GetReport(ctx, inline, run.ID())
	require.NoError(t, err)
	total, err := typed.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, 2727, total.Cents)
	info, err := run.Info(ctx)
	require.NoError(t, err)
	require.Equal(t, at, info.Tick)

	// By hand, the tick is now; a run that is started as any other has none.
	byHand, err := runtime.RunSchedule(ctx, inline, report.Slug)
	require.NoError(t, err)
	info, err = byHand.Info(ctx)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), info.Tick, time.Minute)
	total, err = report.StartReportSync(ctx, inline)
	require.NoError(t, err)
	require.Equal(t, 101, total.Cents)

	_, err = inline.Tick(ctx, tidy.Slug, at)
	require.ErrorIs(t, err, runtime.ErrNoSchedule)
	unscheduled := flowtest.Inline(handler.Serve(one.Definition(), []handler.Handler{
		handler.Handle("one", handler.Input[int](), func(context.Context, int) (string, error) { return "", nil }),
	}))
	_, err = unscheduled.Tick(ctx, "one", at)
	require.ErrorIs(t, err, runtime.ErrNoSchedule)

	db := flowtest.Database(t, report.Serve(reporter{}))
	run, err = runtime.RunSchedule(ctx, db, report.Slug)
	require.NoError(t, err)
	typed, err = report.GetReport(ctx, db, run.ID())
	require.NoError(t, err)
	total, err = typed.Wait(ctx)
	require.NoError(t, err)
	info, err = run.Info(ctx)
	require.NoError(t, err)
	day := info.Tick.Local().Day()
	require.Contains(t, []int{101 * day, 101 * info.Tick.UTC().Day()}, total.Cents)
}
