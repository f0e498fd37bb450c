package worker_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/internal/faultnet"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// contract is a database that has pgflow without the engine and the flows of the
// services; direct is a way around that.
func contract(t *testing.T, services ...handler.Service) (ctx context.Context, pool, direct *pgxpool.Pool) {
	t.Helper()
	pool, direct = dbtest.Upstream(t)
	_, err := direct.Exec(t.Context(), forgetfulSQL)
	require.NoError(t, err)
	upsert(t, pool, services...)
	return testContext(t), pool, direct
}

// forgetfulSQL makes start_tasks what it is where another make of pgflow is: it does
// not hide the messages of the tasks that it starts.
const forgetfulSQL = `
CREATE SCHEMA hiding;
ALTER FUNCTION pgflow.start_tasks(text, bigint[], uuid) SET SCHEMA hiding;
CREATE FUNCTION pgflow.start_tasks(flow_slug text, msg_ids bigint[], worker_id uuid) RETURNS SETOF pgflow.step_task_record
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  RETURN QUERY SELECT * FROM hiding.start_tasks($1, $2, $3);
  PERFORM pgmq.set_vt($1, m, 1) FROM unnest($2) m;
END $$`

func TestPGFlowDiamond(t *testing.T) {
	t.Parallel()
	service := ordersService(box)
	ctx, pool, direct := contract(t, service)
	w := run(t, pool, worker.Config{Name: "shop"}, service)
	out, err := orders.StartSync(ctx, pool, order{Lines: []string{"tea", "pot"}, Buyer: "Ada"})
	require.NoError(t, err)
	require.Equal(t, shipment{Buyer: "Ada", Receipt: "paid by Ada", Parcels: []string{"[tea]", "[pot]"}}, out)
	_, err = orders.StartSync(ctx, pool, order{})
	failed := failure(t, err)
	require.Equal(t, "validate", failed.Step)
	require.Equal(t, "nobody buys", failed.Message)
	w.counted(worker.Stats{Claimed: 7, Completed: 6, Failed: 1})
	require.Equal(t, 1, count(t, direct, `
SELECT count(*) FROM pgflow.workers WHERE queue_name = 'orders' AND function_name = 'shop' AND stopped_at IS NULL`))
	require.NoError(t, w.stopped())
	require.Zero(t, count(t, direct, `SELECT count(*) FROM pgflow.workers WHERE stopped_at IS NULL`))
}

// Two workers share the work of two flows, and nothing is done twice.
func TestPGFlowManyRuns(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	add := func(n int) func(context.Context, int) (int, error) {
		return func(_ context.Context, in int) (int, error) { calls.Add(1); return in + n, nil }
	}
	one, ten := job[int, int]("one", spec.Flow{}), job[int, int]("ten", spec.Flow{})
	services := []handler.Service{serve(one, add(1)), serve(ten, add(10))}
	ctx, pool, _ := contract(t, services...)
	for range 2 {
		run(t, pool, worker.Config{Concurrency: 8}, services...)
	}
	const runs = 100
	ins := make([]int, runs)
	for i := range ins {
		ins[i] = i
	}
	for n, flow := range map[int]*runtime.Flow[int, int]{1: one, 10: ten} {
		started, err := flow.StartMany(ctx, pool, ins)
		require.NoError(t, err)
		for i, r := range started {
			out, err := r.Wait(ctx, runtime.WithPollInterval(10*time.Millisecond))
			require.NoError(t, err)
			require.Equal(t, i+n, out)
		}
	}
	require.EqualValues(t, 2*runs, calls.Load())
}

// An attempt may take its whole timeout, although the message that was read comes back
// sooner by itself.
func TestPGFlowHidesWhatItDoes(t *testing.T) {
	t.Parallel()
	began, finish := make(chan struct{}), make(chan struct{})
	flow := job[int, int]("slow", spec.Flow{Timeout: time.Hour})
	service := serve(flow, func(ctx context.Context, n int) (int, error) {
		deadline, _ := ctx.Deadline()
		began <- struct{}{}
		<-finish
		return int(time.Until(deadline).Minutes()), nil
	})
	ctx, pool, direct := contract(t, service)
	run(t, pool, worker.Config{}, service)
	started, err := flow.Start(ctx, pool, 0)
	require.NoError(t, err)
	receive(t, began)
	require.Equal(t, 1, count(t, direct, `SELECT count(*) FROM pgmq.q_slow WHERE vt > clock_timestamp() + interval '59 minutes'`))
	close(finish)
	minutes, err := started.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, 59, minutes)
}

