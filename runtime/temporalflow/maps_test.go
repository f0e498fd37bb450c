package temporalflow

import (
	"context"
	"encoding/json"

	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

type function = func(context.Context, handler.Values) (any, error)

func serve(flow spec.Flow, functions map[string]function) handler.Service {
	var handlers []handler.Handler
	for step, fn := range functions {
		handlers = append(handlers, handler.HandleValues(step, fn))
	}
	return handler.Serve(flow, handlers)
}

func start(t *testing.T, db runtime.DB, flow string, input any, opts ...runtime.StartOption) *runtime.Run[json.RawMessage] {
	t.Helper()
	run, err := runtime.StartFlow(t.Context(), db, flow, input, opts...)
	require.NoError(t, err)
	return run
}

// end waits for the end of a run, and returns it with the states of its steps.
func end(t *testing.T, run *runtime.Run[json.RawMessage], db runtime.DB) *runtime.RunInfo {
	t.Helper()
	if _, err := run.Wait(t.Context()); err != nil {
		require.ErrorAs(t, err, new(*runtime.RunFailedError))
	}
	info, err := runtime.GetRun(t.Context(), db, run.ID(), runtime.WithStates())
	require.NoError(t, err)
	return info
}

// large is a list whose parts go to four child workflows, since its elements are long.
func large() (list []string) {
	for i := range 30 {
		list = append(list, fmt.Sprintf("%d %s", i, strings.Repeat("x", 60<<10)))
	}
	return list
}

// A task that fails within a large map ends its step as the step's mode says, with its own
// index and error. A retry keeps what the parts of the map have completed.
func TestLargeMapFails(t *testing.T) {
	t.Parallel()
	const bad = 12
	for _, mode := range []spec.Mode{spec.ModeFail, spec.ModeSkip, spec.ModeSkipCascade} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			var repaired atomic.Bool
			var mu sync.Mutex
			calls := map[int]int{}
			db := newMemoryDB(serve(spec.Flow{Slug: "large", MaxAttempts: 2, BaseDelay: spec.Set(time.Duration(0)), Steps: []spec.Step{
				{Slug: "each", Type: spec.TypeMap, WhenExhausted: mode}, {Slug: "after", Deps: []string{"each"}}, {Slug: "beside"},
			}}, map[string]function{
				"each": func(ctx context.Context, v handler.Values) (any, error) {
					task, _ := handler.TaskFromContext(ctx)
					if !strings.HasPrefix(string(v.Item), fmt.Sprintf(`"%d `, task.Index)) {
						return nil, handler.Permanent(fmt.Errorf("item %.10s has index %d", v.Item, task.Index))
					}
					if task.Index == bad && !repaired.Load() {
						return nil, fmt.Errorf("not %d in attempt %d", bad, task.Attempt)
					}
					mu.Lock()
					defer mu.Unlock()
					calls[task.Index]++
					return task.Index, nil
				},
				"after":  func(_ context.Context, v handler.Values) (any, error) { return len(v.Outputs), nil },
				"beside": func(context.Context, handler.Values) (any, error) { return 1, nil },
			}))
			list := large()
			run := start(t, db, "large", list)
			info := end(t, run, db)
			each := info.States[0]
			if mode != spec.ModeFail {
				require.Equal(t, runtime.RunCompleted, info.Status, info.Error)
				require.Equal(t, []any{runtime.StepSkipped, "handler_failed", fmt.Sprintf("not %d in attempt 2", bad)}, []any{each.Status, each.SkipReason, each.Error})
				require.Equal(t, mode == spec.ModeSkip, info.States[1].Status == runtime.StepCompleted)
				return
			}
			require.Equal(t, []any{runtime.RunFailed, fmt.Sprintf("each[%d]", bad), fmt.Sprintf("not %d in attempt 2", bad)}, []any{info.Status, info.Failed(), info.Error})
			kept := len(list) - *each.RemainingTasks
			repaired.Store(true)
			require.NoError(t, runtime.RetryRun(t.Context(), db, run.ID()))
			info = end(t, run, db)
			require.Equal(t, runtime.RunCompleted, info.Status, info.Error)
			var indexes []int
			require.NoError(t, json.Unmarshal(info.States[0].Output, &indexes))
			twice := 0
			for i, index := range indexes {
				require.Equal(t, i, index)
			}
			require.Len(t, indexes, len(list))
			for _, n := range calls {
				twice += n - 1
			}
			require.LessOrEqual(t, twice, len(list)-kept, "what was told as completed is kept")
		})
	}
}

