package ops_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

func TestGetRunProgress(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	h := newHand(t, pool)
	run, err := typed.Start(ctx, pool, greet{Name: "you"})
	require.NoError(t, err)
	h.Finish("greeting", "completed", `"hello"`)
	h.Finish("greeting", "permanent", "hoarse")

	whole, err := runtime.GetRun(ctx, pool, run.ID(), runtime.WithStates())
	require.NoError(t, err)
	progress, err := runtime.GetRun(ctx, pool, run.ID(), runtime.WithStates(), runtime.WithoutPayloads())
	require.NoError(t, err)
	require.Equal(t, "hoarse", progress.Error)
	require.Equal(t, 1, progress.States[1].Attempts)
	require.NotNil(t, whole.Input)
	require.NotNil(t, whole.States[0].Output)
	whole.Input, whole.States[0].Output = nil, nil
	require.Equal(t, whole, progress, "it is the same but for payloads")

	_, err = runtime.GetRun(ctx, pool, uuid.NewString(), runtime.WithStates(), runtime.WithoutPayloads())
	require.ErrorIs(t, err, runtime.ErrRunNotFound)
	_, err = runtime.GetRun(ctx, pool, "nonsense", runtime.WithStates(), runtime.WithoutPayloads())
	require.ErrorIs(t, err, runtime.ErrInvalidRunID)
}

func TestListTasks(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	h := newHand(t, pool)
	_, err := runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "many", Steps: []spec.Step{
		{Slug: "each", Type: spec.TypeMap}, {Slug: "other", Deps: []string{"each"}},
	}})
	require.NoError(t, err)
	run, err := runtime.StartFlow(ctx, pool, "many", []int{1, 2, 3, 4})
	require.NoError(t, err)
	h.Finish("many", "failed", "once")
	_, err = ops.RunNow(ctx, pool, run.ID(), "")
	require.NoError(t, err)
	// The hand takes what is next: tell the tasks apart by what they became.
	h.Finish("many", "completed", `"short"`)
	h.Finish("many", "completed", `"`+strings.Repeat("long", 20)+`"`)

	all, err := ops.ListTasks(ctx, pool, run.ID(), ops.TaskFilter{OutputBytes: 40})
	require.NoError(t, err)
	whole, err := ops.ListTasks(ctx, pool, run.ID(), ops.TaskFilter{OutputBytes: ops.AllOutputs})
	require.NoError(t, err)
	require.Len(t, all, 4)
	shown, failed := 0, 0
	for i, task := range all {
		if task.OutputBytes > 40 {
			require.Nil(t, task.Output)
			require.NotNil(t, whole[i].Output)
			whole[i].Output = nil
		}
		if task.Output != nil {
			shown++
			require.Equal(t, `"short"`, string(task.Output))
		}
		failed += len(task.FailedAttempts)
		require.Equal(t, whole[i], task)
	}
	require.Equal(t, 1, shown)
	require.Equal(t, 1, failed)

	indexes := func(f ops.TaskFilter) []int {
		t.Helper()
		tasks, err := ops.ListTasks(ctx, pool, run.ID(), f)
		require.NoError(t, err)
		got := []int{}
		for _, task := range tasks {
			require.Nil(t, task.Output)
			got = append(got, task.Index)
		}
		return got
	}
	require.Equal(t, []int{0, 1}, indexes(ops.TaskFilter{PerStep: 2}))
	require.Equal(t, []int{2, 3}, indexes(ops.TaskFilter{PerStep: 2, After: spec.Set(1)}))
	require.Len(t, indexes(ops.TaskFilter{Statuses: []ops.TaskStatus{ops.TaskCompleted}}), 2)
	require.Empty(t, indexes(ops.TaskFilter{Step: "other"}))
	_, err = ops.ListTasks(ctx, pool, run.ID(), ops.TaskFilter{PerStep: -1})
	require.ErrorIs(t, err, runtime.ErrInvalidOption)
	_, err = ops.ListTasks(ctx, pool, "nonsense", ops.TaskFilter{})
	require.ErrorIs(t, err, runtime.ErrInvalidRunID)
}

