package worker_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/engine"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

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
	_, err := worker.New(nil, worker.Config{Concurrency: -1, Retention: -1}, service, service)
	for _, each := range []string{"the pool is nil", "Concurrency is -1", "Retention is -1ns", "flow work is served twice"} {
		require.ErrorContains(t, err, each, "everything that is wrong is said at once")
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

	for version, want := range map[int]error{engine.Version - 1: runtime.ErrEngineOlder, engine.Version + 1: runtime.ErrEngineNewer} {
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