// What handlers return means the same as with the engine.
func TestPGFlowOutcomes(t *testing.T) {
	t.Parallel()
	var attempts sync.Map
	flow := runtime.NewFlow[string](spec.Flow{Slug: "outcomes",
		BaseDelay: spec.Set(time.Duration(0)), MaxAttempts: 4,
		Steps: []spec.Step{
			{Slug: "work"},
			{Slug: "optional", Deps: []string{"work"}, WhenExhausted: spec.ModeSkip},
			{Slug: "last", Deps: []string{"work", "optional"}},
		},
	}, handler.Output[string]("last"))
	type both struct {
		Work     string  `json:"work"`
		Optional *string `json:"optional"`
	}
	service := handler.Serve(flow.Definition(), []handler.Handler{
		handler.Handle("work", handler.Input[string](), func(ctx context.Context, in string) (string, error) {
			task, _ := handler.TaskFromContext(ctx)
			attempts.Store(in, task.Attempt)
			switch {
			case in == "permanent":
				return "", handler.Permanent(errors.New("never"))
			case in == "later" && task.Attempt == 1:
				return "", handler.RetryAfter(1500*time.Millisecond, errors.New("not yet"))
			case in == "again" && task.Attempt < task.MaxAttempts:
				return "", fmt.Errorf("attempt %d", task.Attempt)
			}
			return in, nil
		}),
		handler.Handle("optional", handler.Output[string]("work"), func(_ context.Context, in string) (string, error) {
			if in == "skip" {
				return "", handler.Skip("not today")
			}
			return in, nil
		}),
		handler.Handle("last", handler.Join(func(b both) both { return b }, "work", "optional"), func(_ context.Context, b both) (string, error) {
			if b.Optional == nil {
				return b.Work + " alone", nil
			}
			return b.Work + " and " + *b.Optional, nil
		}),
	})
	ctx, pool, direct := contract(t, service)
	run(t, pool, worker.Config{}, service)
	for _, c := range []struct {
		in, out string
		attempt int
	}{{"well", "well and well", 1}, {"again", "again and again", 4}, {"skip", "skip alone", 1}} {
		out, err := flow.StartSync(ctx, pool, c.in)
		require.NoError(t, err, c.in)
		require.Equal(t, c.out, out)
		attempt, _ := attempts.Load(c.in)
		require.Equal(t, c.attempt, attempt, c.in)
	}
	require.Equal(t, 1, count(t, direct, `
SELECT count(*) FROM pgflow.step_states WHERE step_slug = 'optional' AND status = 'skipped' AND error_message = 'not today'`))

	began := time.Now()
	out, err := flow.StartSync(ctx, pool, "later")
	require.NoError(t, err)
	require.Equal(t, "later and later", out)
	require.Greater(t, time.Since(began), 1500*time.Millisecond)

	_, err = flow.StartSync(ctx, pool, "permanent")
	failed := failure(t, err)
	require.Equal(t, "never", failed.Message)
	attempt, _ := attempts.Load("permanent")
	require.Equal(t, 1, attempt, "it is not attempted again")
	require.Zero(t, count(t, direct, `SELECT count(*) FROM pgmq.q_outcomes`))
}

// The context of a handler ends when its run does.
func TestPGFlowLostTask(t *testing.T) {
	t.Parallel()
	began, causes := make(chan struct{}, 1), make(chan error, 1)
	flow := job[int, int]("long", spec.Flow{})
	service := serve(flow, func(ctx context.Context, _ int) (int, error) {
		began <- struct{}{}
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return 0, nil
	})
	ctx, pool, direct := contract(t, service)
	w := run(t, pool, worker.Config{}, service)
	started, err := flow.Start(ctx, pool, 0)
	require.NoError(t, err)
	receive(t, began)
	require.NoError(t, runtime.CancelRun(ctx, direct, started.ID(), "enough"))
	require.ErrorIs(t, receive(t, causes), handler.ErrTaskLost)
	w.counted(worker.Stats{Claimed: 1, Lost: 1})
}

// A worker that is deprecated in the database stops, and one whose row is gone
// registers again.
func TestPGFlowWorkerRows(t *testing.T) {
	t.Parallel()
	flow := job[int, int]("work", spec.Flow{})
	service := serve(flow, func(_ context.Context, n int) (int, error) { return n, nil })
	ctx, pool, direct := contract(t, service)
	w := run(t, pool, worker.Config{}, service)
	_, err := flow.StartSync(ctx, pool, 1)
	require.NoError(t, err)
	_, err = direct.Exec(ctx, `UPDATE pgflow.step_tasks SET last_worker_id = NULL; DELETE FROM pgflow.workers`)
	require.NoError(t, err)
	eventually(t, func() bool { return count(t, direct, `SELECT count(*) FROM pgflow.workers`) == 1 }, "it registers again")
	_, err = flow.StartSync(ctx, pool, 2)
	require.NoError(t, err)
	_, err = direct.Exec(ctx, `UPDATE pgflow.workers SET deprecated_at = now()`)
	require.NoError(t, err)
	require.NoError(t, receive(t, w.done))
	close(w.done)
}

