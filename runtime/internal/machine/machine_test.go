package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/attempt"
	"github.com/flowc-dev/flowc/runtime/spec"
)

var epoch = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

func newFlow(t *testing.T, def spec.Flow) *Flow {
	t.Helper()
	f, err := New(def.As("flow"))
	require.NoError(t, err)
	return f
}

// drive does the tasks of a run: the output of a task is looked up by its name, which is
// "step" or "step index"; one without an output fails for good. The clock moves on by a
// second with each.
func drive(r *Run, outputs map[string]string) (order []string) {
	now := epoch
	var queue []*Task
	for {
		queue = append(queue, r.Next()...)
		if len(queue) == 0 {
			return order
		}
		t := queue[0]
		queue = queue[1:]
		if !t.Open() {
			continue
		}
		name := t.Slug
		if t.isMap() {
			name = fmt.Sprint(t.Slug, " ", t.Index)
		}
		order = append(order, name)
		now = now.Add(time.Second)
		r.Begin(t)
		if output, ok := outputs[name]; ok {
			r.Complete(t, json.RawMessage(output), now)
		} else {
			r.Fail(t, name+" failed", now)
		}
	}
}

func steps(all ...spec.Step) spec.Flow { return spec.Flow{Steps: all} }

func TestRun(t *testing.T) {
	t.Parallel()
	chain := func(first spec.Step) spec.Flow {
		first.Slug = "a"
		return steps(first, spec.Step{Slug: "b", Deps: []string{"a"}}, spec.Step{Slug: "c", Deps: []string{"b"}}, spec.Step{Slug: "other"})
	}
	all := map[string]string{"a": `1`, "b": `2`, "c": `3`, "other": `4`}
	but := func(missing string) map[string]string {
		some := map[string]string{}
		for step, output := range all {
			if step != missing {
				some[step] = output
			}
		}
		return some
	}
	condition := json.RawMessage(`{"k": 1}`)
	for name, tt := range map[string]struct {
		def     spec.Flow
		input   string
		outputs map[string]string
		order   []string
		status  runtime.RunStatus
		output  string   // of the run
		states  []string // status and skip reason of each step
		failure string   // step, index and message
	}{
		"chain": {def: chain(spec.Step{}), outputs: all,
			order:  []string{"a", "other", "b", "c"},
			output: `{"c": 3, "other": 4}`, states: []string{"completed", "completed", "completed", "completed"}},
		"failure": {def: chain(spec.Step{}), outputs: but("a"), status: runtime.RunFailed,
			order: []string{"a"}, states: []string{"failed", "created", "created", "started"}, failure: "a: a failed"},
		"exhausted, skip": {def: chain(spec.Step{WhenExhausted: spec.ModeSkip}), outputs: but("a"),
			order:  []string{"a", "other", "b", "c"},
			output: `{"c": 3, "other": 4}`, states: []string{"skipped handler_failed", "completed", "completed", "completed"}},
		"exhausted, skip-cascade": {def: chain(spec.Step{WhenExhausted: spec.ModeSkipCascade}), outputs: but("a"),
			order:  []string{"a", "other"},
			output: `{"other": 4}`, states: []string{"skipped handler_failed", "skipped dependency_skipped", "skipped dependency_skipped", "completed"}},
		"condition met": {def: chain(spec.Step{If: condition}), input: `{"k": 1.0, "l": 2}`, outputs: all,
			order:  []string{"a", "other", "b", "c"},
			output: `{"c": 3, "other": 4}`, states: []string{"completed", "completed", "completed", "completed"}},
		"unmet, skip": {def: chain(spec.Step{If: condition}), input: `{"k": 2}`, outputs: all,
			order:  []string{"b", "other", "c"},
			output: `{"c": 3, "other": 4}`, states: []string{"skipped condition_unmet", "completed", "completed", "completed"}},
		"unmet, skip-cascade": {def: chain(spec.Step{IfNot: condition, WhenUnmet: spec.ModeSkipCascade}), input: `{"k": 1}`, outputs: all,
			order:  []string{"other"},
			output: `{"other": 4}`, states: []string{"skipped condition_unmet", "skipped dependency_skipped", "skipped dependency_skipped", "completed"}},
		"unmet, fail": {def: chain(spec.Step{IfNot: condition, WhenUnmet: spec.ModeFail}), input: `{"k": 1}`, outputs: all, status: runtime.RunFailed,
			states: []string{"failed", "created", "created", "created"}, failure: "a: Condition not met"},
		"nothing is left": {def: steps(spec.Step{Slug: "a", If: condition}),
			states: []string{"skipped condition_unmet"}},
		"condition on a step that was skipped": {
			def: steps(spec.Step{Slug: "a", WhenExhausted: spec.ModeSkip},
				spec.Step{Slug: "b", Deps: []string{"a"}, If: json.RawMessage(`{"a": {}}`)}),
			order: []string{"a"}, states: []string{"skipped handler_failed", "skipped condition_unmet"}},
		"map over the input": {def: steps(spec.Step{Slug: "m", Type: spec.TypeMap}), input: `["x", "y"]`,
			outputs: map[string]string{"m 0": `1`, "m 1": `2`},
			order:   []string{"m 0", "m 1"}, output: `{"m": [1, 2]}`, states: []string{"completed"}},
		"map over a step": {
			def: steps(spec.Step{Slug: "a"}, spec.Step{Slug: "m", Type: spec.TypeMap, Deps: []string{"a"}},
				spec.Step{Slug: "n", Type: spec.TypeMap, Deps: []string{"m"}}),
			outputs: map[string]string{"a": `["x", "y"]`, "m 0": `1`, "m 1": `2`, "n 0": `3`, "n 1": `4`},
			order:   []string{"a", "m 0", "m 1", "n 0", "n 1"}, output: `{"n": [3, 4]}`, states: []string{"completed", "completed", "completed"}},
		"map over nothing": {
			def: steps(spec.Step{Slug: "m", Type: spec.TypeMap}, spec.Step{Slug: "n", Type: spec.TypeMap, Deps: []string{"m"}},
				spec.Step{Slug: "b", Deps: []string{"n"}}),
			input: `[]`, outputs: map[string]string{"b": `1`},
			order: []string{"b"}, output: `{"b": 1}`, states: []string{"completed", "completed", "completed"}},
		"map over a step that was skipped": {
			def:     steps(spec.Step{Slug: "a", WhenExhausted: spec.ModeSkip}, spec.Step{Slug: "m", Type: spec.TypeMap, Deps: []string{"a"}}),
			outputs: map[string]string{},
			order:   []string{"a"}, output: `{"m": []}`, states: []string{"skipped handler_failed", "completed"}},
		"element fails": {def: steps(spec.Step{Slug: "m", Type: spec.TypeMap}), input: `[1, 2, 3]`, status: runtime.RunFailed,
			outputs: map[string]string{"m 0": `1`, "m 2": `1`},
			order:   []string{"m 0", "m 1"}, states: []string{"failed"}, failure: "m[1]: m 1 failed"},
		"element fails, skip": {def: steps(spec.Step{Slug: "m", Type: spec.TypeMap, WhenExhausted: spec.ModeSkip}), input: `[1, 2, 3]`,
			outputs: map[string]string{"m 0": `1`, "m 2": `1`},
			order:   []string{"m 0", "m 1"}, states: []string{"skipped handler_failed"}},
		"no array for a map": {def: steps(spec.Step{Slug: "a"}, spec.Step{Slug: "m", Type: spec.TypeMap, Deps: []string{"a"}}),
			outputs: map[string]string{"a": `"x"`}, status: runtime.RunFailed,
			order: []string{"a"}, states: []string{"failed", "created"},
			failure: "a: [TYPE_VIOLATION] Map step m expects array input but dependency a produced string"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			input := tt.input
			if input == "" {
				input = `{}`
			}
			f := newFlow(t, tt.def)
			require.NoError(t, f.CheckInput(json.RawMessage(input)))
			run := f.Start("id", json.RawMessage(input), epoch)
			require.Equal(t, tt.order, drive(run, tt.outputs))
			info := run.Info(runtime.RunDetail{States: true, Payloads: true})
			status := tt.status
			if status == "" {
				status = runtime.RunCompleted
			}
			require.Equal(t, status, info.Status)
			require.Equal(t, "id", info.ID)
			if tt.output == "" {
				require.Nil(t, info.Output)
			} else {
				require.JSONEq(t, tt.output, string(info.Output))
			}
			var states []string
			left := 0
			for _, s := range info.States {
				text := string(s.Status)
				if s.SkipReason != "" {
					text += " " + s.SkipReason
				}
				states = append(states, text)
				if s.Status != runtime.StepCompleted && s.Status != runtime.StepSkipped {
					left++
				}
			}
			require.Equal(t, tt.states, states)
			require.Equal(t, left, info.RemainingSteps)
			failure := ""
			if info.FailedStep != "" {
				failure = info.Failed() + ": " + info.Error
			}
			require.Equal(t, tt.failure, failure)
			outcome := run.Outcome(runtime.Want{Whole: true, Input: true})
			require.Equal(t, info.Status, outcome.Status)
			require.Equal(t, info.Output, outcome.Output)
			require.Equal(t, info.Error, outcome.Message)

			// The same calls lead to the same run.
			again := f.Start("id", json.RawMessage(input), epoch)
			drive(again, tt.outputs)
			require.Equal(t, info, again.Info(runtime.RunDetail{States: true, Payloads: true}))
		})
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	f := newFlow(t, steps(
		spec.Step{Slug: "list", WhenExhausted: spec.ModeSkip}, spec.Step{Slug: "gone", WhenExhausted: spec.ModeSkip},
		spec.Step{Slug: "m", Type: spec.TypeMap, Deps: []string{"list"}},
		spec.Step{Slug: "join", Deps: []string{"m", "gone", "list"}},
	))
	r := f.Start("id", json.RawMessage(`{"in": 1}`), epoch)
	next := r.Next()
	require.Len(t, next, 2)
	require.Empty(t, r.Next(), "each task comes once")
	v := r.Values(next[0])
	require.JSONEq(t, `{"in": 1}`, string(v.Input))
	require.JSONEq(t, `{}`, string(v.Outputs))
	require.Nil(t, v.Item)
	r.Complete(next[0], json.RawMessage(`["x", "y"]`), epoch)
	r.Fail(next[1], "no", epoch)
	next = r.Next()
	require.Len(t, next, 2)
	for _, i := range []int{1, 0} { // the last one completes first
		v = r.Values(next[i])
		require.JSONEq(t, `{"in": 1}`, string(v.Input))
		require.Nil(t, v.Outputs)
		require.Equal(t, []string{`"x"`, `"y"`}[i], string(v.Item))
		r.Complete(next[i], json.RawMessage(fmt.Sprint(i)), epoch)
	}
	next = r.Next()
	require.Len(t, next, 1)
	require.JSONEq(t, `{"m": [0, 1], "list": ["x", "y"]}`, string(r.Values(next[0]).Outputs))
}

