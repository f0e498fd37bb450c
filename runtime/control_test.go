package runtime_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/spec"
)

func TestCancelRun(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	run, err := typed.Start(ctx, pool, greet{Name: "you"})
	require.NoError(t, err)
	require.NoError(t, runtime.CancelRun(ctx, pool, run.ID(), "changed my mind"))

	info, err := run.Info(ctx)
	require.NoError(t, err)
	require.Equal(t, runtime.RunCancelled, info.Status)
	require.Equal(t, "changed my mind", info.CancelReason)
	require.NotZero(t, info.CancelledAt)
	_, err = run.Wait(ctx)
	var failed *runtime.RunFailedError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, runtime.RunCancelled, failed.Status)
	require.Equal(t, "changed my mind", failed.Message)

	require.ErrorIs(t, runtime.CancelRun(ctx, pool, run.ID(), ""), runtime.ErrWrongStatus)
	require.ErrorIs(t, runtime.CancelRun(ctx, pool, uuid.NewString(), ""), runtime.ErrRunNotFound)
	require.ErrorIs(t, runtime.CancelRun(ctx, pool, "nonsense", ""), runtime.ErrInvalidRunID)
	tasks, err := runtime.ListFlows(ctx, pool, time.Now().Add(-time.Hour))
	require.NoError(t, err)
	require.Zero(t, tasks[0].Waiting, "nothing of it is left for a worker")
}

func TestCancelledRunDropsLateReports(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	h := newHand(t, pool)
	run, err := typed.Start(ctx, pool, greet{Name: "you"})
	require.NoError(t, err)

	var message int64
	err = pool.QueryRow(ctx, `SELECT message_id FROM flowc.claim($1::uuid, '{greeting}', '{1}')`, h.id).Scan(&message)
	require.NoError(t, err)
	require.NoError(t, runtime.CancelRun(ctx, pool, run.ID(), ""))
	var lost []int64
	require.NoError(t, pool.QueryRow(ctx, `SELECT lost FROM flowc.heartbeat($1, '{greeting}', $2, '{1}')`, h.id, []int64{message}).Scan(&lost))
	require.Equal(t, []int64{message}, lost, "the worker is told")
	var status string
	err = pool.QueryRow(ctx, `SELECT task_status FROM flowc.report($1::uuid, $2::text[]::uuid[], '{greet}', '{0}', $3, '{1}', '{completed}', '{"1"}', '{null}', '{null}')`,
		h.id, []string{run.ID()}, []int64{message}).Scan(&status)
	require.NoError(t, err)
	info, err := runtime.GetRunWithStates(ctx, pool, run.ID())
	require.NoError(t, err)
	require.Equal(t, runtime.RunCancelled, info.Status)
	require.Equal(t, runtime.StepStarted, info.States[0].Status)
	require.Nil(t, info.States[0].Output)
}

func TestRetryRun(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	h := newHand(t, pool)
	run, err := typed.Start(ctx, pool, greet{Name: "you"})
	require.NoError(t, err)
	require.ErrorIs(t, runtime.RetryRun(ctx, pool, run.ID()), runtime.ErrWrongStatus)
	h.finish("greeting", "completed", `"hello"`)
	h.finish("greeting", "permanent", "hoarse")
	_, err = run.Wait(ctx)
	require.ErrorContains(t, err, "hoarse")

	require.NoError(t, runtime.RetryRun(ctx, pool, run.ID()))
	info, err := runtime.GetRunWithStates(ctx, pool, run.ID())
	require.NoError(t, err)
	require.Equal(t, runtime.RunRunning, info.Status)
	require.Zero(t, info.FailedAt)
	require.Equal(t, runtime.StepCompleted, info.States[0].Status, "what completed is kept")
	require.Equal(t, runtime.StepStarted, info.States[1].Status)
	require.Empty(t, info.States[1].Error)

	_, step := h.finish("greeting", "completed", `"HELLO"`)
	require.Equal(t, "shout", step)
	out, err := run.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, "HELLO", out)

	tasks, err := runtime.ListTasks(ctx, pool, run.ID())
	require.NoError(t, err)
	require.Len(t, tasks, 2)
	require.Equal(t, 1, tasks[1].Attempts, "a retried task has all its tries")
	require.Len(t, tasks[1].FailedTries, 1, "and remembers those it had")
	require.Equal(t, "hoarse", tasks[1].FailedTries[0].Error)
}

