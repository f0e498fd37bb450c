package dbconn

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// The wait doubles up to two seconds, and a success makes the next one short again.
func TestBackoff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b Backoff
		wait := func() time.Duration {
			began := time.Now()
			require.True(t, b.Wait(t.Context(), nil))
			return time.Since(began)
		}
		ms := time.Millisecond
		for _, want := range []time.Duration{50 * ms, 100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 2000 * ms, 2000 * ms} {
			require.Equal(t, want, wait())
		}
		b.Reset()
		require.Equal(t, 50*ms, wait())
	})
}

// A wait is over when another call succeeds, but never so soon that all callers come at
// once.
func TestBackoffEndsWithTheOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		recovered := make(chan struct{})
		close(recovered)
		b := Backoff{next: time.Hour}
		began := time.Now()
		require.True(t, b.Wait(t.Context(), recovered))
		require.Equal(t, minBackoff, time.Since(began))
	})
}
