package runtime_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
)

// BenchmarkTypedStart is a typed start through a pool, beside the call of the same
// statement as somebody would write it by hand. They take turns, so that whatever
// else the machine does happens to both.
//
//	go test ./runtime -run '^$' -bench TypedStart -benchmem
func BenchmarkTypedStart(b *testing.B) {
	ctx := context.Background()
	pool := dbtest.Connect(b, dbtest.URL(b))
	_, err := typed.Upsert(ctx, pool)
	require.NoError(b, err)
	in := greet{Name: "Ada"}
	byHand := func() error {
		input, err := json.Marshal(in)
		if err != nil {
			return err
		}
		id, err := uuid.NewV7()
		if err != nil {
			return err
		}
		var n int
		var existed bool
		var scheduled *time.Time
		var of *string
		return pool.QueryRow(ctx, runtime.StartSQL, "greeting", []string{string(input)}, []string{id.String()}, nil, nil).
			Scan(&n, &existed, &scheduled, &of)
	}
	start := func() error {
		_, err := typed.Start(ctx, pool, in)
		return err
	}
	for range 200 { // plans and caches
		require.NoError(b, byHand())
		require.NoError(b, start())
	}
	b.Run("allocations=typed", func(b *testing.B) { measure(b, start) })
	b.Run("allocations=by_hand", func(b *testing.B) { measure(b, byHand) })
	b.Run("ratio", func(b *testing.B) {
		var typedTime, handTime time.Duration
		for b.Loop() {
			began := time.Now()
			if err := start(); err != nil {
				b.Fatal(err)
			}
			between := time.Now()
			if err := byHand(); err != nil {
				b.Fatal(err)
			}
			typedTime += between.Sub(began)
			handTime += time.Since(between)
		}
		b.ReportMetric(float64(typedTime)/float64(handTime), "typed/by_hand")
	})
}

func measure(b *testing.B, call func() error) {
	b.ReportAllocs()
	for b.Loop() {
		if err := call(); err != nil {
			b.Fatal(err)
		}
	}
}