func TestRetryStep(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	h := newHand(t, pool)
	run, err := typed.Start(ctx, pool, greet{Name: "you"})
	require.NoError(t, err)
	h.finish("greeting", "completed", `"hello"`)
	require.ErrorIs(t, runtime.RetryStep(ctx, pool, run.ID(), "greet"), runtime.ErrWrongStatus)
	require.ErrorIs(t, runtime.RetryStep(ctx, pool, run.ID(), "sing"), runtime.ErrRunNotFound)
	h.finish("greeting", "completed", `"HELLO"`)
	out, err := run.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, "HELLO", out)

	require.NoError(t, runtime.RetryStep(ctx, pool, run.ID(), "shout"))
	_, step := h.finish("greeting", "completed", `"HELLO!"`)
	require.Equal(t, "shout", step, "what came before is kept")
	out, err = run.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, "HELLO!", out)
	require.ErrorIs(t, runtime.RetryStep(ctx, pool, uuid.NewString(), "shout"), runtime.ErrRunNotFound)
	require.ErrorIs(t, runtime.RetryStep(ctx, pool, "nonsense", "shout"), runtime.ErrInvalidRunID)
}

func TestPauseFlow(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	paused := func() time.Time {
		flows, err := runtime.ListFlows(ctx, pool, time.Now())
		require.NoError(t, err)
		return flows[0].PausedAt
	}
	changed, err := runtime.PauseFlow(ctx, pool, "greeting")
	require.NoError(t, err)
	require.True(t, changed)
	require.WithinDuration(t, time.Now(), paused(), time.Minute)
	changed, err = runtime.PauseFlow(ctx, pool, "greeting")
	require.NoError(t, err)
	require.False(t, changed)
	_, err = typed.Start(ctx, pool, greet{Name: "you"})
	require.NoError(t, err)
	changed, err = runtime.ResumeFlow(ctx, pool, "greeting")
	require.NoError(t, err)
	require.True(t, changed)
	require.Zero(t, paused())
	_, step := newHand(t, pool).finish("greeting", "completed", `"hello"`)
	require.Equal(t, "greet", step)
	_, err = runtime.PauseFlow(ctx, pool, "nothing")
	require.ErrorIs(t, err, runtime.ErrFlowNotFound)
}

func TestRetryCancelledSchedule(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	run, err := typed.StartIn(ctx, pool, greet{}, time.Hour)
	require.NoError(t, err)
	require.NoError(t, runtime.CancelRun(ctx, pool, run.ID(), ""))
	require.NoError(t, runtime.RetryRun(ctx, pool, run.ID()), "it starts at once then")
	id, step := newHand(t, pool).finish("greeting", "completed", `"x"`)
	require.Equal(t, run.ID(), id)
	require.Equal(t, "greet", step)
}

func TestRescheduleRun(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	run, err := typed.StartIn(ctx, pool, greet{}, time.Hour)
	require.NoError(t, err)
	at := time.Now().Add(2 * time.Hour).Truncate(time.Microsecond)
	require.NoError(t, runtime.RescheduleRun(ctx, pool, run.ID(), at))
	info, err := run.Info(ctx)
	require.NoError(t, err)
	require.Equal(t, runtime.RunScheduled, info.Status)
	require.WithinDuration(t, at, info.ScheduledAt, 0)

	require.ErrorIs(t, runtime.RescheduleRun(ctx, pool, run.ID(), time.Time{}), runtime.ErrInvalidOption)
	require.NoError(t, runtime.CancelRun(ctx, pool, run.ID(), ""))
	require.ErrorIs(t, runtime.RescheduleRun(ctx, pool, run.ID(), at), runtime.ErrWrongStatus)
}

