package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
)

func TestWait(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	run, err := typed.Start(ctx, pool, greet{Name: "Ada"})
	require.NoError(t, err)
	wait := waiting(ctx, run)
	h := newHand(t, pool)
	h.Finish("greeting", "completed", `"hello"`)
	h.Finish("greeting", "completed", `"HELLO"`)
	got := receive(t, wait)
	require.NoError(t, got.err)
	require.Equal(t, "HELLO", got.out)

	out, err := run.Wait(ctx, runtime.WithTimeout(0))
	require.NoError(t, err, "a run that has ended is read at the first look")
	require.Equal(t, "HELLO", out)
	dynamic, err := runtime.StartFlow(ctx, pool, "greeting", nil, runtime.WithRunID(run.ID()))
	require.NoError(t, err)
	leaves, err := dynamic.Wait(ctx)
	require.NoError(t, err)
	require.JSONEq(t, `{"shout": "HELLO"}`, string(leaves))
}

// With a poll interval of an hour only a notification can wake the waiters.
func TestWaitIsWoken(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	const runs, each = 20, 5
	var waits []<-chan waited[string]
	for range runs {
		run, err := typed.Start(ctx, pool, greet{})
		require.NoError(t, err)
		for range each {
			waits = append(waits, waiting(ctx, run, runtime.WithPollInterval(time.Hour)))
		}
	}
	require.Eventually(t, func() bool {
		return count(t, pool, `SELECT count(*) FROM flowc.run_waiters`) == runs
	}, patience, 10*time.Millisecond)
	require.Equal(t, 1, count(t, pool, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'`))
	h := newHand(t, pool)
	for range 2 * runs {
		h.Finish("greeting", "completed", `"x"`)
	}
	for _, wait := range waits {
		got := receive(t, wait)
		require.NoError(t, got.err)
		require.Equal(t, "x", got.out)
	}
}

// A listening connection that breaks must not leave anybody asleep.
func TestWaitSurvivesBrokenConnections(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	run, err := typed.Start(ctx, pool, greet{})
	require.NoError(t, err)
	wait := waiting(ctx, run, runtime.WithPollInterval(time.Hour))
	h := newHand(t, pool)
	h.Finish("greeting", "completed", `"x"`)
	for range 5 {
		require.Eventually(t, func() bool {
			return count(t, pool, `
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE 'LISTEN%'`) == 1
		}, patience, 10*time.Millisecond)
	}
	h.Finish("greeting", "completed", `"y"`)
	got := receive(t, wait)
	require.NoError(t, got.err)
	require.Equal(t, "y", got.out)
}

func TestWaitPolls(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	conn, err := pool.Acquire(ctx)
	require.NoError(t, err)
	defer conn.Release()
	run, err := typed.Start(ctx, pool, greet{})
	require.NoError(t, err)
	wait := waiting(ctx, run.Via(conn), runtime.WithPollInterval(10*time.Millisecond))
	h := newHand(t, pool)
	h.Finish("greeting", "completed", `"x"`)
	h.Finish("greeting", "completed", `"x"`)
	require.NoError(t, receive(t, wait).err)
}

func TestWaitTimeout(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	run, err := typed.Start(ctx, pool, greet{})
	require.NoError(t, err)
	began := time.Now()
	_, err = run.Wait(ctx, runtime.WithTimeout(150*time.Millisecond), runtime.WithPollInterval(time.Hour))
	require.GreaterOrEqual(t, time.Since(began), 150*time.Millisecond)
	require.ErrorIs(t, err, runtime.ErrTimeout, "rather than the end of ctx, which it would sleep until")
	var waitErr *runtime.WaitError
	require.ErrorAs(t, err, &waitErr)
	require.Equal(t, run.ID(), waitErr.RunID)
	require.Equal(t, 2, waitErr.Last.RemainingSteps)
	require.ErrorContains(t, err, run.ID())
	info, err := run.Info(ctx)
	require.NoError(t, err)
	require.Equal(t, runtime.RunRunning, info.Status, "the run goes on")
}

func TestWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	run, err := typed.Start(ctx, pool, greet{})
	require.NoError(t, err)
	cause := errors.New("enough")
	cancelled, cancel := context.WithCancelCause(ctx)
	wait := waiting(cancelled, run)
	cancel(cause)
	got := receive(t, wait)
	require.ErrorIs(t, got.err, cause)
	require.NotErrorIs(t, got.err, runtime.ErrTimeout)
	var waitErr *runtime.WaitError
	require.ErrorAs(t, got.err, &waitErr)
	require.Equal(t, run.ID(), waitErr.RunID)

	late, cancelLate := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancelLate()
	_, err = run.Wait(late)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestWaitForAFailedRun(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	run, err := typed.Start(ctx, pool, greet{})
	require.NoError(t, err)
	newHand(t, pool).Finish("greeting", "permanent", "no voice")
	_, err = run.Wait(ctx)
	var failed *runtime.RunFailedError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, runtime.RunFailedError{
		RunID: run.ID(), Flow: "greeting", Status: runtime.RunFailed, Step: "greet", Message: "no voice",
	}, *failed)
	require.EqualError(t, err, fmt.Sprintf("flowc: run %s of flow greeting failed in step greet: no voice", run.ID()))

	info, err := runtime.StartFlowSync(ctx, pool, "greeting", nil, runtime.WithRunID(run.ID()))
	require.ErrorAs(t, err, &failed)
	require.Equal(t, runtime.RunFailed, info.Status)
	require.Equal(t, "greet", info.FailedStep)
	require.Equal(t, "no voice", info.Error)
}

func TestWaitForADeletedRun(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	run, err := typed.Start(ctx, pool, greet{})
	require.NoError(t, err)
	wait := waiting(ctx, run, runtime.WithPollInterval(10*time.Millisecond))
	deleted, err := typed.Delete(ctx, pool, runtime.AllowDataLoss())
	require.NoError(t, err)
	require.Equal(t, runtime.Deleted{Existed: true, Runs: 1, Steps: 2}, deleted)
	got := receive(t, wait)
	require.ErrorIs(t, got.err, runtime.ErrRunNotFound)
}

func TestOutputOfAnotherType(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	run, err := typed.Start(ctx, pool, greet{})
	require.NoError(t, err)
	h := newHand(t, pool)
	h.Finish("greeting", "completed", `"x"`)
	h.Finish("greeting", "completed", `7`)
	_, err = run.Wait(ctx)
	var output *runtime.OutputError
	require.ErrorAs(t, err, &output)
	require.JSONEq(t, `{"shout": 7}`, string(output.Output))
	require.ErrorAs(t, err, new(*json.UnmarshalTypeError))
}

func TestStartSync(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	done := make(chan error, 1)
	go func() {
		out, err := typed.StartSync(ctx, pool, greet{Name: "Ada"})
		if err == nil && out != "HELLO" {
			err = fmt.Errorf("it gave %q", out)
		}
		done <- err
	}()
	require.Eventually(t, func() bool { return count(t, pool, `SELECT count(*) FROM pgflow.runs`) == 1 }, patience, time.Millisecond)
	h := newHand(t, pool)
	h.Finish("greeting", "completed", `"hello"`)
	h.Finish("greeting", "completed", `"HELLO"`)
	require.NoError(t, receive(t, done))

	tx, err := pool.Begin(ctx)
	require.NoError(t, err)
	_, err = typed.StartSync(ctx, tx, greet{})
	require.ErrorIs(t, err, runtime.ErrWaitInTx)
	require.NoError(t, tx.Commit(ctx))
	require.Equal(t, 1, count(t, pool, `SELECT count(*) FROM pgflow.runs`), "nothing is started")

	_, err = runtime.StartFlowSync(ctx, pool, "greeting", nil, runtime.WithTimeout(50*time.Millisecond))
	var waitErr *runtime.WaitError
	require.ErrorAs(t, err, &waitErr)
	require.ErrorIs(t, err, runtime.ErrTimeout)
	_, err = runtime.GetRun(ctx, pool, waitErr.RunID)
	require.NoError(t, err, "the id is not lost")
}
