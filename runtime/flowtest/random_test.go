package flowtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/flowtest"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A randomFlow is a flow with what its handlers do, and an input.
type randomFlow struct {
	input string
	def   spec.Flow
	does  map[string]behaviour // by step
}

// A behaviour is what the handler of a step does: the task of an index fails so
// often, and then ends in one of some ways. Lists that are shorter than the tasks
// are used again.
type behaviour struct {
	failures []int
	ends     []string // an output, "skip" or "permanent"
}

func (b behaviour) work(ctx context.Context, _ handler.Values) (any, error) {
	task, _ := handler.TaskFromContext(ctx)
	if task.Attempt <= b.failures[task.Index%len(b.failures)] {
		return nil, fmt.Errorf("%s %d broke in attempt %d", task.Step, task.Index, task.Attempt)
	}
	switch end := b.ends[task.Index%len(b.ends)]; end {
	case "skip":
		return nil, handler.Skip("not wanted")
	case "permanent":
		return nil, handler.Permanent(errors.New("never"))
	default:
		return json.RawMessage(end), nil
	}
}

func (f randomFlow) service() handler.Service {
	var handlers []handler.Handler
	for step, b := range f.does {
		handlers = append(handlers, handler.HandleValues(step, b.work))
	}
	return handler.Serve(f.def, handlers)
}

var (
	modes   = []spec.Mode{spec.ModeFail, spec.ModeSkip, spec.ModeSkipCascade}
	unmet   = []spec.Mode{spec.ModeSkip, spec.ModeSkip, spec.ModeSkipCascade, spec.ModeSkipCascade, spec.ModeFail}
	values  = []string{`1`, `{"k": 1}`, `{"k": 1.0, "l": [1, {"m": null}]}`, `{"k": 2}`, `null`, `[]`, `"x"`, `true`, `[1, [2], {"k": 1}]`}
	parts   = []string{`1`, `1.00`, `1e0`, `{"k": 1}`, `{"k": 10e-1}`, `{"l": [{"m": null}]}`, `{}`, `[]`, `[[2]]`, `[1]`, `null`, `"x"`, `true`}
	inputs  = []string{`{"k": 1}`, `{"k": 2}`, `null`, `"x"`, `{"k": [1, 2], "l": {"k": 1.0}}`}
	arrays  = []string{`[]`, `[1]`, `[null, {"k": 1}]`, `["x", [1], 3]`}
	lists   = []string{`[]`, `[1]`, `[2, null]`, `[[1], {"k": 1}, "x"]`, `[3, 4]`, `{"k": 1}`}
	endings = []string{"skip", "permanent"}
)

// randomFlows generates flows. Failures of runs are rare enough for most steps of
// most runs to be reached.
var randomFlows = rapid.Custom(func(t *rapid.T) randomFlow {
	f := randomFlow{does: map[string]behaviour{}}
	f.def.MaxAttempts = rapid.IntRange(1, 3).Draw(t, "attempts")
	f.def.BaseDelay = spec.Set(time.Duration(0))
	rootMap, mapped := false, map[string]bool{}
	for i := range rapid.IntRange(1, 8).Draw(t, "steps") {
		s := spec.Step{
			Slug:          fmt.Sprintf("%c%d", 'z'-rune(i), i), // names sort against the order
			WhenExhausted: rapid.SampledFrom(modes).Draw(t, "exhausted"),
		}
		most := 3
		if rapid.IntRange(0, 2).Draw(t, "map") == 0 {
			s.Type, most = spec.TypeMap, 1
		}
		if i > 0 && rapid.IntRange(0, 4).Draw(t, "root") > 0 {
			for _, d := range rapid.SliceOfNDistinct(rapid.IntRange(0, i-1), 1, min(i, most), rapid.ID).Draw(t, "deps") {
				s.Deps = append(s.Deps, f.def.Steps[d].Slug)
			}
		}
		switch {
		case s.Type == spec.TypeMap && len(s.Deps) == 0:
			rootMap = true
		case s.Type == spec.TypeMap:
			mapped[s.Deps[0]] = true
		}
		if rapid.Bool().Draw(t, "own attempts") {
			s.MaxAttempts = rapid.IntRange(1, 3).Draw(t, "step attempts")
		}
		overInput := s.Type == spec.TypeMap && len(s.Deps) == 0 // takes no condition
		if rapid.IntRange(0, 2).Draw(t, "condition") == 0 && !overInput {
			if rapid.Bool().Draw(t, "if") {
				s.If = randomPattern(t, s.Deps)
			}
			if rapid.Bool().Draw(t, "if not") {
				s.IfNot = randomPattern(t, s.Deps)
			}
			if s.If != nil || s.IfNot != nil {
				s.WhenUnmet = rapid.SampledFrom(unmet).Draw(t, "unmet")
			}
		}
		f.def.Steps = append(f.def.Steps, s)
	}
	f.input = rapid.SampledFrom(inputs).Draw(t, "input")
	if rootMap {
		f.input = rapid.SampledFrom(arrays).Draw(t, "input")
	}
	for _, s := range f.def.Steps {
		ends := values
		if mapped[s.Slug] && s.Type != spec.TypeMap {
			ends = lists
		}
		b := behaviour{failures: rapid.SliceOfN(rapid.SampledFrom([]int{0, 0, 0, 0, 1, 2, 9}), 1, 3).Draw(t, "failures")}
		for range rapid.IntRange(1, 3).Draw(t, "ends") {
			if rapid.IntRange(0, 15).Draw(t, "odd end") == 0 {
				b.ends = append(b.ends, rapid.SampledFrom(endings).Draw(t, "end"))
			} else {
				b.ends = append(b.ends, rapid.SampledFrom(ends).Draw(t, "end"))
			}
		}
		f.does[s.Slug] = b
	}
	return f
})