// Every call that steers a run, on runs that it cannot be meant for.
func TestSteeringOddRuns(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	calls := map[string]func(id string) error{
		"CancelRun":     func(id string) error { return runtime.CancelRun(ctx, pool, id, "") },
		"RetryRun":      func(id string) error { return runtime.RetryRun(ctx, pool, id) },
		"RescheduleRun": func(id string) error { return runtime.RescheduleRun(ctx, pool, id, time.Now()) },
		"RunNow":        func(id string) error { _, err := runtime.RunNow(ctx, pool, id, ""); return err },
		"DeleteRun":     func(id string) error { _, err := runtime.DeleteRun(ctx, pool, id); return err },
		"ListTasks":     func(id string) error { _, err := runtime.ListTasks(ctx, pool, id); return err },
	}
	for _, id := range []string{"", "7", "not-a-uuid", "{" + uuid.NewString() + "}", uuid.NewString() + "\x00"} {
		for name, call := range calls {
			require.ErrorIs(t, call(id), runtime.ErrInvalidRunID, "%s %q", name, id)
		}
	}
	absent := map[string]error{
		"CancelRun": runtime.ErrRunNotFound, "RetryRun": runtime.ErrRunNotFound, "RescheduleRun": runtime.ErrRunNotFound,
		"RunNow": nil, "DeleteRun": nil, "ListTasks": nil,
	}
	for name, call := range calls {
		require.ErrorIs(t, call(uuid.NewString()), absent[name], name)
	}
	run, err := typed.Start(ctx, pool, greet{})
	require.NoError(t, err)
	h := newHand(t, pool)
	h.finish("greeting", "completed", `"x"`)
	h.finish("greeting", "completed", `"y"`)
	completed := map[string]error{
		"CancelRun": runtime.ErrWrongStatus, "RetryRun": runtime.ErrWrongStatus, "RescheduleRun": runtime.ErrWrongStatus,
		"RunNow": nil, "ListTasks": nil, "DeleteRun": nil,
	}
	for _, name := range []string{"CancelRun", "RetryRun", "RescheduleRun", "RunNow", "ListTasks", "DeleteRun"} {
		require.ErrorIs(t, calls[name](run.ID()), completed[name], name)
	}
}

// A call whose reply is lost has been done, and is not an error the second time.
func TestSteeringSurvivesLostReplies(t *testing.T) {
	t.Parallel()
	ctx, direct, network, pool := openThrough(t)
	run, err := typed.Start(ctx, pool, greet{})
	require.NoError(t, err)
	network.CutReplies("cancel_run", 1)
	require.NoError(t, runtime.CancelRun(ctx, pool, run.ID(), "enough"))
	require.Equal(t, 1, network.Cuts())
	require.ErrorIs(t, runtime.CancelRun(ctx, pool, run.ID(), "enough"), runtime.ErrWrongStatus)
	network.CutReplies("retry_run", 1)
	require.NoError(t, runtime.RetryRun(ctx, pool, run.ID()))
	require.Equal(t, 2, network.Cuts())
	require.ErrorIs(t, runtime.RetryRun(ctx, pool, run.ID()), runtime.ErrWrongStatus)

	h := newHand(t, direct)
	h.finish("greeting", "permanent", "no")
	network.CutReplies("cancel_run", 1)
	require.ErrorIs(t, runtime.CancelRun(ctx, pool, run.ID(), ""), runtime.ErrWrongStatus, "it was not we who ended it")
	require.Equal(t, 3, network.Cuts())
}

func TestRunNow(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	h := newHand(t, pool)
	run, err := typed.Start(ctx, pool, greet{})
	require.NoError(t, err)
	h.finish("greeting", "failed", "not yet") // tried again in 2 s
	tasks, err := runtime.ListTasks(ctx, pool, run.ID())
	require.NoError(t, err)
	require.Equal(t, runtime.TaskQueued, tasks[0].Status)
	require.Greater(t, time.Until(tasks[0].VisibleAt), time.Second)

	hurried, err := runtime.RunNow(ctx, pool, run.ID(), "shout")
	require.NoError(t, err)
	require.Zero(t, hurried)
	hurried, err = runtime.RunNow(ctx, pool, run.ID(), "")
	require.NoError(t, err)
	require.Equal(t, 1, hurried)
	_, step := h.finish("greeting", "completed", `"now"`)
	require.Equal(t, "greet", step)
}