// The tasks of a worker that dies are run by others after a while.
func TestPGFlowStalledTasks(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	flow := job[int, int]("work", spec.Flow{Timeout: 10 * time.Second})
	service := serve(flow, func(ctx context.Context, n int) (int, error) {
		if calls.Add(1) == 1 {
			<-ctx.Done()
			return 0, context.Cause(ctx)
		}
		return n, nil
	})
	ctx, pool, direct := contract(t, service)
	first := run(t, pool, worker.Config{Grace: -1}, service)
	started, err := flow.Start(ctx, pool, 7)
	require.NoError(t, err)
	eventually(t, func() bool { return calls.Load() == 1 }, "it is begun")
	require.NoError(t, first.stopped())
	require.Equal(t, 1, count(t, direct, `SELECT count(*) FROM pgflow.step_tasks WHERE status = 'started'`), "it cannot be released")
	_, err = direct.Exec(ctx, `UPDATE pgflow.step_tasks SET started_at = started_at - interval '41 seconds', queued_at = queued_at - interval '41 seconds'`)
	require.NoError(t, err)
	run(t, pool, worker.Config{}, service)
	out, err := started.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, 7, out)
}

// Reports whose replies are lost have been recorded, and are not recorded twice.
func TestPGFlowLostReports(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	flow := job[int, int]("work", spec.Flow{BaseDelay: spec.Set(time.Duration(0))})
	service := serve(flow, func(ctx context.Context, n int) (int, error) {
		calls.Add(1)
		if task, _ := handler.TaskFromContext(ctx); n == 0 && task.Attempt == 1 {
			return 0, errors.New("once")
		}
		return n, nil
	})
	ctx, pool, _ := contract(t, service)
	var network faultnet.Network
	w := run(t, through(t, &network, pool), worker.Config{}, service)
	for i := range 3 {
		network.CutReplies("pgflow.complete_task", 1)
		if i == 0 {
			network.CutReplies("pgflow.fail_task", 1)
		}
		out, err := flow.StartSync(ctx, pool, i)
		require.NoError(t, err)
		require.Equal(t, i, out)
	}
	require.EqualValues(t, 4, calls.Load())
	eventually(t, func() bool { return w.Stats().FailedCalls >= 3 }, "replies were cut")
}

// Steps without a handler are left to others, wherever they stand in the queue.
func TestPGFlowWithout(t *testing.T) {
	t.Parallel()
	service := ordersService(box)
	ctx, pool, direct := contract(t, service)
	run(t, pool, worker.Config{Concurrency: 2}, handler.Serve(service.Definition(), service.Handlers(), handler.Without("charge")))
	var started []*runtime.Run[shipment]
	for range 10 {
		r, err := orders.Start(ctx, pool, order{Buyer: "Ada", Lines: []string{"tea"}})
		require.NoError(t, err)
		started = append(started, r)
	}
	eventually(t, func() bool {
		return count(t, direct, `SELECT count(*) FROM pgflow.step_states WHERE step_slug = 'pack' AND status = 'completed'`) == 10
	}, "all that can be done is done")
	require.Equal(t, 10, count(t, direct, `SELECT count(*) FROM pgflow.step_tasks WHERE step_slug = 'charge' AND status = 'queued' AND attempts_count = 0`))
	run(t, pool, worker.Config{}, handler.Serve(service.Definition(), service.Handlers(), handler.Without("validate", "list", "pack", "ship")))
	for _, r := range started {
		_, err := r.Wait(ctx)
		require.NoError(t, err)
	}
}

// Limits hold there, too: a step with one is read by itself.
func TestPGFlowLimits(t *testing.T) {
	t.Parallel()
	var busy, most atomic.Int64
	service := ordersService(func(_ context.Context, line string) (string, error) {
		now := busy.Add(1)
		defer busy.Add(-1)
		for {
			seen := most.Load()
			if now <= seen || most.CompareAndSwap(seen, now) {
				break
			}
		}
		time.Sleep(5 * time.Millisecond) // so that others could come
		return "[" + line + "]", nil
	})
	service = handler.Serve(service.Definition(), service.Handlers(), handler.Limit(2, "pack"))
	ctx, pool, _ := contract(t, service)
	run(t, pool, worker.Config{Concurrency: 8}, service)
	in := order{Buyer: "Ada"}
	for i := range 20 {
		in.Lines = append(in.Lines, fmt.Sprint(i))
	}
	out, err := orders.StartSync(ctx, pool, in)
	require.NoError(t, err)
	require.Len(t, out.Parcels, 20)
	require.EqualValues(t, 2, most.Load())
}

func TestPGFlowRefusesWhatItWasNotBuiltFor(t *testing.T) {
	t.Parallel()
	service := ordersService(box)
	ctx, pool, _ := contract(t)
	w, err := worker.New(pool, worker.Config{}, service)
	require.NoError(t, err)
	require.ErrorIs(t, w.Run(ctx), runtime.ErrFlowNotFound)
	_, err = runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "orders", Steps: []spec.Step{{Slug: "validate"}}})
	require.NoError(t, err)
	require.ErrorContains(t, w.Run(ctx), "is not what this program was built for")
}
