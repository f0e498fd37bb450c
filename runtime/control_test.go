package runtime_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
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
	tasks, err := ops.ListFlows(ctx, pool, time.Now().Add(-time.Hour))
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
	err = pool.QueryRow(ctx, `SELECT message_id FROM flowc.claim($1::uuid, '{greeting}', '{1}')`, h.ID).Scan(&message)
	require.NoError(t, err)
	require.NoError(t, runtime.CancelRun(ctx, pool, run.ID(), ""))
	var lost []int64
	require.NoError(t, pool.QueryRow(ctx, `SELECT lost FROM flowc.heartbeat($1, '{greeting}', $2, '{1}')`, h.ID, []int64{message}).Scan(&lost))
	require.Equal(t, []int64{message}, lost, "the worker is told")
	var status string
	err = pool.QueryRow(ctx, `SELECT task_status FROM flowc.report($1::uuid, $2::text[]::uuid[], '{greet}', '{0}', $3, '{1}', '{completed}', '{"1"}', '{null}', '{null}')`,
		h.ID, []string{run.ID()}, []int64{message}).Scan(&status)
	require.NoError(t, err)
	info, err := runtime.GetRun(ctx, pool, run.ID(), runtime.WithStates())
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
	h.Finish("greeting", "completed", `"hello"`)
	h.Finish("greeting", "permanent", "hoarse")
	_, err = run.Wait(ctx)
	require.ErrorContains(t, err, "hoarse")

	require.NoError(t, runtime.RetryRun(ctx, pool, run.ID()))
	info, err := runtime.GetRun(ctx, pool, run.ID(), runtime.WithStates())
	require.NoError(t, err)
	require.Equal(t, runtime.RunRunning, info.Status)
	require.Zero(t, info.FailedAt)
	require.Equal(t, runtime.StepCompleted, info.States[0].Status, "what completed is kept")
	require.Equal(t, runtime.StepStarted, info.States[1].Status)
	require.Empty(t, info.States[1].Error)

	_, step := h.Finish("greeting", "completed", `"HELLO"`)
	require.Equal(t, "shout", step)
	out, err := run.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, "HELLO", out)

	tasks, err := ops.ListTasks(ctx, pool, run.ID(), ops.TaskFilter{OutputBytes: ops.AllOutputs})
	require.NoError(t, err)
	require.Len(t, tasks, 2)
	require.Equal(t, 1, tasks[1].Attempts, "a retried task has all its attempts")
	require.Len(t, tasks[1].FailedAttempts, 1, "and remembers those it had")
	require.Equal(t, "hoarse", tasks[1].FailedAttempts[0].Error)
}

func TestRetryStep(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	h := newHand(t, pool)
	run, err := typed.Start(ctx, pool, greet{Name: "you"})
	require.NoError(t, err)
	h.Finish("greeting", "completed", `"hello"`)
	require.ErrorIs(t, runtime.RetryStep(ctx, pool, run.ID(), "greet"), runtime.ErrWrongStatus)
	require.ErrorIs(t, runtime.RetryStep(ctx, pool, run.ID(), "sing"), runtime.ErrRunNotFound)
	h.Finish("greeting", "completed", `"HELLO"`)
	out, err := run.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, "HELLO", out)

	require.NoError(t, runtime.RetryStep(ctx, pool, run.ID(), "shout"))
	_, step := h.Finish("greeting", "completed", `"HELLO!"`)
	require.Equal(t, "shout", step, "what came before is kept")
	out, err = run.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, "HELLO!", out)
	require.ErrorIs(t, runtime.RetryStep(ctx, pool, uuid.NewString(), "shout"), runtime.ErrRunNotFound)
	require.ErrorIs(t, runtime.RetryStep(ctx, pool, "nonsense", "shout"), runtime.ErrInvalidRunID)
}

func TestRetryCancelledSchedule(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	run, err := typed.StartIn(ctx, pool, greet{}, time.Hour)
	require.NoError(t, err)
	require.NoError(t, runtime.CancelRun(ctx, pool, run.ID(), ""))
	require.NoError(t, runtime.RetryRun(ctx, pool, run.ID()), "it starts at once then")
	id, step := newHand(t, pool).Finish("greeting", "completed", `"x"`)
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

// The priority of a run is that of its start until it is set, in a transaction when that commits.
func TestSetPriority(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	started, err := typed.Start(ctx, pool, greet{}, runtime.WithPriority(runtime.Low))
	require.NoError(t, err)
	priority := func() string {
		info, err := started.Info(ctx)
		require.NoError(t, err)
		runs, err := ops.ListRuns(ctx, pool, ops.RunFilter{})
		require.NoError(t, err)
		tasks, err := ops.ListTasks(ctx, pool, started.ID(), ops.TaskFilter{})
		require.NoError(t, err)
		require.Equal(t, []runtime.Priority{info.Priority, info.Priority}, []runtime.Priority{runs[0].Priority, tasks[0].Priority})
		return string(info.Priority)
	}
	require.Equal(t, "low", priority())
	require.NoError(t, runtime.SetPriority(ctx, pool, started.ID(), runtime.Normal))
	require.Empty(t, priority())
	require.NoError(t, pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		require.NoError(t, runtime.SetPriority(ctx, tx, started.ID(), runtime.High))
		require.Empty(t, priority())
		return nil
	}))
	_, err = pool.Exec(ctx, `SELECT flowc.apply_due('{greeting}')`) // as a worker does
	require.NoError(t, err)
	require.Equal(t, "high", priority())
	for _, wrong := range []runtime.Priority{"", "1", "High", "urgent"} {
		require.ErrorIs(t, runtime.SetPriority(ctx, pool, started.ID(), wrong), runtime.ErrInvalidOption)
		_, err = typed.Start(ctx, pool, greet{}, runtime.WithPriority(wrong))
		require.ErrorIs(t, err, runtime.ErrInvalidOption)
		require.ErrorContains(t, err, "priority is high, normal or low")
	}

	// Starts that come together keep each their own.
	priorities := []runtime.Priority{runtime.High, runtime.Normal, runtime.Low}
	runs := make([]*runtime.Run[string], 60)
	var group sync.WaitGroup
	for i := range runs {
		group.Go(func() {
			r, err := typed.Start(ctx, pool, greet{}, runtime.WithPriority(priorities[i%3]))
			require.NoError(t, err)
			runs[i] = r
		})
	}
	group.Wait()
	for i, r := range runs {
		info, err := r.Info(ctx)
		require.NoError(t, err)
		require.Equal(t, []runtime.Priority{runtime.High, "", runtime.Low}[i%3], info.Priority)
	}
}