func TestDeleteRun(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	first, err := typed.Start(ctx, pool, greet{}, runtime.WithIdempotencyKey("once"))
	require.NoError(t, err)
	later, err := typed.Start(ctx, pool, greet{}, runtime.WithDelay(time.Hour))
	require.NoError(t, err)
	for name, refused := range map[string]string{"started": first.ID(), "scheduled": later.ID()} {
		_, err = runtime.DeleteRun(ctx, pool, refused)
		require.ErrorIs(t, err, runtime.ErrWrongStatus, name)
		_, err = runtime.GetRun(ctx, pool, refused)
		require.NoError(t, err, name)
	}
	require.Equal(t, first.Flow()+" "+first.ID(), fmt.Sprint(first))
	require.Equal(t, first.String(), fmt.Sprintf("%+v", *first))
	require.NoError(t, runtime.CancelRun(ctx, pool, later.ID(), ""))
	existed, err := runtime.DeleteRun(ctx, pool, later.ID())
	require.NoError(t, err)
	require.True(t, existed)
	existed, err = runtime.DeleteRun(ctx, pool, first.ID(), runtime.AllowDataLoss())
	require.NoError(t, err)
	require.True(t, existed)
	existed, err = runtime.DeleteRun(ctx, pool, first.ID())
	require.NoError(t, err)
	require.False(t, existed)

	again, err := typed.Start(ctx, pool, greet{}, runtime.WithIdempotencyKey("once"))
	require.NoError(t, err)
	require.False(t, again.Existed(), "its key is free again")
	var left int
	err = pool.QueryRow(ctx, `SELECT (SELECT count(*) FROM pgflow.step_states) + (SELECT count(*) FROM pgflow.step_tasks) + (SELECT count(*) FROM flowc.queue)`).Scan(&left)
	require.NoError(t, err)
	require.Equal(t, 2+1+1, left, "of the second run only")
}

func TestPrune(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	h := newHand(t, pool)
	runs, err := typed.StartMany(ctx, pool, make([]greet, 3))
	require.NoError(t, err)
	h.finish("greeting", "permanent", "no")
	h.finish("greeting", "permanent", "no")
	_, err = pool.Exec(ctx, `UPDATE pgflow.runs SET started_at = started_at - interval '2 days'`)
	require.NoError(t, err)
	_, err = pool.Exec(ctx, `UPDATE pgflow.runs SET failed_at = failed_at - interval '2 days' WHERE run_id = $1::text::uuid`, runs[0].ID())
	require.NoError(t, err)

	for _, want := range []struct {
		opts  runtime.PruneOptions
		count int
	}{
		{runtime.PruneOptions{OlderThan: 72 * time.Hour}, 0},
		{runtime.PruneOptions{OlderThan: 24 * time.Hour, Flows: []string{"another"}}, 0},
		{runtime.PruneOptions{OlderThan: 24 * time.Hour, DryRun: true}, 1},
		{runtime.PruneOptions{OlderThan: 24 * time.Hour, Flows: []string{}}, 1},
		{runtime.PruneOptions{OlderThan: 24 * time.Hour}, 0},
	} {
		count, err := runtime.Prune(ctx, pool, want.opts)
		require.NoError(t, err)
		require.Equal(t, want.count, count)
	}
	for _, never := range []time.Duration{0, -time.Hour} {
		_, err = runtime.Prune(ctx, pool, runtime.PruneOptions{OlderThan: never})
		require.ErrorIs(t, err, runtime.ErrInvalidOption)
	}
	left, err := runtime.ListRuns(ctx, pool, runtime.RunFilter{})
	require.NoError(t, err)
	require.Len(t, left, 2, "the run that failed just now and the one that has not ended")
}

