//go:build unix

package chaos

import (
	"hash/fnv"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
)

// At full length the tests run one after the other: each needs the machine for what it
// measures. Short ones wait most of the time, and run side by side.
func TestMain(m *testing.M) {
	if text := os.Getenv(processEnv); text != "" {
		os.Exit(beWorker(text))
	}
	dbtest.Main(m)
}

// full reports whether the tests take their full length.
var full = os.Getenv("FLOWC_CHAOS") != ""

// scaled is a number for the full length, or one for a short run.
func scaled[T any](long, short T) T {
	if full {
		return long
	}
	return short
}

// goal is what a time is held to. In a short run, which shares its machine with all
// other tests, times say little.
func goal(d time.Duration) time.Duration { return scaled(d, 2*patience) }

// chances are the random numbers of a test, whose seed is printed.
func chances(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("FLOWC_CHAOS_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("FLOWC_CHAOS_SEED=%d", seed)
	h := fnv.New64a()
	_, _ = h.Write([]byte(t.Name()))
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// between is a time between two others.
func between(r *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(r.Int64N(int64(most-least)+1))
}
