package temporalflow_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// mapOf returns a flow that maps over a list as long as its input says.
func mapOf(slug string, each func(ctx context.Context, item int) (int, error)) handler.Service {
	return handler.Serve(spec.Flow{Slug: slug, Steps: []spec.Step{
		{Slug: "list"}, {Slug: "each", Type: spec.TypeMap, Deps: []string{"list"}, MaxAttempts: 1}, {Slug: "sum", Deps: []string{"each"}},
	}}, []handler.Handler{
		handler.Handle("list", handler.Input[int](), func(_ context.Context, n int) ([]int, error) {
			all := make([]int, n)
			for i := range all {
				all[i] = i
			}
			return all, nil
		}),
		handler.Handle("each", handler.Item[int](), each),
		handler.Handle("sum", handler.Output[[]int]("each"), func(_ context.Context, all []int) (int, error) {
			sum := 0
			for _, i := range all {
				sum += i
			}
			return sum, nil
		}),
	})
}

// A large map does not fill the history of its run.
func TestServerLargeMap(t *testing.T) {
	items := 10_000
	if text := os.Getenv("FLOWC_TEMPORAL_ITEMS"); text != "" {
		var err error
		items, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	n := open(t, mapOf("large", func(_ context.Context, item int) (int, error) { return 2 * item, nil }))
	began := time.Now()
	run, err := runtime.StartFlow(t.Context(), n.db, "large", items)
	require.NoError(t, err)
	out, err := run.Wait(t.Context(), runtime.WithTimeout(20*time.Minute))
	require.NoError(t, err)
	took := time.Since(began)
	require.JSONEq(t, fmt.Sprintf(`{"sum": %d}`, items*(items-1)), string(out))
	described, err := n.client.DescribeWorkflow(t.Context(), run.ID(), "")
	require.NoError(t, err)
	events := described.HistoryLength
	t.Logf("a map of %d took %s, %.0f/s; its run has %d events", items, took.Round(time.Millisecond), float64(items)/took.Seconds(), events)
	require.Less(t, events, 2000)
}

// A task that fails within a large map fails the run, which says which element it was.
func TestServerLargeMapFails(t *testing.T) {
	const items, bad = 700, 640
	n := open(t, mapOf("large_fails", func(_ context.Context, item int) (int, error) {
		if item == bad {
			return 0, errors.New("not this one")
		}
		return item, nil
	}))
	run, err := runtime.StartFlow(t.Context(), n.db, "large_fails", items)
	require.NoError(t, err)
	info := end(t, n.db, run)
	require.Equal(t, []any{runtime.RunFailed, fmt.Sprintf("each[%d]", bad), "not this one"}, []any{info.Status, info.Failed(), info.Error})
}

// The list of a map may be longer than a value: it is read in pieces.
func TestServerLongList(t *testing.T) {
	n := open(t, serve(spec.Flow{Slug: "long", Steps: []spec.Step{{Slug: "each", Type: spec.TypeMap}}},
		map[string]function{"each": give(strings.Repeat("x", 30_000))}))
	run, err := runtime.StartFlow(t.Context(), n.db, "long", make([]int, 100))
	require.NoError(t, err)
	info := end(t, n.db, run)
	require.Equal(t, runtime.RunCompleted, info.Status, info.Error)
	require.Len(t, info.States, 1)
	var list []string
	require.NoError(t, json.Unmarshal(info.States[0].Output, &list))
	require.Len(t, list, 100)
}
