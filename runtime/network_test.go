package runtime_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/faultnet"
)

// A start whose reply is lost has happened; it is repeated and still one run.
func TestStartSurvivesLostReplies(t *testing.T) {
	t.Parallel()
	ctx, direct := open(t)
	var network faultnet.Network
	pool, err := network.Through(direct)
	require.NoError(t, err)
	defer pool.Close()
	for i := range 20 {
		network.CutReplies("flowc.start", 2)
		run, err := typed.Start(ctx, pool, greet{})
		require.NoError(t, err)
		require.False(t, run.Existed(), "nobody but us can have started it")
		require.Equal(t, 2*(i+1), network.Cuts())
	}
	require.Equal(t, 20, count(t, direct, `SELECT count(*) FROM pgflow.runs`))
}

// Through anything but a pool, a lost reply is the caller's to deal with.
func TestStartThroughAConnectionIsNotRepeated(t *testing.T) {
	t.Parallel()
	ctx, direct := open(t)
	var network faultnet.Network
	pool, err := network.Through(direct)
	require.NoError(t, err)
	defer pool.Close()
	conn, err := pgx.ConnectConfig(ctx, pool.Config().ConnConfig)
	require.NoError(t, err)
	defer conn.Close(ctx)
	network.CutReplies("flowc.start", 1)
	_, err = typed.Start(ctx, conn, greet{})
	require.Error(t, err)
	require.Equal(t, 1, network.Cuts())
}

func TestWaitSurvivesHalfOpenConnections(t *testing.T) {
	t.Parallel()
	ctx, direct := open(t)
	var network faultnet.Network
	pool, err := network.Through(direct)
	require.NoError(t, err)
	defer pool.Close()
	run, err := typed.Start(ctx, pool, greet{})
	require.NoError(t, err)
	wait := waiting(ctx, run, runtime.WithPollInterval(time.Hour))
	require.Eventually(t, func() bool { return count(t, direct, `SELECT count(*) FROM flowc.waiters`) == 1 }, patience, time.Millisecond)
	pool.Reset() // what listens is not the pool's
	network.Freeze()
	h := newHand(t, direct)
	h.finish("greeting", "completed", `"x"`)
	h.finish("greeting", "completed", `"y"`)
	got := receive(t, wait)
	require.NoError(t, got.err)
	require.Equal(t, "y", got.out)
}

// behindPooler is a pool that works as one behind a pooler in transaction mode:
// LISTEN has no effect, and no prepared statement is there a second time.
func behindPooler(t *testing.T, direct *pgxpool.Pool) *pgxpool.Pool {
	t.Helper()
	config := direct.Config()
	var network faultnet.Network
	network.SwallowListen()
	network.Apply(config)
	config.PrepareConn = func(ctx context.Context, conn *pgx.Conn) (bool, error) {
		_, err := conn.Exec(ctx, `DEALLOCATE ALL`, pgx.QueryExecModeSimpleProtocol)
		return true, err
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

func TestPooler(t *testing.T) {
	t.Parallel()
	ctx, direct := open(t)
	pool := behindPooler(t, direct)
	for range 10 {
		_, err := typed.Start(ctx, pool, greet{})
		require.NoError(t, err)
	}
	run, err := typed.Start(ctx, pool, greet{}, runtime.WithIdempotencyKey("last"))
	require.NoError(t, err)
	wait := waiting(ctx, run, runtime.WithPollInterval(20*time.Millisecond))
	h := newHand(t, direct)
	for range 11 {
		h.finish("greeting", "completed", `"x"`)
	}
	for range 11 {
		h.finish("greeting", "completed", `"y"`)
	}
	got := receive(t, wait)
	require.NoError(t, got.err)
	require.Equal(t, "y", got.out)
}
