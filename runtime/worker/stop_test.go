package worker_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/engine"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// A worker that is told to stop finishes what it has.
func TestStopDrains(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	began, finish := make(chan struct{}), make(chan struct{})
	flow := job[int, int]("slow", spec.Flow{})
	service := serve(flow, func(ctx context.Context, n int) (int, error) {
		began <- struct{}{}
		<-finish
		return n, ctx.Err()
	})
	pool := database(t, service)
	w := run(t, pool, worker.Config{Concurrency: 1}, service)
	first, err := flow.Start(ctx, pool, 1)
	require.NoError(t, err)
	second, err := flow.Start(ctx, pool, 2)
	require.NoError(t, err)
	receive(t, began)
	w.stop()
	close(finish)
	require.NoError(t, w.stopped())
	out, err := first.Wait(ctx, runtime.WithTimeout(0))
	require.NoError(t, err)
	require.Equal(t, 1, out)
	info, err := second.Info(ctx)
	require.NoError(t, err)
	require.Equal(t, runtime.RunRunning, info.Status)
	require.Equal(t, 1, count(t, pool, `SELECT count(*) FROM pgflow.workers WHERE stopped_at IS NOT NULL`))
	require.Zero(t, count(t, pool, `SELECT count(*) FROM flowc.idle_workers`))
}

// What does not end within the grace period is given back and not counted as a try.
func TestStopReleases(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	began, causes := make(chan struct{}, 2), make(chan error, 1)
	release := make(chan struct{})
	defer close(release)
	heeding, deaf := job[int, int]("heeding", spec.Flow{}), job[int, int]("deaf", spec.Flow{})
	services := []handler.Service{
		serve(heeding, func(ctx context.Context, _ int) (int, error) {
			began <- struct{}{}
			<-ctx.Done()
			causes <- context.Cause(ctx)
			return 0, ctx.Err()
		}),
		serve(deaf, func(context.Context, int) (int, error) { began <- struct{}{}; <-release; return 0, nil }),
	}
	pool := database(t, services...)
	w := run(t, pool, worker.Config{Grace: 50 * time.Millisecond}, services...)
	one, err := heeding.Start(ctx, pool, 1)
	require.NoError(t, err)
	two, err := deaf.Start(ctx, pool, 1)
	require.NoError(t, err)
	receive(t, began)
	receive(t, began)
	require.NoError(t, w.stopped())
	require.ErrorIs(t, receive(t, causes), handler.ErrWorkerStopping)
	require.EqualValues(t, 2, w.Stats().Released)
	require.Equal(t, 2, count(t, pool, `SELECT count(*) FROM pgflow.step_tasks WHERE status = 'queued' AND attempts_count = 0`))

	next := []handler.Service{
		serve(heeding, func(_ context.Context, n int) (int, error) { return n, nil }),
		serve(deaf, func(_ context.Context, n int) (int, error) { return n, nil }),
	}
	run(t, pool, worker.Config{}, next...)
	for _, r := range []*runtime.Run[int]{one, two} {
		_, err := r.Wait(ctx)
		require.NoError(t, err)
	}
}

// A worker that has to stop now waits for no grace period.
func TestStopNow(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	began, causes := make(chan struct{}), make(chan error, 1)
	flow := job[int, int]("long", spec.Flow{})
	service := serve(flow, func(ctx context.Context, n int) (int, error) {
		close(began)
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return 0, ctx.Err()
	})
	pool := database(t, service)
	w := run(t, pool, worker.Config{Grace: time.Hour}, service)
	_, err := flow.Start(ctx, pool, 1)
	require.NoError(t, err)
	receive(t, began)
	w.StopNow()
	w.StopNow()
	require.NoError(t, receive(t, w.done))
	close(w.done)
	require.ErrorIs(t, receive(t, causes), handler.ErrWorkerStopping)
	require.Equal(t, 1, count(t, pool, `SELECT count(*) FROM pgflow.step_tasks WHERE status = 'queued' AND attempts_count = 0`))
	require.EqualValues(t, 1, w.Stats().Released)
}

// Rolling restarts cost no try and lose nothing.
func TestRollingRestarts(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	var calls atomic.Int64
	flow := job[int, int]("work", spec.Flow{})
	service := serve(flow, func(_ context.Context, n int) (int, error) {
		calls.Add(1)
		time.Sleep(2 * time.Millisecond) // work
		return n, nil
	})
	pool := database(t, service)
	const runs = 1000
	started, err := flow.StartMany(ctx, pool, make([]int, runs))
	require.NoError(t, err)
	stays := run(t, pool, worker.Config{Concurrency: 4}, service)
	for range 8 {
		w := run(t, pool, worker.Config{Concurrency: 4}, service)
		eventually(t, func() bool {
			return w.Stats().Completed > 20 || count(t, pool, `SELECT count(*) FROM flowc.queue`) == 0
		}, "it works")
		require.NoError(t, w.stopped())
	}
	for _, run := range started {
		_, err := run.Wait(ctx)
		require.NoError(t, err)
	}
	require.EqualValues(t, runs, calls.Load(), "nothing ran twice")
	require.Equal(t, runs, count(t, pool, `SELECT count(*) FROM pgflow.step_tasks WHERE attempts_count = 1 AND requeued_count = 0`))
	require.Zero(t, stays.Stats().Lost)
}

