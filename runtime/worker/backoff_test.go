package worker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// The wait between tries doubles, and ends at two seconds; what succeeds makes the
// next one short again.
func TestBackoff(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(context.Background())
	cancel() // the waits themselves are not the point
	var b backoff
	var waits []time.Duration
	for range 9 {
		require.False(t, b.wait(ended, &database{}))
		waits = append(waits, b.next)
	}
	ms := time.Millisecond
	require.Equal(t, []time.Duration{50 * ms, 100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 2000 * ms, 2000 * ms, 2000 * ms}, waits)
	b.reset()
	b.wait(ended, &database{})
	require.Equal(t, 50*ms, b.next)
}

// A wait is over when somebody else finds the database back, though never so soon
// that all come at once.
func TestBackoffEndsWithTheOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		back := make(chan struct{})
		close(back)
		b := backoff{next: time.Hour}
		began := time.Now()
		require.True(t, b.wait(t.Context(), &database{back: back}))
		require.GreaterOrEqual(t, time.Since(began), minBackoff)
		require.Less(t, time.Since(began), maxBackoff)
	})
}
