package machine

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// What the tests of this file expect, runtime/engine/control_test.go expects of PostgreSQL,
// and the random flows of runtime/internal/conformance compare.

// A play is a run in a test, with the tasks that have come up.
type play struct {
	*Run
	t     *testing.T
	tasks []*Task
}

func begin(t *testing.T, input string, all ...spec.Step) *play {
	t.Helper()
	return &play{Run: newFlow(t, steps(all...)).Start("id", json.RawMessage(input), epoch), t: t}
}

// task returns the open task of a step.
func (p *play) task(step string, index int) *Task {
	p.t.Helper()
	p.tasks = append(p.tasks, p.Next()...)
	i := slices.IndexFunc(p.tasks, func(t *Task) bool { return t.Slug == step && t.Index == index && t.Open() })
	require.GreaterOrEqual(p.t, i, 0, "no task of %s %d", step, index)
	return p.tasks[i]
}

func (p *play) complete(step string, index int, output string) {
	p.t.Helper()
	task := p.task(step, index)
	p.Begin(task)
	p.Complete(task, json.RawMessage(output), epoch)
}

func (p *play) fail(step string, index int) {
	p.t.Helper()
	task := p.task(step, index)
	p.Begin(task)
	p.Fail(task, "boom", epoch)
}

// states returns the states of the steps, each with its number of attempts.
func (p *play) states() string {
	var all []string
	for _, s := range p.Info(runtime.RunDetail{States: true}).States {
		all = append(all, fmt.Sprintf("%s:%s/%d", s.Step, s.Status, s.Attempts))
	}
	return strings.Join(all, " ")
}

// open returns the tasks that are open.
func (p *play) open() string {
	p.tasks = append(p.tasks, p.Next()...)
	var all []string
	for _, t := range p.tasks {
		if t.Open() {
			all = append(all, fmt.Sprintf("%s%d", t.Slug, t.Index))
		}
	}
	return strings.Join(all, ", ")
}

func (p *play) retryStep(step string) (found, done bool) {
	// It does not matter whether the same run is retried, or one that was made of its record.
	raw, err := json.Marshal(p.Record())
	require.NoError(p.t, err)
	var rec Record
	require.NoError(p.t, json.Unmarshal(raw, &rec))
	restored := p.flow.Restore(p.id, p.input, rec)
	require.JSONEq(p.t, p.text(), (&play{Run: restored}).text())
	again := restored.retry(step)
	same := p.retry(step)
	require.Equal(p.t, again, same)
	require.JSONEq(p.t, p.text(), (&play{Run: restored}).text())
	return same[0], same[1]
}