// A worker that the database calls deprecated stops by itself.
func TestDeprecated(t *testing.T) {
	t.Parallel()
	flow := job[int, int]("work", spec.Flow{})
	service := serve(flow, func(_ context.Context, n int) (int, error) { return n, nil })
	pool := database(t, service)
	w := run(t, pool, worker.Config{}, service)
	eventually(t, func() bool { return count(t, pool, `SELECT count(*) FROM pgflow.workers`) == 1 }, "it is registered")
	_, err := pool.Exec(context.Background(), `UPDATE pgflow.workers SET deprecated_at = now()`)
	require.NoError(t, err)
	require.NoError(t, receive(t, w.done))
	close(w.done)
}

// A row that was deleted is made again.
func TestRegistersAgain(t *testing.T) {
	t.Parallel()
	flow := job[int, int]("work", spec.Flow{})
	service := serve(flow, func(_ context.Context, n int) (int, error) { return n, nil })
	pool := database(t, service)
	run(t, pool, worker.Config{}, service)
	for range 2 {
		eventually(t, func() bool { return count(t, pool, `SELECT count(*) FROM pgflow.workers`) == 1 }, "it is registered")
		_, err := pool.Exec(context.Background(), `DELETE FROM pgflow.workers`)
		require.NoError(t, err)
	}
	eventually(t, func() bool { return count(t, pool, `SELECT count(*) FROM pgflow.workers`) == 1 }, "it is registered")
}

func TestNewFindsMistakes(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	flow := job[int, int]("work", spec.Flow{})
	service := serve(flow, func(_ context.Context, n int) (int, error) { return n, nil })
	nothing := handler.HandleValues("nothing", nil)
	for want, make := range map[string]func() (*worker.Worker, error){
		"the pool is nil":           func() (*worker.Worker, error) { return worker.New(nil, worker.Config{}, service) },
		"no services, pass New":     func() (*worker.Worker, error) { return worker.New(pool, worker.Config{}) },
		"Concurrency is -1":         func() (*worker.Worker, error) { return worker.New(pool, worker.Config{Concurrency: -1}, service) },
		"flow work is served twice": func() (*worker.Worker, error) { return worker.New(pool, worker.Config{}, service, service) },
		"flow work has no handlers": func() (*worker.Worker, error) {
			return worker.New(pool, worker.Config{}, handler.Serve(flow.Definition(), nil))
		},
		`step "nothing", which flow`: func() (*worker.Worker, error) {
			return worker.New(pool, worker.Config{}, handler.Serve(flow.Definition(), []handler.Handler{nothing}))
		},
		"two handlers for step work": func() (*worker.Worker, error) {
			return worker.New(pool, worker.Config{}, handler.Serve(flow.Definition(), append(service.Handlers(), service.Handlers()...)))
		},
		`the slug "no" is fine`[:0] + `flow "1" is not valid`: func() (*worker.Worker, error) { return worker.New(pool, worker.Config{}, service.As("1")) },
	} {
		_, err := make()
		require.ErrorContains(t, err, want)
	}
}

func TestRunRefusesWhatItWasNotBuiltFor(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	work, play := job[int, int]("work", spec.Flow{}), job[int, int]("play", spec.Flow{})
	echo := func(_ context.Context, n int) (int, error) { return n, nil }
	pool := database(t, serve(work, echo))
	_, err := runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "play", Steps: []spec.Step{{Slug: "other"}}})
	require.NoError(t, err)
	missing := job[int, int]("missing", spec.Flow{})
	w, err := worker.New(pool, worker.Config{}, serve(work, echo), serve(play, echo), serve(missing, echo))
	require.NoError(t, err)
	err = w.Run(ctx)
	require.ErrorIs(t, err, runtime.ErrFlowNotFound)
	require.ErrorContains(t, err, `flow "missing" is not in the database`)
	require.ErrorContains(t, err, "flow play in the database is not what this program was built for")
	require.ErrorContains(t, err, "slug differs 'play' vs 'other'")
	require.NotContains(t, err.Error(), "flow work")

	for version, want := range map[int]error{engine.Version - 1: engine.ErrOlder, engine.Version + 1: engine.ErrNewer} {
		_, err = pool.Exec(ctx, `UPDATE flowc.installation SET version = $1`, version)
		require.NoError(t, err)
		w, err = worker.New(pool, worker.Config{}, serve(work, echo))
		require.NoError(t, err)
		err = w.Run(ctx)
		require.ErrorIs(t, err, want)
		require.ErrorContains(t, err, fmt.Sprintf("(version %d, this program has %d)", version, engine.Version))
	}

	empty := dbtest.Connect(t, dbtest.Empty(t))
	w, err = worker.New(empty, worker.Config{}, serve(work, echo))
	require.NoError(t, err)
	require.ErrorIs(t, w.Run(ctx), runtime.ErrEngineMissing)
}

func TestStart(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := job[int, int]("in_the_background", spec.Flow{})
	service := serve(flow, func(_ context.Context, n int) (int, error) { return n + 1, nil })
	pool := database(t, service)
	w, err := worker.New(pool, worker.Config{Logger: slog.New(slog.DiscardHandler)}, service)
	require.NoError(t, err)
	stop := w.Start(ctx)
	run, err := flow.Start(ctx, pool, 1)
	require.NoError(t, err)
	out, err := run.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, 2, out)
	require.NoError(t, stop())
	require.NoError(t, stop(), "once more does nothing")
	require.Equal(t, 1, count(t, pool, `SELECT count(*) FROM pgflow.workers WHERE stopped_at IS NOT NULL`), "it waited until the worker was gone")
	require.NoError(t, w.Start(ctx)(), "it can be started again")
}
