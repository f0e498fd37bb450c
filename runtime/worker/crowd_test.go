package worker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/worker"
)

func connected(t *testing.T, pool *pgxpool.Pool, name string) int {
	t.Helper()
	return count(t, pool, `SELECT count(*) FROM pg_stat_activity WHERE application_name = $1`, name)
}

// Many workers in one process do all there is on the connections they share, which
// are closed with the last of them.
func TestCrowd(t *testing.T) {
	t.Parallel()
	const workers, jobs = 12, 1500
	ctx := testContext(t)
	flow := job[int, int]("work", runtime.FlowOptions{})
	var done atomic.Int64
	service := serve(flow, func(_ context.Context, n int) (int, error) { done.Add(1); return n, nil })
	direct := database(t, service)
	// The connections that workers make like those of this pool have its name, too.
	pool := dbtest.With(t, direct, map[string]string{"application_name": "crowd"})
	_, err := flow.StartMany(ctx, direct, make([]int, jobs))
	require.NoError(t, err)
	var all []*running
	for range workers {
		all = append(all, run(t, pool, worker.Config{Concurrency: 4}, service))
	}
	eventually(t, func() bool { return done.Load() >= jobs }, "not everything was done")
	for _, w := range all {
		require.NoError(t, w.stopped())
	}
	pool.Close()
	eventually(t, func() bool { return connected(t, direct, "crowd") <= 1 }, "connections of workers that have ended") // the listener's stays for a while
	require.Equal(t, jobs, count(t, direct, `SELECT count(*) FROM pgflow.runs WHERE status = 'completed'`))
}

// Workers that wait for a lock keep no other from its work.
func TestStuckNeighbours(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	stuck := job[int, int]("stuck", runtime.FlowOptions{})
	free := job[int, int]("free", runtime.FlowOptions{})
	began, release := make(chan struct{}, 10), make(chan struct{})
	waiting := serve(stuck, func(_ context.Context, n int) (int, error) { began <- struct{}{}; <-release; return n, nil })
	working := serve(free, func(_ context.Context, n int) (int, error) { return n, nil })
	pool := database(t, waiting, working)
	var runs []*runtime.Run[int]
	for range 6 {
		run(t, pool, worker.Config{Concurrency: 1}, waiting)
		r, err := stuck.Start(ctx, pool, 0)
		require.NoError(t, err)
		runs = append(runs, r)
		receive(t, began)
	}
	tx, err := pool.Begin(ctx)
	require.NoError(t, err)
	_, err = tx.Exec(ctx, `SELECT FROM pgflow.runs FOR UPDATE`)
	require.NoError(t, err)
	close(release)
	eventually(t, func() bool {
		return count(t, pool, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) >= len(runs)
	}, "not all reports wait")

	run(t, pool, worker.Config{}, working)
	for range 20 {
		at := time.Now()
		_, err := free.StartSync(ctx, pool, 0)
		require.NoError(t, err)
		require.Less(t, time.Since(at), 2*time.Second, "it waited for its neighbours")
	}
	require.NoError(t, tx.Rollback(ctx))
	for _, r := range runs {
		_, err := r.Wait(ctx)
		require.NoError(t, err)
	}
}

// A member of a crowd is a worker that says in what it outputs who it is.
func member(t *testing.T, pool *pgxpool.Pool, name string, config worker.Config, serve func(name string) []runtime.Service) *running {
	t.Helper()
	config.Name = name
	return run(t, pool, config, serve(name)...)
}

// requireOwn requires that all runs completed in one try, and that each task was done
// by the worker that the database had given it to.
func requireOwn(t *testing.T, pool *pgxpool.Pool, runs int) {
	t.Helper()
	eventually(t, func() bool {
		return count(t, pool, `SELECT count(*) FROM pgflow.runs WHERE status = 'started'`) == 0
	}, "not everything was done")
	require.Equal(t, runs, count(t, pool, `SELECT count(*) FROM pgflow.runs WHERE status = 'completed'`))
	require.Zero(t, count(t, pool, `
SELECT count(*) FROM pgflow.step_tasks t JOIN pgflow.workers w ON w.worker_id = t.last_worker_id
WHERE t.attempts_count <> 1 OR to_jsonb(w.function_name) <> t.output`))
}

