package worker

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

// Calls wait for their turn, but not for one that takes long, nor where the
// database is far away; and a turn is given on once, however it ends.
func TestTurns(t *testing.T) {
	t.Parallel()
	c := &conns{turns: make(chan struct{}, turns)}
	ctx := context.Background()
	began := time.Now()
	var ends []func()
	var last context.Context
	for range turns {
		turn, done := c.inTurn(ctx)
		last, ends = turn, append(ends, done)
	}
	_, done := c.inTurn(last)
	done()
	require.Len(t, c.turns, turns, "a call inside a turn takes another")

	_, done = c.inTurn(ctx)
	require.GreaterOrEqual(t, time.Since(began), turnTime, "there were more turns")
	for _, end := range ends {
		end() // given on already
	}
	done()
	require.Eventually(t, func() bool { return len(c.turns) == 0 }, 10*time.Second, time.Millisecond, "a turn got lost")

	c.trip.Store(int64(2 * farAway))
	for range 10 * turns {
		c.inTurn(ctx)
	}
	require.Empty(t, c.turns, "calls wait for each other on their way")

	c.trip.Store(1)
	for range turns {
		c.inTurn(ctx)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	_, done = c.inTurn(gone)
	done()
}

// The workers of a pool share connections, which are closed with the last of them.
func TestSharedConns(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	open := func(pool *pgxpool.Pool, prepared bool) *conns {
		c, err := acquireConns(pool, prepared)
		require.NoError(t, err)
		return c
	}
	closed := func(c *conns) bool {
		_, err := c.own.Acquire(ctx)
		return strings.Contains(err.Error(), "closed pool")
	}
	var pools [2]*pgxpool.Pool
	for i := range pools {
		pool, err := pgxpool.New(ctx, "host=/nowhere")
		require.NoError(t, err)
		defer pool.Close()
		pools[i] = pool
	}
	first, second := open(pools[0], true), open(pools[0], true)
	require.Same(t, first, second)
	careful, other := open(pools[0], false), open(pools[1], true)
	require.NotSame(t, first, careful)
	require.NotSame(t, first, other)
	careful.close()
	other.close()
	require.True(t, closed(careful))
	first.close()
	require.False(t, closed(second), "one that others use was closed")
	second.close()
	require.True(t, closed(second))
	third := open(pools[0], true)
	require.NotSame(t, first, third, "one that is closed is used again")
	third.close()
}
