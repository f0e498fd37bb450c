package ops_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/stretchr/testify/require"
)

func TestListRuns(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	h := newHand(t, pool)
	_, err := runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "other", Steps: []spec.Step{{Slug: "only"}}})
	require.NoError(t, err)
	var ids []string
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		run, err := typed.Start(ctx, pool, greet{Name: name})
		require.NoError(t, err)
		ids = append(ids, run.ID())
	}
	other, err := runtime.StartFlow(ctx, pool, "other", map[string]int{"n": 1})
	require.NoError(t, err)
	later, err := runtime.EnqueueIn(ctx, pool, "other", nil, time.Hour)
	require.NoError(t, err)
	h.Finish("greeting", "permanent", "hoarse") // a
	require.NoError(t, runtime.CancelRun(ctx, pool, ids[1], ""))

	list := func(f ops.RunFilter) []string {
		t.Helper()
		runs, err := ops.ListRuns(ctx, pool, f)
		require.NoError(t, err)
		got := make([]string, len(runs))
		for i, r := range runs {
			got[i] = r.ID
		}
		return got
	}
	require.Equal(t, []string{later.ID(), other.ID(), ids[4], ids[3], ids[2], ids[1], ids[0]}, list(ops.RunFilter{}))
	require.Equal(t, []string{later.ID(), other.ID()}, list(ops.RunFilter{Flows: []string{"other"}}))
	require.Equal(t, []string{ids[0]}, list(ops.RunFilter{Statuses: []runtime.RunStatus{runtime.RunFailed}}))
	require.Equal(t, []string{later.ID(), ids[1]}, list(ops.RunFilter{Statuses: []runtime.RunStatus{runtime.RunCancelled, runtime.RunScheduled}}))
	require.Equal(t, []string{ids[3]}, list(ops.RunFilter{InputContains: json.RawMessage(`{"name": "d"}`)}))
	require.Empty(t, list(ops.RunFilter{StartedBefore: time.Now().Add(-time.Hour)}))

	var paged []string
	filter := ops.RunFilter{Limit: 2}
	for range 10 {
		page, err := ops.ListRuns(ctx, pool, filter)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, r := range page {
			paged = append(paged, r.ID)
		}
		filter.After = &page[len(page)-1]
	}
	require.Equal(t, list(ops.RunFilter{}), paged, "pages have every run once")

	failed, err := ops.ListRuns(ctx, pool, ops.RunFilter{Statuses: []runtime.RunStatus{runtime.RunFailed}})
	require.NoError(t, err)
	require.Equal(t, "greet", failed[0].FailedStep)
	require.Equal(t, "hoarse", failed[0].Error)
	require.Equal(t, 2, failed[0].Steps)
	require.NotZero(t, failed[0].EndedAt)

	for _, bad := range []ops.RunFilter{
		{Limit: -1}, {Limit: 1001}, {Statuses: []runtime.RunStatus{"done"}},
		{InputContains: json.RawMessage(``)}, {InputContains: json.RawMessage(`{`)}, {InputContains: json.RawMessage(`"\u0000"`)},
		{InputContains: json.RawMessage(`{"n": 1e131071}`)}, {InputContains: json.RawMessage(`"\ud800"`)},
	} {
		_, err := ops.ListRuns(ctx, pool, bad)
		require.ErrorIs(t, err, runtime.ErrInvalidOption)
	}
	_, err = ops.ListRuns(ctx, pool, ops.RunFilter{After: &ops.RunSummary{ID: "7"}})
	require.ErrorIs(t, err, runtime.ErrInvalidRunID)
	require.Empty(t, list(ops.RunFilter{Flows: []string{"nothing"}}))
	require.Len(t, list(ops.RunFilter{Flows: []string{}, Statuses: []runtime.RunStatus{}}), 7, "empty means any")
}

func TestFigures(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	h := newHand(t, pool)
	hourAgo := time.Now().Add(-time.Hour)
	_, err := typed.StartMany(ctx, pool, make([]greet, 3))
	require.NoError(t, err)
	h.Finish("greeting", "permanent", "no")
	_, err = pool.Exec(ctx, `SELECT flowc.claim($1::uuid, '{greeting}', '{1}')`, h.ID)
	require.NoError(t, err)

	flows, err := ops.ListFlows(ctx, pool, hourAgo)
	require.NoError(t, err)
	require.Len(t, flows, 1)
	f := flows[0]
	require.Equal(t, []int{3, 0, 1, 2}, []int{f.Started, f.Completed, f.Failed, f.Running})
	require.Equal(t, []int{1, 0, 1}, []int{f.Waiting, f.Delayed, f.InFlight})
	require.NotZero(t, f.OldestWaiting)
	want, err := typed.Definition().Payload()
	require.NoError(t, err)
	require.JSONEq(t, withEmptyOptions(t, want), string(f.Definition))

	points, err := ops.Throughput(ctx, pool, hourAgo, 30*time.Minute)
	require.NoError(t, err)
	var started, failed int
	for _, p := range points {
		started, failed = started+p.Started, failed+p.Failed
	}
	require.Equal(t, 3, started)
	require.Equal(t, 1, failed)
	for since, stretch := range map[time.Time]time.Duration{
		hourAgo: time.Millisecond, hourAgo.Add(1): 0, hourAgo.Add(2): -time.Hour, {}: time.Hour,
	} {
		_, err = ops.Throughput(ctx, pool, since, stretch)
		require.ErrorIs(t, err, runtime.ErrInvalidOption, "%s since %s", stretch, since)
	}
	points, err = ops.Throughput(ctx, pool, time.Now().Add(time.Hour), time.Minute)
	require.NoError(t, err)
	require.Empty(t, points, "nothing has happened in the future")

	workers, err := ops.ListWorkers(ctx, pool, hourAgo)
	require.NoError(t, err)
	require.Len(t, workers, 1)
	require.Equal(t, "hand", workers[0].Name)
	require.Equal(t, ops.WorkerWorking, workers[0].Status)
	require.Equal(t, 1, workers[0].InFlight)
	require.Equal(t, []string{"greeting"}, workers[0].Flows)
	require.Equal(t, 1, f.Workers)
	tasks, err := ops.ListTasksInFlight(ctx, pool, 10)
	require.NoError(t, err)
	require.Len(t, tasks, 1)
	require.Equal(t, []any{h.ID.String(), "greeting", "greet", 0, 1}, []any{tasks[0].Worker, tasks[0].Flow, tasks[0].Step, tasks[0].Index, tasks[0].Attempt})
	require.True(t, tasks[0].DueAt.After(tasks[0].StartedAt))
	_, err = ops.ListTasksInFlight(ctx, pool, 0)
	require.ErrorIs(t, err, runtime.ErrInvalidOption)
}

// withEmptyOptions adds options to every step of a payload, as the database writes it.
func withEmptyOptions(t *testing.T, payload []byte) string {
	t.Helper()
	var doc map[string]any
	require.NoError(t, json.Unmarshal(payload, &doc))
	for _, step := range doc["steps"].([]any) {
		if step := step.(map[string]any); step["options"] == nil {
			step["options"] = map[string]any{}
		}
	}
	text, err := json.Marshal(doc)
	require.NoError(t, err)
	return string(text)
}
