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
	ctx, direct, network, pool := openThrough(t)
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
	ctx, _, network, pool := openThrough(t)
	conn, err := pgx.ConnectConfig(ctx, pool.Config().ConnConfig)
	require.NoError(t, err)
	defer conn.Close(ctx)
	network.CutReplies("flowc.start", 1)
	_, err = typed.Start(ctx, conn, greet{})
	require.Error(t, err)
	require.Equal(t, 1, network.Cuts())
}

// A transaction whose commit was done, and whose caller was not told so, is done again
// by its caller: with a key that is still one run.
func TestKeySurvivesALostCommit(t *testing.T) {
	t.Parallel()
	ctx, direct := open(t)
	_, err := direct.Exec(ctx, `CREATE TABLE orders (id int PRIMARY KEY)`)
	require.NoError(t, err)
	var network faultnet.Network
	pool, err := network.Through(direct)
	require.NoError(t, err)
	defer pool.Close()
	ids := map[string]bool{}
	order := func() (run *runtime.Run[string], err error) {
		err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `INSERT INTO orders VALUES (1) ON CONFLICT DO NOTHING`); err != nil {
				return err
			}
			run, err = typed.Start(ctx, tx, greet{Name: "Ada"}, runtime.WithIdempotencyKey("order 1"))
			if err == nil {
				ids[run.ID()] = true
			}
			return err
		})
		return run, err
	}
	network.CutReplies("commit", 1)
	_, err = order()
	require.Error(t, err, "nobody knows whether it is done")
	require.Equal(t, 1, network.Cuts())
	run, err := order()
	require.NoError(t, err)
	require.True(t, run.Existed(), "it was")
	require.Len(t, ids, 1)

	// The same without a transaction, through a connection and through a pool.
	conn, err := pgx.ConnectConfig(ctx, pool.Config().ConnConfig)
	require.NoError(t, err)
	network.CutReplies("flowc.start", 1)
	_, err = typed.Start(ctx, conn, greet{}, runtime.WithIdempotencyKey("order 2"))
	require.Error(t, err)
	require.NoError(t, conn.Close(ctx))
	run, err = typed.Start(ctx, pool, greet{}, runtime.WithIdempotencyKey("order 2"))
	require.NoError(t, err)
	require.True(t, run.Existed())
	network.CutReplies("flowc.start", 1)
	many, err := typed.StartMany(ctx, pool, []greet{{}, {}}, runtime.WithKeys("order 2", "order 3"))
	require.NoError(t, err)
	require.Equal(t, run.ID(), many[0].ID())
	require.Equal(t, 3, count(t, direct, `SELECT count(*) FROM pgflow.runs`))
	require.Equal(t, 3, network.Cuts())
}

// A wait ends when its time is over, whatever it waits in: asleep until it is woken,
// or for a database that does not answer.
func TestWaitNeverOutlastsItsTime(t *testing.T) {
	t.Parallel()
	ctx, direct, network, pool := openThrough(t)
	run, err := typed.Start(ctx, pool, greet{})
	require.NoError(t, err)
	const limit = 500 * time.Millisecond
	asleep := runtime.WithPollInterval(time.Hour)
	sleeps, stop := context.WithCancel(ctx)
	sleeper := waiting(sleeps, run.Via(pool), asleep) // so that the listener lives
	require.Eventually(t, func() bool { return count(t, direct, `SELECT count(*) FROM flowc.run_waiters`) == 1 }, patience, time.Millisecond)
	for name, wait := range map[string]func() error{
		"a timeout": func() error { return second(run.Wait(ctx, asleep, runtime.WithTimeout(limit))) },
		"a deadline": func() error {
			ctx, cancel := context.WithTimeout(ctx, limit)
			defer cancel()
			return second(run.Wait(ctx, asleep, runtime.WithTimeout(time.Hour)))
		},
	} {
		took := timed(func() { err = wait() })
		var early *runtime.WaitError
		require.ErrorAs(t, err, &early, name)
		require.Equal(t, run.ID(), early.RunID, name)
		require.GreaterOrEqual(t, took, limit, name)
		require.Less(t, took, patience, name)
	}
	// Looking once more when the time is up takes a second at most, and saying how
	// far the run is another.
	network.Freeze()
	took := timed(func() { err = second(run.Wait(ctx, asleep, runtime.WithTimeout(limit))) })
	require.ErrorIs(t, err, runtime.ErrTimeout)
	require.Less(t, took, patience)
	ended, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	network.Freeze()
	took = timed(func() { err = second(run.Wait(ended, asleep)) })
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, took, patience)
	stop()
	require.ErrorIs(t, receive(t, sleeper).err, context.Canceled)
}

func timed(do func()) time.Duration {
	began := time.Now()
	do()
	return time.Since(began)
}

func TestWaitSurvivesHalfOpenConnections(t *testing.T) {
	t.Parallel()
	ctx, direct, network, pool := openThrough(t)
	run, err := typed.Start(ctx, pool, greet{})
	require.NoError(t, err)
	wait := waiting(ctx, run, runtime.WithPollInterval(time.Hour))
	require.Eventually(t, func() bool { return count(t, direct, `SELECT count(*) FROM flowc.run_waiters`) == 1 }, patience, time.Millisecond)
	pool.Reset() // what listens is not the pool's
	network.Freeze()
	h := newHand(t, direct)
	h.Finish("greeting", "completed", `"x"`)
	h.Finish("greeting", "completed", `"y"`)
	got := receive(t, wait)
	require.NoError(t, got.err)
	require.Equal(t, "y", got.out)
}

// behindPooler returns a pool that works like one behind a pooler in transaction mode:
// LISTEN has no effect, and prepared statements are gone the second time.
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
		h.Finish("greeting", "completed", `"x"`)
	}
	for range 11 {
		h.Finish("greeting", "completed", `"y"`)
	}
	got := receive(t, wait)
	require.NoError(t, got.err)
	require.Equal(t, "y", got.out)
}