// Many runs are deleted in batches, and those that are told about each.
func TestPruneInBatches(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	_, err := typed.StartMany(ctx, pool, make([]greet, 2300))
	require.NoError(t, err)
	_, err = pool.Exec(ctx, `
UPDATE pgflow.runs SET started_at = now() - interval '2 days', completed_at = now() - interval '1 day', status = 'completed', remaining_steps = 0`)
	require.NoError(t, err)
	var progress []int
	deleted, err := runtime.Prune(ctx, pool, runtime.PruneOptions{
		OlderThan: time.Hour, Progress: func(deleted int) { progress = append(progress, deleted) },
	})
	require.NoError(t, err)
	require.Equal(t, 2300, deleted)
	require.Equal(t, []int{1000, 2000, 2300}, progress)
	require.Zero(t, count(t, pool, `SELECT (SELECT count(*) FROM pgflow.runs) + (SELECT count(*) FROM pgflow.step_tasks) + (SELECT count(*) FROM flowc.queue)`))
}

// Batches become smaller when the database lets no statement take as long as they do, and
// a start that it cancels once is repeated.
func TestShortStatementTimeout(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	_, err := typed.StartMany(ctx, pool, make([]greet, 400))
	require.NoError(t, err)
	// Each run takes a millisecond to delete, and the first start is cancelled.
	_, err = pool.Exec(ctx, `
UPDATE pgflow.runs SET started_at = now() - interval '2 days', completed_at = now() - interval '1 day', status = 'completed', remaining_steps = 0;
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.001); RETURN OLD; END $$;
CREATE TRIGGER slow BEFORE DELETE ON pgflow.runs FOR EACH ROW EXECUTE FUNCTION slow();
CREATE SEQUENCE starts;
CREATE FUNCTION once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF nextval('public.starts') = 1 THEN PERFORM pg_cancel_backend(pg_backend_pid()); PERFORM pg_sleep(60); END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER once BEFORE INSERT ON pgflow.runs FOR EACH ROW EXECUTE FUNCTION once()`)
	require.NoError(t, err)
	impatient := dbtest.With(t, pool, map[string]string{"statement_timeout": "200ms"})
	deleted, err := runtime.Prune(ctx, impatient, runtime.PruneOptions{OlderThan: time.Hour})
	require.NoError(t, err)
	require.Equal(t, 400, deleted)
	_, err = typed.Start(ctx, pool, greet{Name: "Ada"})
	require.NoError(t, err)
	require.Equal(t, 1, count(t, pool, `SELECT count(*) FROM pgflow.runs`))
}

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
	h.finish("greeting", "permanent", "hoarse") // a
	require.NoError(t, runtime.CancelRun(ctx, pool, ids[1], ""))

	list := func(f runtime.RunFilter) []string {
		t.Helper()
		runs, err := runtime.ListRuns(ctx, pool, f)
		require.NoError(t, err)
		got := make([]string, len(runs))
		for i, r := range runs {
			got[i] = r.ID
		}
		return got
	}
	require.Equal(t, []string{later.ID(), other.ID(), ids[4], ids[3], ids[2], ids[1], ids[0]}, list(runtime.RunFilter{}))
	require.Equal(t, []string{later.ID(), other.ID()}, list(runtime.RunFilter{Flows: []string{"other"}}))
	require.Equal(t, []string{ids[0]}, list(runtime.RunFilter{Statuses: []runtime.RunStatus{runtime.RunFailed}}))
	require.Equal(t, []string{later.ID(), ids[1]}, list(runtime.RunFilter{Statuses: []runtime.RunStatus{runtime.RunCancelled, runtime.RunScheduled}}))
	require.Equal(t, []string{ids[3]}, list(runtime.RunFilter{InputContains: json.RawMessage(`{"name": "d"}`)}))
	require.Empty(t, list(runtime.RunFilter{StartedBefore: time.Now().Add(-time.Hour)}))

	var paged []string
	filter := runtime.RunFilter{Limit: 2}
	for range 10 {
		page, err := runtime.ListRuns(ctx, pool, filter)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, r := range page {
			paged = append(paged, r.ID)
		}
		filter.After = &page[len(page)-1]
	}
	require.Equal(t, list(runtime.RunFilter{}), paged, "pages have every run once")

	failed, err := runtime.ListRuns(ctx, pool, runtime.RunFilter{Statuses: []runtime.RunStatus{runtime.RunFailed}})
	require.NoError(t, err)
	require.Equal(t, "greet", failed[0].FailedStep)
	require.Equal(t, "hoarse", failed[0].Error)
	require.Equal(t, 2, failed[0].Steps)
	require.NotZero(t, failed[0].EndedAt)

	for _, bad := range []runtime.RunFilter{
		{Limit: -1}, {Limit: 1001}, {Statuses: []runtime.RunStatus{"done"}},
		{InputContains: raw(``)}, {InputContains: raw(`{`)}, {InputContains: raw(`"\u0000"`)},
		{InputContains: raw(`{"n": 1e131071}`)}, {InputContains: raw(`"\ud800"`)},
	} {
		_, err := runtime.ListRuns(ctx, pool, bad)
		require.ErrorIs(t, err, runtime.ErrInvalidOption)
	}
	_, err = runtime.ListRuns(ctx, pool, runtime.RunFilter{After: &runtime.RunSummary{ID: "7"}})
	require.ErrorIs(t, err, runtime.ErrInvalidRunID)
	require.Empty(t, list(runtime.RunFilter{Flows: []string{"nothing"}}))
	require.Len(t, list(runtime.RunFilter{Flows: []string{}, Statuses: []runtime.RunStatus{}}), 7, "empty means any")
}

