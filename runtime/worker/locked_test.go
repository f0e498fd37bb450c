package worker_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// TestReportsBesideALockedRun: a transaction that steers a run and stays open holds up no
// other run. What the run's own handler gave is kept, and reported when the transaction
// has ended, even if the worker is told to stop meanwhile.
func TestReportsBesideALockedRun(t *testing.T) {
	t.Parallel()
	for _, stopping := range []bool{false, true} {
		t.Run(map[bool]string{false: "working", true: "stopping"}[stopping], func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			const held = 0
			var tries atomic.Int64
			begun, goOn := make(chan int, 100), make(chan struct{})
			flow := job[int, int]("job", spec.Flow{})
			service := serve(flow, func(_ context.Context, n int) (int, error) {
				if n == held {
					tries.Add(1)
				}
				begun <- n
				<-goOn
				return n, nil
			})
			pool := database(t, service)
			r := run(t, pool, worker.Config{Concurrency: 20}, service)
			runs, err := flow.StartMany(ctx, pool, []int{held, 1, 2, 3, 4, 5, 6, 7, 8, 9})
			require.NoError(t, err)
			for range runs {
				receive(t, begun)
			}
			tx, err := pool.Begin(ctx)
			require.NoError(t, err)
			defer func() { _ = tx.Rollback(context.Background()) }()
			require.NoError(t, runtime.CancelRun(ctx, tx, runs[held].ID(), "perhaps"))
			close(goOn)

			for n, one := range runs[1:] {
				out, err := one.Wait(ctx)
				require.NoError(t, err)
				require.Equal(t, n+1, out)
			}
			more, err := flow.Start(ctx, pool, 10) // and it goes on
			require.NoError(t, err)
			_, err = more.Wait(ctx)
			require.NoError(t, err)

			if stopping {
				r.stop()
				require.Eventually(t, func() bool { return r.Health().State == worker.StateStopping }, patience, time.Millisecond)
			}
			require.NoError(t, tx.Rollback(ctx))
			out, err := runs[held].Wait(ctx)
			require.NoError(t, err)
			require.Equal(t, held, out)
			require.EqualValues(t, 1, tries.Load())
			require.NoError(t, r.stopped())
		})
	}
}