func TestPayloads(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	h := newHand(t, pool)
	long := `"` + strings.Repeat("x", 500) + `"`
	run, err := runtime.StartFlow(ctx, pool, "greeting", json.RawMessage(`{"big": 12345678901234567890123}`))
	require.NoError(t, err)
	h.Finish("greeting", "completed", long)
	h.Finish("greeting", "completed", `"loud"`)

	payloads, err := ops.ListPayloads(ctx, pool, run.ID(), 100)
	require.NoError(t, err)
	byName := map[string]ops.Payload{}
	for _, p := range payloads {
		byName[string(p.Kind)+p.Step] = p
	}
	require.Len(t, byName, 4)
	require.JSONEq(t, `{"big": 12345678901234567890123}`, string(byName["run_input"].JSON))
	require.Contains(t, string(byName["run_input"].JSON), "12345678901234567890123", "numbers stay exact")
	require.JSONEq(t, `{"shout": "loud"}`, string(byName["run_output"].JSON))
	require.Equal(t, `"loud"`, string(byName["step_outputshout"].JSON))
	require.Nil(t, byName["step_outputgreet"].JSON)
	require.Greater(t, byName["step_outputgreet"].Bytes, 100)

	for kind, want := range map[ops.PayloadKind]string{
		ops.PayloadRunInput: `{"big": 12345678901234567890123}`, ops.PayloadRunOutput: `{"shout": "loud"}`,
		ops.PayloadStepOutput: long, ops.PayloadTaskOutput: long,
	} {
		got, err := ops.GetPayload(ctx, pool, run.ID(), ops.PayloadFilter{Kind: kind, Step: "greet"})
		require.NoError(t, err)
		require.JSONEq(t, want, string(got.JSON))
	}
	for atMost, there := range map[int]bool{501: false, 502: true} {
		got, err := ops.GetPayload(ctx, pool, run.ID(), ops.PayloadFilter{Kind: ops.PayloadStepOutput, Step: "greet", AtMost: atMost})
		require.NoError(t, err)
		require.Equal(t, there, got.JSON != nil)
		require.Positive(t, got.Bytes)
	}
	none, err := ops.GetPayload(ctx, pool, run.ID(), ops.PayloadFilter{Kind: ops.PayloadTaskOutput, Step: "greet", Index: 7})
	require.NoError(t, err)
	require.Nil(t, none)
}

func TestAdjacentRuns(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	_, err := runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "other", Steps: []spec.Step{{Slug: "only"}}})
	require.NoError(t, err)
	var ids []string
	for range 3 {
		run, err := typed.Start(ctx, pool, greet{})
		require.NoError(t, err)
		ids = append(ids, run.ID())
		_, err = runtime.StartFlow(ctx, pool, "other", nil)
		require.NoError(t, err)
	}
	newer, older, err := ops.AdjacentRuns(ctx, pool, ids[1])
	require.NoError(t, err)
	require.Equal(t, []string{ids[2], ids[0]}, []string{newer, older})
	newer, older, err = ops.AdjacentRuns(ctx, pool, ids[2])
	require.NoError(t, err)
	require.Equal(t, []string{"", ids[1]}, []string{newer, older})
	newer, older, err = ops.AdjacentRuns(ctx, pool, uuid.NewString())
	require.NoError(t, err)
	require.Empty(t, newer+older)
}

func TestListFailures(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	h := newHand(t, pool)
	runs, err := typed.StartMany(ctx, pool, make([]greet, 3))
	require.NoError(t, err)
	first, _ := h.Finish("greeting", "permanent", "one")
	second, _ := h.Finish("greeting", "permanent", "two")
	for _, run := range runs {
		if run.ID() != first && run.ID() != second {
			require.NoError(t, runtime.CancelRun(ctx, pool, run.ID(), ""))
		}
	}
	failures, err := ops.ListFailures(ctx, pool, time.Now().Add(-time.Hour), 10)
	require.NoError(t, err)
	require.Len(t, failures, 2, "a cancelled run is no failure")
	require.Equal(t, second, failures[0].ID)
	require.Equal(t, "two", failures[0].Error)
	require.Equal(t, "greet", failures[0].FailedStep)
	require.NotZero(t, failures[0].EndedAt)
	failures, err = ops.ListFailures(ctx, pool, time.Now().Add(time.Hour), 10)
	require.NoError(t, err)
	require.Empty(t, failures)
	_, err = ops.ListFailures(ctx, pool, time.Now(), 0)
	require.ErrorIs(t, err, runtime.ErrInvalidOption)
}

func TestGetDefinition(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	def := spec.Flow{Slug: "rich",
		MaxAttempts: 7, BaseDelay: spec.Set(2 * time.Second), Timeout: time.Minute,
		Steps: []spec.Step{
			{Slug: "a", Type: spec.TypeSingle, Deps: []string{}, WhenUnmet: spec.ModeSkip, WhenExhausted: spec.ModeFail, If: json.RawMessage(`{"go": true}`)},
			{
				Slug: "b", Type: spec.TypeMap, Deps: []string{"a"}, WhenExhausted: spec.ModeSkipCascade,
				MaxAttempts: 1, BaseDelay: spec.Set(3 * time.Second), Timeout: 5 * time.Second, StartDelay: time.Hour,
			},
		},
	}
	_, err := runtime.UpsertFlow(ctx, pool, def)
	require.NoError(t, err)
	got, err := ops.GetDefinition(ctx, pool, "rich")
	require.NoError(t, err)
	require.JSONEq(t, string(def.Steps[0].If), string(got.Steps[0].If))
	got.Steps[0].If = def.Steps[0].If
	require.Equal(t, def, got)
	require.NoError(t, got.Validate())
	_, err = ops.GetDefinition(ctx, pool, "nowhere")
	require.ErrorIs(t, err, runtime.ErrFlowNotFound)
	_, err = spec.Parse("x", []byte("{"))
	require.Error(t, err)
}