// Values that Temporal does not take fail the run or the start, with their size, the
// limit, and what to do.
func TestTooLong(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxValue)
	half := strings.Repeat("x", maxValue/2)
	gives := func(v any) function {
		return func(context.Context, handler.Values) (any, error) { return v, nil }
	}
	echo := func(_ context.Context, v handler.Values) (any, error) { return half, nil }
	items := make([]int, 200)
	db := newMemoryDB(
		serve(spec.Flow{Slug: "output", Steps: []spec.Step{{Slug: "a"}}}, map[string]function{"a": gives(long)}),
		serve(spec.Flow{Slug: "together", Steps: []spec.Step{{Slug: "a"}, {Slug: "b"}, {Slug: "join", Deps: []string{"a", "b"}}}},
			map[string]function{"a": gives(half), "b": gives(half), "join": gives(1)}),
		serve(spec.Flow{Slug: "parts", Steps: []spec.Step{{Slug: "each", Type: spec.TypeMap}}}, map[string]function{"each": gives(strings.Repeat("x", 20_000))}),
		serve(spec.Flow{Slug: "fits", Steps: []spec.Step{{Slug: "a"}, {Slug: "b", Deps: []string{"a"}}}}, map[string]function{"a": gives(half), "b": echo}),
	)
	for flow, what := range map[string]string{
		"output":   "output of step a",
		"together": "the values that step join is given",
		"parts":    "the outputs of a part of the map",
	} {
		input := any(1)
		if flow == "parts" {
			input = items
		}
		info := end(t, start(t, db, flow, input), db)
		require.Equal(t, runtime.RunFailed, info.Status, flow)
		require.Regexp(t, "^flowc: "+what+`: it has \d{7} bytes, and Temporal takes 2093056 at most: store it elsewhere and pass its name, or give the client ExternalStorage`, info.Error)
		require.Equal(t, 1, strings.Count(info.Error, "bytes"))
		for _, s := range info.States {
			require.LessOrEqual(t, s.Attempts, 1+len(items), "it is not attempted again")
		}
	}
	_, err := runtime.StartFlow(t.Context(), db, "output", long)
	var input *runtime.InputError
	require.ErrorAs(t, err, &input)
	require.ErrorContains(t, input, "the input: it has 2093058 bytes, and Temporal takes 2093056 at most")

	info := end(t, start(t, db, "fits", 1), db)
	require.Equal(t, runtime.RunCompleted, info.Status, info.Error)
}

// A step that cannot be given its values fails at once, or is skipped, and the run goes on:
// nothing that is in flight has to end first.
func TestTooLongToHandOut(t *testing.T) {
	t.Parallel()
	give := func(v any) function {
		return func(context.Context, handler.Values) (any, error) { return v, nil }
	}
	big := give(strings.Repeat("x", 1_200_000))
	join := func(mode spec.Mode) []spec.Step {
		return []spec.Step{{Slug: "a"}, {Slug: "b"}, {Slug: "join", Deps: []string{"a", "b"}, WhenExhausted: mode}, {Slug: "after", Deps: []string{"join"}}}
	}
	hands := map[string]function{"a": big, "b": big, "join": give(1), "after": give("done")}
	db := newMemoryDB(
		serve(spec.Flow{Slug: "fails", Steps: join("")}, hands),
		serve(spec.Flow{Slug: "skips", Steps: join(spec.ModeSkip)}, hands),
		serve(spec.Flow{Slug: "cascades", Steps: join(spec.ModeSkipCascade)}, hands),
		serve(spec.Flow{Slug: "list", Steps: []spec.Step{{Slug: "each", Type: spec.TypeMap}, {Slug: "sum", Deps: []string{"each"}}}},
			map[string]function{"each": give(strings.Repeat("x", 30_000)), "sum": give(1)}),
	)
	const why = "the values that step %s is given: it has %s"

	info := end(t, start(t, db, "fails", 1), db)
	require.Equal(t, []any{runtime.RunFailed, "join"}, []any{info.Status, info.FailedStep})
	require.Contains(t, info.Error, fmt.Sprintf(why, "join", "24"))

	info = end(t, start(t, db, "skips", 1), db)
	require.Equal(t, runtime.RunCompleted, info.Status, info.Error)
	require.Equal(t, []any{runtime.StepSkipped, "handler_failed"}, []any{info.States[2].Status, info.States[2].SkipReason})
	require.JSONEq(t, `{"after": "done"}`, string(info.Output))

	info = end(t, start(t, db, "cascades", 1), db)
	require.Equal(t, runtime.RunCompleted, info.Status, info.Error)
	require.Equal(t, []runtime.StepStatus{runtime.StepSkipped, runtime.StepSkipped}, []runtime.StepStatus{info.States[2].Status, info.States[3].Status})

	info = end(t, start(t, db, "list", make([]int, 100)), db)
	require.Equal(t, []any{runtime.RunFailed, "sum"}, []any{info.Status, info.FailedStep})
	require.Equal(t, runtime.StepCompleted, info.States[0].Status)
	require.Contains(t, info.Error, fmt.Sprintf(why, "sum", "30"))
}

// A list of a map that is longer than an answer may be is read in pieces.
func TestLongOutput(t *testing.T) {
	t.Parallel()
	item := strings.Repeat("ä", 15_000)
	service := serve(spec.Flow{Slug: "long", Steps: []spec.Step{{Slug: "each", Type: spec.TypeMap}}}, map[string]function{
		"each": func(context.Context, handler.Values) (any, error) { return item, nil },
	})
	input, err := json.Marshal(make([]int, 100))
	require.NoError(t, err)
	env, err := execute(service, "id", begin{Input: input})
	require.NoError(t, err)
	var r record
	require.NoError(t, env.GetWorkflowResult(&r))
	require.True(t, r.Short && r.Steps[0].Output == nil)
	asked := 0
	output, err := wholeOutput(func(from int) (p piece, _ error) {
		asked++
		value, err := env.QueryWorkflow(outputQuery, "each", from)
		if err != nil {
			return p, err
		}
		return p, value.Get(&p)
	})
	require.NoError(t, err)
	require.Equal(t, 3, asked)
	var list []string
	require.NoError(t, json.Unmarshal(output, &list))
	require.Len(t, list, 100)
	for _, got := range list {
		require.Equal(t, item, got)
	}
}
