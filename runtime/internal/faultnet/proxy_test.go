package faultnet_test

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/internal/faultnet"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// connect connects through a new proxy.
func connect(t *testing.T) (*faultnet.Proxy, string, *pgx.Conn) {
	t.Helper()
	direct, err := pgx.ParseConfig(dbtest.URL(t))
	require.NoError(t, err)
	proxy, err := faultnet.NewProxy(direct.ConnString())
	require.NoError(t, err)
	t.Cleanup(proxy.Close)
	url := proxy.URL(direct.User, direct.Database)
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return proxy, url, conn
}

func ping(t *testing.T, conn *pgx.Conn, limit time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	return conn.Ping(ctx)
}

func TestProxyResets(t *testing.T) {
	t.Parallel()
	proxy, url, conn := connect(t)
	require.NoError(t, ping(t, conn, 5*time.Second))
	proxy.Reset()
	require.ErrorIs(t, ping(t, conn, 5*time.Second), syscall.ECONNRESET)
	again, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	require.NoError(t, again.Close(t.Context()))
}

func TestProxyRefuses(t *testing.T) {
	t.Parallel()
	proxy, url, conn := connect(t)
	proxy.Refuse()
	require.Error(t, ping(t, conn, 5*time.Second))
	_, err := pgx.Connect(t.Context(), url)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.NoError(t, proxy.Accept())
	again, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	require.NoError(t, again.Close(t.Context()))
}

func TestProxyFreezes(t *testing.T) {
	t.Parallel()
	proxy, url, conn := connect(t)
	proxy.Freeze()
	err := ping(t, conn, 300*time.Millisecond)
	require.True(t, errors.Is(err, context.DeadlineExceeded), "nothing is refused: %v", err)
	again, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	require.NoError(t, ping(t, again, 5*time.Second))
	require.NoError(t, again.Close(t.Context()))
}

func TestProxyIsSlow(t *testing.T) {
	t.Parallel()
	proxy, _, conn := connect(t)
	proxy.Slow(50*time.Millisecond, 0)
	began := time.Now()
	require.NoError(t, ping(t, conn, 5*time.Second))
	require.GreaterOrEqual(t, time.Since(began), 100*time.Millisecond)
	proxy.Slow(0, 100_000)
	began = time.Now()
	var text string
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT repeat('x', 30000)`).Scan(&text))
	require.GreaterOrEqual(t, time.Since(began), 200*time.Millisecond)
}

func TestProxyHolds(t *testing.T) {
	t.Parallel()
	proxy, _, conn := connect(t)
	release := proxy.Hold()
	time.AfterFunc(200*time.Millisecond, release)
	began := time.Now()
	require.NoError(t, ping(t, conn, 5*time.Second))
	require.GreaterOrEqual(t, time.Since(began), 200*time.Millisecond)
}