// Every call that steers a run, on runs that it cannot be meant for.
func TestSteeringOddRuns(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	calls := map[string]func(id string) error{
		"CancelRun":     func(id string) error { return runtime.CancelRun(ctx, pool, id, "") },
		"RetryRun":      func(id string) error { return runtime.RetryRun(ctx, pool, id) },
		"RescheduleRun": func(id string) error { return runtime.RescheduleRun(ctx, pool, id, time.Now()) },
		"SetPriority":   func(id string) error { return runtime.SetPriority(ctx, pool, id, runtime.High) },
		"RunNow":        func(id string) error { _, err := ops.RunNow(ctx, pool, id, ""); return err },
		"DeleteRun":     func(id string) error { _, err := runtime.DeleteRun(ctx, pool, id); return err },
		"ListTasks": func(id string) error {
			_, err := ops.ListTasks(ctx, pool, id, ops.TaskFilter{OutputBytes: ops.AllOutputs})
			return err
		},
	}
	for _, id := range []string{"", "7", "not-a-uuid", "{" + uuid.NewString() + "}", uuid.NewString() + "\x00"} {
		for name, call := range calls {
			require.ErrorIs(t, call(id), runtime.ErrInvalidRunID, "%s %q", name, id)
		}
	}
	absent := map[string]error{
		"CancelRun": runtime.ErrRunNotFound, "RetryRun": runtime.ErrRunNotFound, "RescheduleRun": runtime.ErrRunNotFound, "SetPriority": runtime.ErrRunNotFound,
		"RunNow": nil, "DeleteRun": nil, "ListTasks": nil,
	}
	for name, call := range calls {
		require.ErrorIs(t, call(uuid.NewString()), absent[name], name)
	}
	run, err := typed.Start(ctx, pool, greet{})
	require.NoError(t, err)
	h := newHand(t, pool)
	h.Finish("greeting", "completed", `"x"`)
	h.Finish("greeting", "completed", `"y"`)
	completed := map[string]error{
		"CancelRun": runtime.ErrWrongStatus, "RetryRun": runtime.ErrWrongStatus, "RescheduleRun": runtime.ErrWrongStatus, "SetPriority": runtime.ErrWrongStatus,
		"RunNow": nil, "ListTasks": nil, "DeleteRun": nil,
	}
	for _, name := range []string{"CancelRun", "RetryRun", "RescheduleRun", "SetPriority", "RunNow", "ListTasks", "DeleteRun"} {
		require.ErrorIs(t, calls[name](run.ID()), completed[name], name)
	}
}

// A call whose reply is lost has been done, and is not an error the second time.
func TestSteeringSurvivesLostReplies(t *testing.T) {
	t.Parallel()
	ctx, direct, network, pool := openThrough(t)
	run, err := typed.Start(ctx, pool, greet{})
	require.NoError(t, err)
	network.CutReplies("request_cancel", 1)
	require.NoError(t, runtime.CancelRun(ctx, pool, run.ID(), "enough"))
	require.Equal(t, 1, network.Cuts())
	require.ErrorIs(t, runtime.CancelRun(ctx, pool, run.ID(), "enough"), runtime.ErrWrongStatus)
	network.CutReplies("flowc.request(", 1)
	require.NoError(t, runtime.RetryRun(ctx, pool, run.ID()))
	require.Equal(t, 2, network.Cuts())
	require.ErrorIs(t, runtime.RetryRun(ctx, pool, run.ID()), runtime.ErrWrongStatus)

	h := newHand(t, direct)
	h.Finish("greeting", "permanent", "no")
	network.CutReplies("request_cancel", 1)
	require.ErrorIs(t, runtime.CancelRun(ctx, pool, run.ID(), ""), runtime.ErrWrongStatus, "it was not we who ended it")
	require.Equal(t, 3, network.Cuts())
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
