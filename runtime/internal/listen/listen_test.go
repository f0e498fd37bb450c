package listen_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/internal/faultnet"
	"github.com/flowc-dev/flowc/runtime/internal/listen"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

const patience = time.Minute

func receive(t *testing.T, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		require.FailNow(t, "nothing came")
	}
}

func notify(t *testing.T, pool *pgxpool.Pool, channel, payload string) {
	t.Helper()
	_, err := pool.Exec(context.Background(), `SELECT pg_notify($1, $2)`, channel, payload)
	require.NoError(t, err)
}

// drain receives the signals of a changed connection.
func drain(s *listen.Subscription) {
	select {
	case <-s.C:
	default:
	}
}

// acquire returns a listener that has proved itself.
func acquire(t *testing.T, pool *pgxpool.Pool) *listen.Listener {
	t.Helper()
	l := listen.Acquire(pool)
	t.Cleanup(l.Release)
	receive(t, l.Proved())
	return l
}

func TestNotifications(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	l := acquire(t, pool)
	require.NotZero(t, l.Live())
	require.Same(t, l, acquire(t, pool), "a pool has one listener")
	one, other := l.Subscribe(listen.Work, "a", "b"), l.Subscribe(listen.Done, "a")
	notify(t, pool, listen.Work, "c")
	notify(t, pool, listen.Work, "b")
	receive(t, one.C)
	arrived, missed := one.Arrived()
	require.Equal(t, []string{"b"}, arrived)
	require.False(t, missed)
	arrived, _ = one.Arrived()
	require.Empty(t, arrived)
	notify(t, pool, listen.Done, "a")
	receive(t, other.C)
	require.Empty(t, one.C)
	one.Close()
	notify(t, pool, listen.Work, "a")
	notify(t, pool, listen.Done, "a")
	receive(t, other.C)
	require.Empty(t, one.C)
	other.Close()
}

// A connection that breaks wakes everybody, and so does the one after it.
func TestBrokenConnection(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	l := acquire(t, pool)
	s := l.Subscribe(listen.Work, "a")
	defer s.Close()
	before := l.Live()
	_, err := pool.Exec(context.Background(), `
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'`)
	require.NoError(t, err)
	receive(t, s.C)
	_, missed := s.Arrived()
	require.True(t, missed)
	require.Eventually(t, func() bool { return l.Live() > before }, patience, time.Millisecond)
	drain(s)
	require.Eventually(t, func() bool {
		notify(t, pool, listen.Work, "a")
		select {
		case <-s.C:
			return true
		default:
			return false
		}
	}, patience, 10*time.Millisecond)
}

// A connection whose other end is gone is found out although nothing refuses it.
func TestHalfOpenConnection(t *testing.T) {
	t.Parallel()
	direct := dbtest.Pool(t)
	var network faultnet.Network
	pool, err := network.Through(direct)
	require.NoError(t, err)
	defer pool.Close()
	l := listen.Acquire(pool)
	defer l.Release()
	receive(t, l.Proved())
	before := l.Live()
	network.Freeze()
	require.Eventually(t, func() bool { return l.Live() > before }, patience, time.Millisecond)
}

func TestPooler(t *testing.T) {
	t.Parallel()
	direct := dbtest.Pool(t)
	var network faultnet.Network
	network.SwallowListen()
	pool, err := network.Through(direct)
	require.NoError(t, err)
	defer pool.Close()
	l := listen.Acquire(pool)
	defer l.Release()
	require.False(t, listen.BehindPooler(pool))
	receive(t, l.Proved())
	require.Zero(t, l.Live())
	require.True(t, listen.BehindPooler(pool))
}
