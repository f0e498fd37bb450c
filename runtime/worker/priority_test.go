package worker_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// A worker does what has a high priority first: of what waits, of what comes while it works,
// by claims that go with reports and with starts alike, and none is lost.
func TestPriorities(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := job[string, string]("work", spec.Flow{Priority: runtime.Low})
	var mu sync.Mutex
	var done []string
	gate := make(chan struct{})
	service := serve(flow, func(_ context.Context, name string) (string, error) {
		<-gate
		mu.Lock()
		defer mu.Unlock()
		done = append(done, name)
		return name, nil
	})
	pool := database(t, service)
	start := func(name string, n int, opts ...runtime.StartOption) (runs []*runtime.Run[string]) {
		inputs := slices.Repeat([]string{name}, n)
		runs, err := flow.StartMany(ctx, pool, inputs, opts...)
		require.NoError(t, err)
		return runs
	}
	all := start("low", 8)
	all = append(all, start("normal", 8, runtime.WithPriority(runtime.Normal))...)
	raised := start("raised", 1)[0]
	require.NoError(t, runtime.SetPriority(ctx, pool, raised.ID(), runtime.High))
	run(t, pool, worker.Config{Concurrency: 1}, service)
	eventually(t, func() bool {
		return count(t, pool, `SELECT count(*) FROM pgflow.step_tasks WHERE status = 'started'`) == 1
	}, "nothing is claimed")
	all = append(append(all, raised), start("high", 8, runtime.WithPriority(runtime.High))...)
	for range 4 { // alone, as eager starts are
		all = append(all, start("high", 1, runtime.WithPriority(runtime.High))...)
	}
	close(gate)
	for _, r := range all {
		_, err := r.Wait(ctx)
		require.NoError(t, err)
	}
	require.Equal(t, "raised"+strings.Repeat(" high", 12)+strings.Repeat(" normal", 8)+strings.Repeat(" low", 8), strings.Join(done, " "))
}
