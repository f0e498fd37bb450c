package ops_test

import (
	"testing"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/stretchr/testify/require"
)

func TestPauseFlow(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	paused := func() time.Time {
		flows, err := ops.ListFlows(ctx, pool, time.Now())
		require.NoError(t, err)
		return flows[0].PausedAt
	}
	changed, err := ops.PauseFlow(ctx, pool, "greeting", "")
	require.NoError(t, err)
	require.True(t, changed)
	require.WithinDuration(t, time.Now(), paused(), time.Minute)
	changed, err = ops.PauseFlow(ctx, pool, "greeting", "")
	require.NoError(t, err)
	require.False(t, changed)
	_, err = typed.Start(ctx, pool, greet{Name: "you"})
	require.NoError(t, err)
	changed, err = ops.ResumeFlow(ctx, pool, "greeting")
	require.NoError(t, err)
	require.True(t, changed)
	require.Zero(t, paused())
	_, step := newHand(t, pool).Finish("greeting", "completed", `"hello"`)
	require.Equal(t, "greet", step)
	_, err = ops.PauseFlow(ctx, pool, "nothing", "")
	require.ErrorIs(t, err, runtime.ErrFlowNotFound)
}

func TestRunNow(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	h := newHand(t, pool)
	run, err := typed.Start(ctx, pool, greet{})
	require.NoError(t, err)
	h.Finish("greeting", "failed", "not yet") // retried in 2 s
	tasks, err := ops.ListTasks(ctx, pool, run.ID(), ops.TaskFilter{OutputBytes: ops.AllOutputs})
	require.NoError(t, err)
	require.Equal(t, ops.TaskQueued, tasks[0].Status)
	require.Greater(t, time.Until(tasks[0].VisibleAt), time.Second)

	due, err := ops.RunNow(ctx, pool, run.ID(), "shout")
	require.NoError(t, err)
	require.Zero(t, due)
	due, err = ops.RunNow(ctx, pool, run.ID(), "")
	require.NoError(t, err)
	require.Equal(t, 1, due)
	_, step := h.Finish("greeting", "completed", `"now"`)
	require.Equal(t, "greet", step)
}

func TestPrune(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	h := newHand(t, pool)
	runs, err := typed.StartMany(ctx, pool, make([]greet, 3))
	require.NoError(t, err)
	h.Finish("greeting", "permanent", "no")
	h.Finish("greeting", "permanent", "no")
	_, err = pool.Exec(ctx, `UPDATE pgflow.runs SET started_at = started_at - interval '2 days'`)
	require.NoError(t, err)
	_, err = pool.Exec(ctx, `UPDATE pgflow.runs SET failed_at = failed_at - interval '2 days' WHERE run_id = $1::text::uuid`, runs[0].ID())
	require.NoError(t, err)

	for _, want := range []struct {
		opts  ops.PruneOptions
		count int
	}{
		{ops.PruneOptions{OlderThan: 72 * time.Hour}, 0},
		{ops.PruneOptions{OlderThan: 24 * time.Hour, Flows: []string{"another"}}, 0},
		{ops.PruneOptions{OlderThan: 24 * time.Hour, DryRun: true}, 1},
		{ops.PruneOptions{OlderThan: 24 * time.Hour, Flows: []string{}}, 1},
		{ops.PruneOptions{OlderThan: 24 * time.Hour}, 0},
	} {
		count, err := ops.Prune(ctx, pool, want.opts)
		require.NoError(t, err)
		require.Equal(t, want.count, count)
	}
	for _, never := range []time.Duration{0, -time.Hour} {
		_, err = ops.Prune(ctx, pool, ops.PruneOptions{OlderThan: never})
		require.ErrorIs(t, err, runtime.ErrInvalidOption)
	}
	left, err := ops.ListRuns(ctx, pool, ops.RunFilter{})
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
	deleted, err := ops.Prune(ctx, pool, ops.PruneOptions{
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
	deleted, err := ops.Prune(ctx, impatient, ops.PruneOptions{OlderThan: time.Hour})
	require.NoError(t, err)
	require.Equal(t, 400, deleted)
	_, err = typed.Start(ctx, pool, greet{Name: "Ada"})
	require.NoError(t, err)
	require.Equal(t, 1, count(t, pool, `SELECT count(*) FROM pgflow.runs`))
}
