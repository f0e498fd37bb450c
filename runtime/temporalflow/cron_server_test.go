package temporalflow_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// ticks are the runs of a schedule, by their times.
type ticks struct {
	mu   sync.Mutex
	runs map[time.Time]map[string]bool
}

func (k *ticks) service(slug, cron string) handler.Service {
	return serve(spec.Flow{Slug: slug, Cron: cron, Steps: []spec.Step{{Slug: "work"}}}, map[string]function{
		"work": func(ctx context.Context, _ handler.Values) (any, error) {
			task, _ := handler.TaskFromContext(ctx)
			k.mu.Lock()
			defer k.mu.Unlock()
			if k.runs == nil {
				k.runs = map[time.Time]map[string]bool{}
			}
			at := handler.Tick(ctx)
			if k.runs[at] == nil {
				k.runs[at] = map[string]bool{}
			}
			k.runs[at][task.RunID] = true
			return nil, nil
		},
	})
}

// seen returns how many runs each tick has had.
func (k *ticks) seen() map[time.Time]int {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := map[time.Time]int{}
	for at, runs := range k.runs {
		all[at] = len(runs)
	}
	return all
}

// unschedule ends the schedule of a flow.
func unschedule(t *testing.T, db runtime.DB, service handler.Service) {
	t.Helper()
	flow := service.Definition()
	flow.Cron = ""
	_, err := runtime.UpsertFlow(t.Context(), db, flow)
	require.NoError(t, err)
}

// However many workers there are, each tick has one run.
func TestServerCron(t *testing.T) {
	var k ticks
	service := k.service("ticking", "@every 2s")
	n := open(t, service)
	work(t, n.db, service)
	eventually(t, "five ticks", func() bool { return len(k.seen()) >= 5 })
	unschedule(t, n.db, service)
	for at, runs := range k.seen() {
		require.Equal(t, 1, runs, "%s", at)
		require.False(t, at.IsZero())
	}
}

// All ticks that were missed while nobody worked become one run.
func TestServerMissedTicks(t *testing.T) {
	var k ticks
	service := k.service("missed", "@every 2s")
	n := newNamespace(t)
	require.NoError(t, runtime.UpsertServed(t.Context(), n.db, service))
	time.Sleep(11 * time.Second) // five ticks
	begin := time.Now()
	work(t, n.db, service)
	eventually(t, "ticks go on", func() bool {
		on := 0
		for at := range k.seen() {
			if at.After(begin) {
				on++
			}
		}
		return on >= 3
	})
	unschedule(t, n.db, service)
	missed := 0
	for at, runs := range k.seen() {
		require.Equal(t, 1, runs, "%s", at)
		if !at.After(begin) {
			missed++
		}
	}
	require.Equal(t, 1, missed, "runs of missed ticks")
}

// A paused schedule tells when it was paused, and goes on as it was.
func TestServerPausedSchedule(t *testing.T) {
	n := newNamespace(t)
	ctx := t.Context()
	flow := spec.Flow{Slug: "hourly", Cron: "7 * * * *", Steps: []spec.Step{{Slug: "work"}}}
	_, err := runtime.UpsertFlow(ctx, n.db, flow)
	require.NoError(t, err)
	read := func() ops.ScheduleInfo {
		all, err := ops.ListSchedules(ctx, n.db, "hourly")
		require.NoError(t, err)
		require.Len(t, all, 1)
		return all[0]
	}
	next := read().NextAt
	require.Equal(t, 7, next.Minute())
	before := time.Now().Add(-time.Second)
	changed, err := ops.PauseSchedule(ctx, n.db, "hourly", "a holiday")
	require.NoError(t, err)
	require.True(t, changed)
	paused := read()
	require.Equal(t, "a holiday", paused.PauseReason)
	require.True(t, paused.PausedAt.After(before) && !paused.PausedAt.After(time.Now().Add(time.Second)), paused.PausedAt)
	require.Zero(t, paused.NextAt)
	_, err = ops.ResumeSchedule(ctx, n.db, "hourly")
	require.NoError(t, err)
	resumed := read()
	require.Zero(t, resumed.PausedAt)
	require.Equal(t, 7, resumed.NextAt.Minute())
}