// What comes for a task that is closed is dropped, as a report that comes late is.
func TestClosedTask(t *testing.T) {
	t.Parallel()
	f := newFlow(t, steps(spec.Step{Slug: "m", Type: spec.TypeMap, WhenExhausted: spec.ModeSkip}, spec.Step{Slug: "last", Deps: []string{"m"}}))
	r := f.Start("id", json.RawMessage(`[1, 2, 3]`), epoch)
	tasks := r.Next()
	r.Complete(tasks[0], json.RawMessage(`1`), epoch)
	require.False(t, tasks[0].Open())
	r.Complete(tasks[0], json.RawMessage(`1`), epoch)
	r.Fail(tasks[0], "late", epoch)
	require.True(t, tasks[1].Open())
	r.Fail(tasks[1], "no", epoch)
	require.False(t, tasks[2].Open(), "the step is skipped")
	r.Complete(tasks[2], json.RawMessage(`1`), epoch)
	info := r.Info(runtime.RunDetail{States: true})
	require.Equal(t, "no", info.States[0].Error)
	require.Equal(t, 1, *info.States[0].FailedIndex)
	require.Equal(t, runtime.StepStarted, info.States[1].Status)
	require.Len(t, r.Next(), 1)
}

func TestTimes(t *testing.T) {
	t.Parallel()
	f := newFlow(t, steps(spec.Step{Slug: "a"}, spec.Step{Slug: "b", Deps: []string{"a"}}))
	r := f.Start("id", json.RawMessage(`{}`), epoch)
	r.Complete(r.Next()[0], json.RawMessage(`1`), epoch.Add(time.Second))
	r.Complete(r.Next()[0], json.RawMessage(`1`), epoch.Add(3*time.Second))
	info := r.Info(runtime.RunDetail{States: true})
	require.Equal(t, epoch, info.StartedAt)
	require.Equal(t, epoch.Add(3*time.Second), info.CompletedAt)
	require.Equal(t, epoch, info.States[1].CreatedAt)
	require.Equal(t, epoch.Add(time.Second), info.States[1].StartedAt)
	require.Equal(t, epoch.Add(3*time.Second), info.States[1].CompletedAt)
	require.Nil(t, info.Input)
	require.Nil(t, info.States[1].Output)
}