// text returns the run as JSON.
func (p *play) text() string {
	raw, err := json.Marshal(p.Info(runtime.RunDetail{States: true, Payloads: true}))
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// retry retries a step or, without one, the run.
func (r *Run) retry(step string) [2]bool {
	if step == "" {
		return [2]bool{true, r.Retry(epoch.Add(time.Hour))}
	}
	found, done := r.RetryStep(step, epoch.Add(time.Hour))
	return [2]bool{found, done}
}

func (p *play) again(step string) {
	p.t.Helper()
	found, done := p.retryStep(step)
	require.True(p.t, found && done)
}

func (p *play) declined(step string) {
	p.t.Helper()
	found, done := p.retryStep(step)
	require.True(p.t, found && !done)
}

func TestRetryRun(t *testing.T) {
	t.Parallel()
	p := begin(t, `{}`, spec.Step{Slug: "a"}, spec.Step{Slug: "m", Type: spec.TypeMap, Deps: []string{"a"}}, spec.Step{Slug: "other", StartDelay: time.Minute},
		spec.Step{Slug: "s", Deps: []string{"m"}})
	p.complete("a", 0, `[1, 2, 3]`)
	p.declined("")
	p.Begin(p.task("m", 1)) // an attempt that fails
	p.complete("m", 1, `"kept"`)
	late := p.task("other", 0)
	p.fail("m", 0)
	require.Equal(t, "a:completed/1 m:failed/3 other:started/0 s:created/0", p.states())
	require.Equal(t, `{"failed_index":0,"error":"boom"}`, fmt.Sprintf(`{"failed_index":%d,"error":%q}`, *p.Info(runtime.RunDetail{}).FailedIndex, p.Info(runtime.RunDetail{}).Error))
	p.again("")
	require.Equal(t, runtime.RunRunning, p.Status())
	require.Equal(t, "a:completed/1 m:started/2 other:started/0 s:created/0", p.states(), "the attempts of what is done again do not count")
	require.Equal(t, "m0, m2, other0", p.open())
	p.Complete(late, json.RawMessage(`"late"`), epoch)
	p.Fail(late, "late", epoch)
	p.Keep(late, json.RawMessage(`"late"`))
	require.Equal(t, "m0, m2, other0", p.open(), "what comes late changes nothing")
	p.complete("m", 0, `0`)
	p.complete("m", 2, `2`)
	p.complete("other", 0, `1`)
	p.complete("s", 0, `"done"`)
	info := p.Info(runtime.RunDetail{States: true, Payloads: true})
	require.Equal(t, runtime.RunCompleted, info.Status)
	require.JSONEq(t, `[0, "kept", 2]`, string(info.States[1].Output))
	require.Equal(t, "a:completed/1 m:completed/4 other:completed/1 s:completed/1", p.states())
	require.True(t, info.FailedAt.IsZero())
	p.declined("")
}

// TestKeep keeps what a part of a map has completed although its run has failed meanwhile.
func TestKeep(t *testing.T) {
	t.Parallel()
	p := begin(t, `[1, 2, 3, 4]`, spec.Step{Slug: "m", Type: spec.TypeMap})
	p.complete("m", 0, `0`)
	finished := p.task("m", 3)
	p.fail("m", 2)
	p.Begin(finished)
	p.Keep(finished, json.RawMessage(`3`))
	p.Keep(finished, json.RawMessage(`"twice"`))
	require.Equal(t, 2, *p.Info(runtime.RunDetail{States: true}).States[0].RemainingTasks)
	p.again("")
	require.Equal(t, "m1, m2", p.open())
	p.complete("m", 1, `1`)
	p.complete("m", 2, `2`)
	require.JSONEq(t, `{"m": [0, 1, 2, 3]}`, string(p.output))
	require.Equal(t, "m:completed/4", p.states())
}

func TestRetryOfOtherFailures(t *testing.T) {
	t.Parallel()
	p := begin(t, `{}`, spec.Step{Slug: "a"}, spec.Step{Slug: "b", If: json.RawMessage(`{"ok": 1}`), WhenUnmet: spec.ModeFail})
	p.again("")
	require.Equal(t, "a:created/0 b:failed/0", p.states(), "the condition is evaluated again")
	p.input = json.RawMessage(`{"ok": 1}`)
	p.again("")
	require.Equal(t, "a:started/0 b:started/0", p.states())

	p = begin(t, `{}`, spec.Step{Slug: "a"}, spec.Step{Slug: "m", Type: spec.TypeMap, Deps: []string{"a"}})
	p.complete("a", 0, `{}`)
	require.Equal(t, runtime.RunFailed, p.Status())
	p.again("")
	require.Equal(t, "a:started/0 m:created/0", p.states())
	p.complete("a", 0, `[1]`)
	require.Equal(t, "a:completed/1 m:started/0", p.states())

	p = begin(t, `{}`, spec.Step{Slug: "a"})
	p.Begin(p.task("a", 0))
	require.True(t, p.Cancel("enough", epoch))
	require.False(t, p.Cancel("again", epoch))
	info := p.Info(runtime.RunDetail{})
	require.Equal(t, []any{runtime.RunCancelled, "enough", epoch, epoch}, []any{info.Status, info.CancelReason, info.CancelledAt, info.FailedAt})
	require.Equal(t, "enough", p.Outcome(runtime.Want{}).Message)
	require.Empty(t, p.open())
	p.again("")
	require.Equal(t, "a0", p.open())
	p.complete("a", 0, `1`)
	info = p.Info(runtime.RunDetail{})
	require.Equal(t, []any{runtime.RunCompleted, "", time.Time{}}, []any{info.Status, info.CancelReason, info.CancelledAt})
	require.False(t, p.Cancel("late", epoch))

	scheduled := newFlow(t, steps(spec.Step{Slug: "a"})).Schedule("id", json.RawMessage(`{}`), epoch)
	p = &play{Run: scheduled, t: t}
	require.Equal(t, "a:created/0", p.states())
	require.True(t, p.Cancel("", epoch))
	p.again("")
	require.Equal(t, "a0", p.open(), "at once")
	p.Start(epoch)
	require.Equal(t, "a0", p.open(), "it has started")
}

func TestRetryStep(t *testing.T) {
	t.Parallel()
	p := begin(t, `{}`, spec.Step{Slug: "a"}, spec.Step{Slug: "m", Type: spec.TypeMap, Deps: []string{"a"}}, spec.Step{Slug: "b"}, spec.Step{Slug: "s", Deps: []string{"m", "b"}})
	p.complete("a", 0, `[1, 2]`)
	p.declined("a")
	p.complete("b", 0, `"kept"`)
	p.complete("m", 0, `1`)
	p.complete("m", 1, `2`)
	p.complete("s", 0, `"first"`)
	require.Equal(t, runtime.RunCompleted, p.Status())
	found, done := p.retryStep("nowhere")
	require.False(t, found || done)

	p.again("a")
	require.Equal(t, "a:started/0 m:created/0 b:completed/1 s:created/0", p.states())
	m, s := p.state("m"), p.state("s")
	require.Nil(t, m.InitialTasks)
	require.Equal(t, []int{1, 1}, []int{m.RemainingDeps, s.RemainingDeps}, "what other steps gave is kept")
	p.complete("a", 0, `[3]`)
	p.complete("m", 0, `6`)
	require.JSONEq(t, `{"b": "kept", "m": [6]}`, string(p.Values(p.task("s", 0)).Outputs))
	p.complete("s", 0, `"second"`)
	require.JSONEq(t, `{"s": "second"}`, string(p.output))

	p.again("s")
	require.Equal(t, "a:completed/1 m:completed/1 b:completed/1 s:started/0", p.states())
	p.fail("s", 0)
	p.again("m")
	require.Equal(t, "a:completed/1 m:started/0 b:completed/1 s:created/0", p.states())
	m = p.state("m")
	require.Equal(t, []int{1, 1}, []int{*m.InitialTasks, *m.RemainingTasks})
	p.complete("m", 0, `7`)
	p.complete("s", 0, `"third"`)
	require.JSONEq(t, `{"s": "third"}`, string(p.output))
}

func (p *play) state(step string) runtime.StepState {
	for _, s := range p.Info(runtime.RunDetail{States: true}).States {
		if s.Step == step {
			return s
		}
	}
	return runtime.StepState{}
}

func TestRetryStepThatStaysSkipped(t *testing.T) {
	t.Parallel()
	p := begin(t, `{}`, spec.Step{Slug: "a"}, spec.Step{Slug: "x", If: json.RawMessage(`{"ok": 1}`), WhenUnmet: spec.ModeSkipCascade},
		spec.Step{Slug: "b", Deps: []string{"a", "x"}}, spec.Step{Slug: "c", Deps: []string{"a"}}, spec.Step{Slug: "d", Deps: []string{"b"}})
	p.complete("a", 0, `1`)
	p.complete("c", 0, `2`)
	require.Equal(t, "a:completed/1 x:skipped/0 b:skipped/0 c:completed/1 d:skipped/0", p.states())
	p.declined("b")
	p.declined("d")
	require.Equal(t, runtime.RunCompleted, p.Status())
	p.again("a")
	require.Equal(t, "a:started/0 x:skipped/0 b:skipped/0 c:created/0 d:skipped/0", p.states())
	require.Equal(t, 1, p.state("b").RemainingDeps)
	p.complete("a", 0, `1`)
	p.complete("c", 0, `2`)
	p.input = json.RawMessage(`{"ok": 1}`)
	p.again("x")
	require.Equal(t, "a:completed/1 x:started/0 b:created/0 c:completed/1 d:created/0", p.states())
}
