package worker_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/internal/faultnet"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// through is a pool whose connections go through a network.
func through(t *testing.T, network *faultnet.Network, direct *pgxpool.Pool) *pgxpool.Pool {
	t.Helper()
	pool, err := network.Through(direct)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

// A claim whose reply is lost leaves tasks that nobody runs. They are
// released at once and not when their leases expire, which is in an hour here.
func TestLostClaims(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := job[int, int]("work", spec.Flow{Timeout: time.Hour})
	service := serve(flow, func(_ context.Context, n int) (int, error) { return n, nil })
	direct := database(t, service)
	var network faultnet.Network
	pool := through(t, &network, direct)
	started, err := flow.StartMany(ctx, direct, make([]int, 10))
	require.NoError(t, err)
	network.CutReplies("flowc.claim", 3)
	w := run(t, pool, worker.Config{Concurrency: 2}, service)
	for _, run := range started {
		_, err := run.Wait(ctx)
		require.NoError(t, err)
	}
	require.Equal(t, 3, network.Cuts())
	w.counted(worker.Stats{Claimed: 10, Completed: 10, FailedCalls: 3})
	require.Equal(t, 10, count(t, direct, `SELECT count(*) FROM pgflow.step_tasks WHERE attempts_count = 1 AND requeued_count = 0`))
}

// A report whose reply is lost has been recorded. It is repeated, and no task runs again.
func TestLostReports(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	var calls atomic.Int64
	flow := job[int, int]("work", spec.Flow{})
	service := serve(flow, func(_ context.Context, n int) (int, error) { calls.Add(1); return n, nil })
	direct := database(t, service)
	var network faultnet.Network
	pool := through(t, &network, direct)
	run(t, pool, worker.Config{}, service)
	for i := range 5 {
		network.CutReplies("flowc.report", 1)
		out, err := flow.StartSync(ctx, direct, i)
		require.NoError(t, err)
		require.Equal(t, i, out)
	}
	eventually(t, func() bool { return network.Cuts() == 5 }, "all replies were cut")
	require.EqualValues(t, 5, calls.Load())
}

// Half-open connections are closed when their calls time out.
func TestHalfOpenConnections(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := job[int, int]("work", spec.Flow{})
	service := serve(flow, func(_ context.Context, n int) (int, error) { return n, nil })
	direct := database(t, service)
	var network faultnet.Network
	run(t, through(t, &network, direct), worker.Config{}, service)
	_, err := flow.StartSync(ctx, direct, 1)
	require.NoError(t, err)
	network.Freeze()
	_, err = flow.StartSync(ctx, direct, 1)
	require.NoError(t, err)
}

// Behind a pooler in transaction mode LISTEN has no effect, and no prepared
// statement is there a second time.
func TestPooler(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	service := ordersService(box)
	direct := database(t, service)
	config := direct.Config()
	var network faultnet.Network
	network.SwallowListen()
	network.Apply(config)
	config.PrepareConn = func(ctx context.Context, conn *pgx.Conn) (bool, error) {
		_, err := conn.Exec(ctx, `DEALLOCATE ALL`, pgx.QueryExecModeSimpleProtocol)
		return true, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	require.NoError(t, err)
	defer pool.Close()
	w := run(t, pool, worker.Config{}, service)
	for range 3 {
		out, err := orders.StartSync(ctx, direct, order{Buyer: "Ada", Lines: []string{"tea"}})
		require.NoError(t, err)
		require.Equal(t, "Ada", out.Buyer)
	}
	require.Zero(t, w.Stats().FailedCalls)
	require.NoError(t, w.stopped())
}