func TestJudge(t *testing.T) {
	t.Parallel()
	failed := attempt.Classify(nil, time.Second, nil, errors.New("no"))
	for name, tt := range map[string]struct {
		step   spec.Step
		n      int
		result attempt.Result
		want   Verdict
	}{
		"completed":      {n: 1, result: attempt.Result{Outcome: attempt.Completed, Output: `1`}, want: Verdict{Outcome: Completed, Output: json.RawMessage(`1`)}},
		"first of three": {n: 1, result: failed, want: Verdict{Outcome: Retried, Err: "no", RetryIn: 2 * time.Second}},
		"second":         {n: 2, result: failed, want: Verdict{Outcome: Retried, Err: "no", RetryIn: 4 * time.Second}},
		"last":           {n: 3, result: failed, want: Verdict{Outcome: Failed, Err: "no"}},
		"own attempts":   {step: spec.Step{MaxAttempts: 1}, n: 1, result: failed, want: Verdict{Outcome: Failed, Err: "no"}},
		"own delay":      {step: spec.Step{BaseDelay: spec.Set(time.Minute)}, n: 1, result: failed, want: Verdict{Outcome: Retried, Err: "no", RetryIn: 2 * time.Minute}},
		"delay asked for": {n: 1, result: attempt.Result{Outcome: attempt.Failed, Err: "no", Delay: spec.Set(time.Hour)},
			want: Verdict{Outcome: Retried, Err: "no", RetryIn: time.Hour}},
		"permanent": {n: 1, result: attempt.Result{Outcome: attempt.Permanent, Err: "no"}, want: Verdict{Outcome: Failed, Err: "no"}},
		"skip": {step: spec.Step{WhenExhausted: spec.ModeSkip}, n: 1, result: attempt.Result{Outcome: attempt.Skipped, Err: "why"},
			want: Verdict{Outcome: Skipped, Err: "why"}},
		"skip without leave": {n: 1, result: attempt.Result{Outcome: attempt.Skipped, Err: "why"}, want: Verdict{Outcome: Failed,
			Err: `flowc: the handler asked to skip step a (why), which does not allow it: add when_exhausted:"skip" to the step`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.step.Slug = "a"
			require.Equal(t, tt.want, newFlow(t, steps(tt.step)).Step("a").Judge(tt.n, tt.result))
		})
	}
}

