package temporalflow_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A step that one worker leaves to others is done by those, whichever of them began the
// run, and no attempt is lost on the way; a step with a limit does not exceed it.
func TestServerWithout(t *testing.T) {
	flow := spec.Flow{Slug: "separate", MaxAttempts: 1, Steps: []spec.Step{
		{Slug: "each", Type: spec.TypeMap}, {Slug: "middle", Deps: []string{"each"}}, {Slug: "last", Deps: []string{"middle"}},
	}}
	var mu sync.Mutex
	did, busy, most := map[string]int{}, 0, 0
	handlers := func(worker string) (all []handler.Handler) {
		for _, s := range flow.Steps {
			all = append(all, handler.HandleValues(s.Slug, func(ctx context.Context, _ handler.Values) (any, error) {
				task, _ := handler.TaskFromContext(ctx)
				mu.Lock()
				did[worker+" "+s.Slug]++
				if worker == "part" && s.Slug == "each" {
					busy++
					most = max(most, busy)
				}
				mu.Unlock()
				time.Sleep(5 * time.Millisecond) // others would begin meanwhile
				mu.Lock()
				defer mu.Unlock()
				if worker == "part" && s.Slug == "each" {
					busy--
				}
				return task.Attempt, nil
			}))
		}
		return all
	}
	n := newNamespace(t)
	_, err := runtime.UpsertFlow(t.Context(), n.db, flow)
	require.NoError(t, err)
	work(t, n.db, handler.Serve(flow, handlers("whole"), handler.Without("middle")))
	work(t, n.db, handler.Serve(flow, handlers("part"), handler.Without("last"), handler.Limit(1, "each")))
	for range 10 {
		run, err := runtime.StartFlow(t.Context(), n.db, "separate", []int{1, 2, 3, 4, 5})
		require.NoError(t, err)
		info := end(t, n.db, run)
		require.Equal(t, runtime.RunCompleted, info.Status, info.Error)
		require.JSONEq(t, `{"last": 1}`, string(info.Output), "the first attempt")
	}
	require.Zero(t, did["whole middle"]+did["part last"], did)
	require.Equal(t, []int{10, 10, 50}, []int{did["part middle"], did["whole last"], did["part each"] + did["whole each"]}, did)
	require.LessOrEqual(t, most, 1)
}

// What a run waits for is told from what Temporal knows of its activities.
func TestServerExplain(t *testing.T) {
	var once sync.Once
	began, free := make(chan struct{}), make(chan struct{})
	service := serve(spec.Flow{Slug: "explained", MaxAttempts: 3, BaseDelay: spec.Set(time.Hour), Steps: []spec.Step{{Slug: "broken"}, {Slug: "slow"}}},
		map[string]function{
			"broken": func(context.Context, handler.Values) (any, error) { return nil, errors.New("the bank is away") },
			"slow": func(context.Context, handler.Values) (any, error) {
				once.Do(func() { close(began) })
				<-free
				return 1, nil
			},
		})
	n := newNamespace(t)
	ctx := t.Context()
	require.NoError(t, runtime.UpsertServed(ctx, n.db, service))
	run, err := runtime.StartFlow(ctx, n.db, "explained", 1)
	require.NoError(t, err)
	kinds := func() (all []runtime.ReasonKind) {
		reasons, err := runtime.ExplainRun(ctx, n.db, run.ID())
		require.NoError(t, err)
		for _, r := range reasons {
			all = append(all, r.Kind)
			require.False(t, strings.HasSuffix(r.Worker, "@"), r.Worker)
			if r.Kind == runtime.ReasonRetry {
				require.Equal(t, []any{"broken", 1, 3, "the bank is away"}, []any{r.Step, r.Attempt, r.MaxAttempts, r.Message})
			}
		}
		return all
	}
	require.Equal(t, []runtime.ReasonKind{runtime.ReasonNoWorker}, kinds())
	_, err = run.Wait(ctx, runtime.WithTimeout(0))
	require.ErrorContains(t, err, "(it is running, 2 steps remain: no worker serves explained)")
	info, err := runtime.GetRun(ctx, n.db, run.ID(), runtime.WithStates())
	require.NoError(t, err)
	require.Len(t, info.States, 2)
	work(t, n.db, service)
	<-began
	defer close(free)
	eventually(t, "one step waits for its next attempt, and one runs", func() bool {
		now := kinds()
		return len(now) == 2 && now[0] == runtime.ReasonRetry && now[1] == runtime.ReasonRunning
	})
	require.NoError(t, runtime.CancelRun(ctx, n.db, run.ID(), "enough"))
	require.Empty(t, kinds())
}
