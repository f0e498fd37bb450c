package worker_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/devdb"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// Whatever connections are cut, every run ends, each task is completed once, and
// no task waits for its lease.
func TestCutConnections(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	service := ordersService(box)
	pool := database(t, service)
	// Lost claims are released; their leases expire too late for this test.
	_, err := pool.Exec(ctx, `UPDATE pgflow.flows SET opt_timeout = 3600`)
	require.NoError(t, err)
	w := run(t, pool, worker.Config{Concurrency: 8}, service)

	stop, stopped := make(chan struct{}), make(chan struct{})
	killer, err := pgx.ConnectConfig(ctx, pool.Config().ConnConfig)
	require.NoError(t, err)
	defer killer.Close(context.Background())
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(150 * time.Millisecond): // a new connection plans its first calls, which takes a while
				_, _ = killer.Exec(ctx, `
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
			}
		}
	}()
	const runs = 100
	var started []*runtime.Run[shipment]
	for i := range runs {
		for {
			r, err := orders.Start(ctx, pool, order{Buyer: fmt.Sprint(i), Lines: []string{"a", "b"}}, runtime.WithIdempotencyKey(fmt.Sprint(i)))
			if err == nil {
				started = append(started, r)
				break
			}
			// On a slow machine, none of the connections with which it tries again may live long
			// enough: the caller repeats it.
			require.NoError(t, ctx.Err(), err)
		}
	}
	time.Sleep(3 * time.Second) // under fire
	close(stop)
	<-stopped
	for i, r := range started {
		out, err := r.Wait(ctx)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(i), out.Buyer)
	}
	require.Equal(t, runs*6, count(t, pool, `SELECT count(*) FROM pgflow.step_tasks WHERE status = 'completed'`))
	require.Zero(t, count(t, pool, `SELECT count(*) FROM flowc.queue`))
	require.Less(t, strings.Count(w.log.String(), "\n"), 40, "faults are not logged one by one")
}

// While the server is away results wait, and the worker stays.
func TestServerRestart(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	server, url := dbtest.Server(t, nil)
	pool := dbtest.Connect(t, url)
	var calls atomic.Int64
	began, finish := make(chan struct{}), make(chan struct{})
	flow := job[int, int]("work", spec.Flow{})
	service := serve(flow, func(_ context.Context, n int) (int, error) {
		calls.Add(1)
		began <- struct{}{}
		<-finish
		return n, nil
	})
	upsert(t, pool, service)
	w := run(t, pool, worker.Config{}, service)
	started, err := flow.Start(ctx, pool, 7)
	require.NoError(t, err)
	receive(t, began)
	require.NoError(t, server.Stop(devdb.Immediate))
	close(finish)
	eventually(t, func() bool { return strings.Contains(w.log.String(), "database unreachable") }, "the outage is logged")
	require.NoError(t, server.Resume(ctx))
	out, err := started.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, 7, out)
	require.EqualValues(t, 1, calls.Load(), "the result was kept")
	eventually(t, func() bool { return strings.Contains(w.log.String(), "database reachable again") }, "so is its end")
	require.Equal(t, 1, strings.Count(w.log.String(), "database unreachable"))
}

// A worker that is started before its database waits for it.
func TestStartBeforeTheDatabase(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	server, url := dbtest.Server(t, nil)
	flow := job[int, int]("work", spec.Flow{})
	service := serve(flow, func(_ context.Context, n int) (int, error) { return n, nil })
	pool := dbtest.Connect(t, url)
	upsert(t, pool, service)
	require.NoError(t, server.Stop(devdb.Fast))
	w := run(t, pool, worker.Config{}, service)
	eventually(t, func() bool { return strings.Contains(w.log.String(), "database unreachable") }, "it is logged")
	require.NoError(t, server.Resume(ctx))
	out, err := flow.StartSync(ctx, pool, 7)
	require.NoError(t, err)
	require.Equal(t, 7, out)
}

// Handlers that use up the pool they share with the worker cannot starve it.
func TestHandlersMayUseUpThePool(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := job[int, int]("query", spec.Flow{})
	url := dbtest.URL(t)
	pool := dbtest.Connect(t, url)
	service := serve(flow, func(ctx context.Context, n int) (int, error) {
		_, err := pool.Exec(ctx, `SELECT pg_sleep(0.3)`)
		return n, err
	})
	upsert(t, pool, service)
	w := run(t, pool, worker.Config{Concurrency: 64}, service)
	watch := dbtest.Connect(t, url)
	started, err := flow.StartMany(ctx, watch, make([]int, 150))
	require.NoError(t, err)
	for _, run := range started {
		_, err := run.Wait(ctx)
		require.NoError(t, err)
	}
	w.counted(worker.Stats{Claimed: 150, Completed: 150})
}