func TestFigures(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	h := newHand(t, pool)
	hourAgo := time.Now().Add(-time.Hour)
	_, err := typed.StartMany(ctx, pool, make([]greet, 3))
	require.NoError(t, err)
	h.finish("greeting", "permanent", "no")
	_, err = pool.Exec(ctx, `SELECT flowc.claim($1::uuid, '{greeting}', '{1}')`, h.id)
	require.NoError(t, err)

	flows, err := runtime.ListFlows(ctx, pool, hourAgo)
	require.NoError(t, err)
	require.Len(t, flows, 1)
	f := flows[0]
	require.Equal(t, []int{3, 0, 1, 2}, []int{f.Started, f.Completed, f.Failed, f.Running})
	require.Equal(t, []int{1, 0, 1}, []int{f.Waiting, f.Delayed, f.InHand})
	require.NotZero(t, f.OldestWaiting)
	want, err := typed.Definition().Payload()
	require.NoError(t, err)
	require.JSONEq(t, withEmptyOptions(t, want), string(f.Definition))

	points, err := runtime.Throughput(ctx, pool, hourAgo, 30*time.Minute)
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
		_, err = runtime.Throughput(ctx, pool, since, stretch)
		require.ErrorIs(t, err, runtime.ErrInvalidOption, "%s since %s", stretch, since)
	}
	points, err = runtime.Throughput(ctx, pool, time.Now().Add(time.Hour), time.Minute)
	require.NoError(t, err)
	require.Empty(t, points, "nothing has happened in the future")

	workers, err := runtime.ListWorkers(ctx, pool, hourAgo)
	require.NoError(t, err)
	require.Len(t, workers, 1)
	require.Equal(t, "hand", workers[0].Name)
	require.Equal(t, runtime.WorkerWorking, workers[0].Status)
	require.Equal(t, 1, workers[0].InHand)
	require.Equal(t, []string{"greeting"}, workers[0].Flows)
	require.Equal(t, 1, f.Workers)
	tasks, err := runtime.ListTasksInHand(ctx, pool, 10)
	require.NoError(t, err)
	require.Len(t, tasks, 1)
	require.Equal(t, []any{h.id.String(), "greeting", "greet", 0, 1}, []any{tasks[0].Worker, tasks[0].Flow, tasks[0].Step, tasks[0].Index, tasks[0].Attempt})
	require.True(t, tasks[0].DueAt.After(tasks[0].StartedAt))
	_, err = runtime.ListTasksInHand(ctx, pool, 0)
	require.ErrorIs(t, err, runtime.ErrInvalidOption)
}

// withEmptyOptions is a payload in which every step has options, as the
// database writes it.
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