func randomPattern(t *rapid.T, deps []string) json.RawMessage {
	key := rapid.SampledFrom([]string{"k", "l"}).Draw(t, "key")
	if len(deps) > 0 {
		key = rapid.SampledFrom(deps).Draw(t, "key")
	}
	return json.RawMessage(fmt.Sprintf(`{%q: %s}`, key, rapid.SampledFrom(parts).Draw(t, "pattern")))
}

// Whatever a flow does in a database with a worker, it does inline.
func TestRandomFlows(t *testing.T) {
	t.Parallel()
	seed := int(time.Now().UnixNano() % 1_000_000)
	count := 120
	if text := os.Getenv("FLOWC_FLOWTEST_SEED"); text != "" {
		var err error
		seed, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	t.Logf("FLOWC_FLOWTEST_SEED=%d", seed)
	var all []randomFlow
	var services []handler.Service
	for i := range count {
		f := randomFlows.Example(seed + i)
		f.def.Slug = fmt.Sprintf("f%d", i)
		all = append(all, f)
		services = append(services, f.service())
	}
	inline, pool := flowtest.Inline(services...), flowtest.Database(t, services...)
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	type pair struct{ inline, real *runtime.Run[json.RawMessage] }
	var runs []pair
	for _, f := range all {
		real, err := runtime.StartFlow(ctx, pool, f.def.Slug, json.RawMessage(f.input))
		require.NoError(t, err)
		mine, err := runtime.StartFlow(ctx, inline, f.def.Slug, json.RawMessage(f.input))
		require.NoError(t, err)
		runs = append(runs, pair{mine, real})
	}
	ends := map[runtime.RunStatus]int{}
	steps := map[string]int{}
	for i, f := range all {
		_, _ = runs[i].real.Wait(ctx)
		require.NoError(t, ctx.Err())
		want, err := runtime.GetRun(ctx, pool, runs[i].real.ID(), runtime.WithStates())
		require.NoError(t, err)
		got, err := runtime.GetRun(ctx, inline, runs[i].inline.ID(), runtime.WithStates())
		require.NoError(t, err)
		compare(t, f, want, got)
		ends[want.Status]++
		for _, s := range want.States {
			steps[string(s.Status)+" "+s.SkipReason]++
		}
	}
	t.Log(ends, steps)
	require.NotZero(t, ends[runtime.RunCompleted])
	require.NotZero(t, ends[runtime.RunFailed])
	for _, kind := range []string{"completed ", "skipped condition_unmet", "skipped handler_failed", "skipped dependency_skipped"} {
		require.NotZero(t, steps[kind], kind)
	}
}

// compare compares runs. How far one that fails gets depends on the order of its
// tasks, which a worker leaves to chance; what it gets to is certain.
func compare(t *testing.T, f randomFlow, want, got *runtime.RunInfo) {
	t.Helper()
	text := fmt.Sprintf("%+v\n%+v", f.def, f.does)
	require.Equal(t, want.Status, got.Status, text)
	require.JSONEq(t, orNull(want.Output), orNull(got.Output), text)
	require.JSONEq(t, orNull(want.Input), orNull(got.Input))
	failed := want.Status == runtime.RunFailed
	if failed {
		require.Equal(t, 1, countOf(got.States, runtime.StepFailed), text)
		require.NotEmpty(t, got.FailedStep)
		require.False(t, got.FailedAt.IsZero())
	} else {
		require.False(t, got.CompletedAt.IsZero())
		require.Equal(t, want.RemainingSteps, got.RemainingSteps)
	}
	require.Equal(t, len(want.States), len(got.States))
	for i, w := range want.States {
		g := got.States[i]
		require.Equal(t, []any{w.Step, w.Index, w.Type}, []any{g.Step, g.Index, g.Type})
		if failed && (w.Status != g.Status || !over(w.Status)) {
			continue
		}
		require.Equal(t, w.Status, g.Status, "%s: %s", w.Step, text)
		require.Equal(t, w.SkipReason, g.SkipReason, "%s: %s", w.Step, text)
		require.JSONEq(t, orNull(w.Output), orNull(g.Output), "%s: %s", w.Step, text)
		require.Equal(t, w.StartedAt.IsZero(), g.StartedAt.IsZero(), "%s: %s", w.Step, text)
		require.Equal(t, w.CompletedAt.IsZero(), g.CompletedAt.IsZero(), w.Step)
		require.Equal(t, w.SkippedAt.IsZero(), g.SkippedAt.IsZero(), w.Step)
		require.Equal(t, w.InitialTasks, g.InitialTasks, "%s: %s", w.Step, text)
		require.Equal(t, w.RemainingTasks, g.RemainingTasks, "%s: %s", w.Step, text)
		if !failed { // a skipped step counts those before it, of which some were not reached
			require.Equal(t, w.RemainingDeps, g.RemainingDeps, "%s: %s", w.Step, text)
		}
		if w.SkipReason != "handler_failed" { // which of its tasks was the last is left to chance
			require.Equal(t, w.Attempts, g.Attempts, "%s: %s", w.Step, text)
			require.Equal(t, w.Error, g.Error, "%s: %s", w.Step, text)
		}
	}
}

func over(s runtime.StepStatus) bool {
	return s == runtime.StepCompleted || s == runtime.StepSkipped
}

func countOf(states []runtime.StepState, status runtime.StepStatus) (n int) {
	for _, s := range states {
		if s.Status == status {
			n++
		}
	}
	return n
}

func orNull(raw json.RawMessage) string {
	if raw == nil {
		return "null"
	}
	return string(raw)
}