// Workers whose flows differ, or whose limits do, make calls together; each gets what
// it serves, as far as its limits allow, and what is its own.
func TestCrowdOfManyKinds(t *testing.T) {
	t.Parallel()
	const jobs = 400
	ctx := testContext(t)
	var flows []*runtime.Flow[int, string]
	for _, slug := range []string{"a", "b", "c"} {
		flows = append(flows, job[int, string](slug, runtime.FlowOptions{}))
	}
	level := newGauge()
	kind := func(limit int, served ...int) func(string) []runtime.Service {
		return func(name string) (all []runtime.Service) {
			for _, i := range served {
				s := serve(flows[i], func(context.Context, int) (string, error) {
					defer level.enter(name)()
					time.Sleep(time.Millisecond)
					return name, nil
				})
				if limit > 0 {
					runtime.Limit(limit)(&s)
				}
				all = append(all, s)
			}
			return all
		}
	}
	pool := database(t, kind(0, 0, 1, 2)("")...)
	for _, flow := range flows {
		_, err := flow.StartMany(ctx, pool, make([]int, jobs))
		require.NoError(t, err)
	}
	for i, of := range []func(string) []runtime.Service{
		kind(0, 0), kind(0, 0), kind(0, 1), kind(0, 1, 2), kind(0, 2, 1), kind(0, 0, 1, 2), kind(2, 0), kind(2, 2), kind(2, 2),
	} {
		member(t, pool, fmt.Sprint("w", i), worker.Config{Concurrency: 8}, of)
	}
	requireOwn(t, pool, jobs*len(flows))
	most := level.mosts()
	require.LessOrEqual(t, max(most["w6"], most["w7"], most["w8"]), 2)
	require.LessOrEqual(t, max(most["w0"], most["w3"], most["w5"]), 8)
}

// What one worker has to report and the database refuses harms no other: all of it is
// done once.
func TestPoisonInCrowd(t *testing.T) {
	t.Parallel()
	const jobs = 400
	ctx := testContext(t)
	good := job[int, string]("good", runtime.FlowOptions{})
	bad := job[int, json.RawMessage]("bad", runtime.FlowOptions{})
	var done atomic.Int64
	goods := func(name string) []runtime.Service {
		return []runtime.Service{serve(good, func(context.Context, int) (string, error) { done.Add(1); return name, nil })}
	}
	bads := serve(bad, func(context.Context, int) (json.RawMessage, error) { return json.RawMessage(`"\ud800"`), nil })
	pool := database(t, append(goods(""), bads)...)
	_, err := good.StartMany(ctx, pool, make([]int, jobs))
	require.NoError(t, err)
	_, err = bad.StartMany(ctx, pool, make([]int, 20))
	require.NoError(t, err)
	for i := range 4 {
		member(t, pool, fmt.Sprint("w", i), worker.Config{Concurrency: 8}, goods)
	}
	run(t, pool, worker.Config{Concurrency: 2}, bads)
	eventually(t, func() bool {
		return count(t, pool, `SELECT count(*) FROM pgflow.runs WHERE status = 'started'`) == 0
	}, "not everything was done")
	require.Equal(t, 20, count(t, pool, `SELECT count(*) FROM pgflow.step_tasks WHERE status = 'failed' AND flow_slug = 'bad' AND error_message LIKE '%cannot be stored%'`))
	_, err = pool.Exec(ctx, `DELETE FROM pgflow.step_tasks WHERE flow_slug = 'bad'`)
	require.NoError(t, err)
	requireOwn(t, pool, jobs)
	require.EqualValues(t, jobs, done.Load())
}

// Workers that stop in whatever way lose nothing, and hold up none of those with whom
// they make calls.
func TestLeavingACrowd(t *testing.T) {
	t.Parallel()
	const jobs, workers = 3000, 8
	ctx := testContext(t)
	flow := job[int, string]("work", runtime.FlowOptions{})
	var done atomic.Int64
	service := func(name string) []runtime.Service {
		return []runtime.Service{serve(flow, func(context.Context, int) (string, error) { done.Add(1); return name, nil })}
	}
	pool := database(t, service("")...)
	_, err := flow.StartMany(ctx, pool, make([]int, jobs))
	require.NoError(t, err)
	var all []*running
	for i := range workers {
		all = append(all, member(t, pool, fmt.Sprint("w", i), worker.Config{Concurrency: 8}, service))
	}
	reached := func(n int) {
		eventually(t, func() bool { return done.Load() >= int64(n) }, "they do nothing")
	}
	reached(jobs / 10)
	all[0].StopNow()
	require.NoError(t, all[0].stopped())
	reached(jobs / 5)
	require.NoError(t, all[1].stopped())
	reached(jobs * 3 / 10)
	_, err = pool.Exec(ctx, `UPDATE pgflow.workers SET deprecated_at = now() WHERE function_name IN ('w2', 'w3')`)
	require.NoError(t, err)
	requireOwn(t, pool, jobs)
	require.EqualValues(t, jobs, done.Load())
}
