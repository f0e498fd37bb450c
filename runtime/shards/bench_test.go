package shards_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/shards"
)

// BenchmarkStart compares starts through shards, of which there is one, with starts through
// its pool: what placement and the map cost. Both take turns, and the median of the ratios
// is reported as times/pool. With "moved", each key belonged to another shard before, where
// it is looked for.
func BenchmarkStart(b *testing.B) {
	pools := map[string]*pgxpool.Pool{"a": dbtest.Pool(b)}
	require.NoError(b, shards.Init(b.Context(), pools))
	db, err := shards.Open(b.Context(), pools)
	require.NoError(b, err)
	_, err = greet.Upsert(b.Context(), db)
	require.NoError(b, err)
	key := func() []runtime.StartOption {
		return []runtime.StartOption{runtime.WithIdempotencyKey(uuid.NewString())}
	}
	start := func(db runtime.DB, starters int, options func() []runtime.StartOption) time.Duration {
		began := time.Now()
		var all sync.WaitGroup
		for range starters {
			all.Go(func() {
				for range 64 / starters {
					if _, err := greet.Start(b.Context(), db, "ada", options()...); err != nil {
						b.Error(err)
					}
				}
			})
		}
		all.Wait()
		return time.Since(began)
	}
	compare := func(name, shard string, starters int, options func() []runtime.StartOption) {
		b.Run(name, func(b *testing.B) {
			var ratios []float64
			for i := range b.N {
				var took [2]time.Duration
				for k := range took {
					if one := (i + k) % 2; one == 0 {
						took[0] = start(pools[shard], starters, options)
					} else {
						took[1] = start(db, starters, options)
					}
				}
				ratios = append(ratios, float64(took[1])/float64(took[0]))
			}
			slices.Sort(ratios)
			b.ReportMetric(ratios[len(ratios)/2], "times/pool")
		})
	}
	none := func() []runtime.StartOption { return nil }
	compare("one", "a", 1, none)
	compare("one with key", "a", 1, key)
	compare("sixteen", "a", 16, none)
	compare("sixteen with key", "a", 16, key)
	pools["b"] = dbtest.Pool(b)
	require.NoError(b, db.Add(b.Context(), "b", pools["b"]))
	require.NoError(b, db.Drain(b.Context(), "a"))
	compare("one with key, moved", "b", 1, key)
	compare("sixteen with key, moved", "b", 16, key)
}