func TestRetryDelay(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		base time.Duration
		n    int
		want time.Duration
	}{
		{0, 5, 0},
		{time.Second, 1, 2 * time.Second},
		{time.Second, 10, 1024 * time.Second},
		{time.Second, 14, 16384 * time.Second},
		{time.Second, 15, spec.MaxRetryDelay},
		{time.Second, 1000, spec.MaxRetryDelay},
		{3 * time.Hour, 1, spec.MaxRetryDelay},
		{7 * time.Hour, 1, 7 * time.Hour},
		{7 * time.Hour, 50, 7 * time.Hour},
	} {
		t.Run(fmt.Sprint(tt.base, " ", tt.n), func(t *testing.T) {
			t.Parallel()
			s := &Step{Step: spec.Step{BaseDelay: &tt.base}}
			require.Equal(t, tt.want, s.retryDelay(tt.n))
		})
	}
}

func TestCheckInput(t *testing.T) {
	t.Parallel()
	over := newFlow(t, steps(spec.Step{Slug: "m", Type: spec.TypeMap}))
	for input, kind := range map[string]string{
		` [1]`: "", `[]`: "", `{"k": []}`: "object", `"[]"`: "string", `1`: "number", `true`: "boolean", `null`: "null",
	} {
		t.Run(input, func(t *testing.T) {
			t.Parallel()
			require.NoError(t, newFlow(t, steps(spec.Step{Slug: "a"})).CheckInput(json.RawMessage(input)))
			err := over.CheckInput(json.RawMessage(input))
			if kind == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, "Flow flow has root map steps but input is not an array (got "+kind+")")
		})
	}
}

func TestResult(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		result *spec.Result
		want   string
	}{
		"open":      {nil, ""},
		"nothing":   {&spec.Result{}, ""},
		"a step":    {&spec.Result{From: "a"}, `{"x": 1, "y": 2}`},
		"the input": {&spec.Result{From: spec.RunKey}, `{"in": 1}`},
		"skipped":   {&spec.Result{From: "gone"}, `null`},
		"members": {&spec.Result{Fields: []spec.ResultField{{Name: "a", From: "a"}, {Name: "gone", From: "gone"}}},
			`{"a": {"x": 1, "y": 2}, "gone": null}`},
		"members of members": {&spec.Result{Fields: []spec.ResultField{{From: "a"}, {Name: "x", From: spec.RunKey}, {From: "gone"}}},
			`{"x": {"in": 1}, "y": 2}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			def := steps(spec.Step{Slug: "a"}, spec.Step{Slug: "gone", WhenExhausted: spec.ModeSkip})
			def.Result = tt.result
			r := newFlow(t, def).Start("id", json.RawMessage(`{"in": 1}`), epoch)
			require.Nil(t, r.Info(runtime.RunDetail{Payloads: true}).Result)
			drive(r, map[string]string{"a": `{"x": 1, "y": 2}`})
			got := r.Info(runtime.RunDetail{Payloads: true}).Result
			if tt.want == "" {
				require.Nil(t, got)
				return
			}
			require.JSONEq(t, tt.want, string(got))
		})
	}
}

func TestNewRefusesWhatNoDatabaseTakes(t *testing.T) {
	t.Parallel()
	_, err := New(spec.Flow{Slug: "flow"})
	var invalid *spec.InvalidFlowError
	require.ErrorAs(t, err, &invalid)
}
