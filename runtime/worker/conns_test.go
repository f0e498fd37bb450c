package worker

import (
	"context"
	"testing"
	"time"

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
