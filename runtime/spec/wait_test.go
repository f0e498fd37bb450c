package spec_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/stretchr/testify/require"
)

// expense is a flow with a wait, timers and a deadline.
func expense() spec.Flow {
	return spec.Flow{Slug: "expense", Deadline: 48 * time.Hour, Steps: []spec.Step{
		{Slug: "check", MaxWait: time.Hour},
		{Slug: "approve", Type: spec.TypeWait, Deps: []string{"check"}, Timeout: 72 * time.Hour, WhenExhausted: spec.ModeSkip,
			Key: spec.Path{spec.RunKey, "payment", "id"}, Keep: time.Minute, Answer: json.RawMessage(`{"type":"object"}`),
			Shown: &spec.Result{Fields: []spec.ResultField{{Name: "Claim", From: spec.RunKey}, {From: "check"}}}},
		{Slug: "remind", Deps: []string{"check"}, StartAt: spec.Path{"check", "remind_at"}},
		{Slug: "pay", Deps: []string{"approve"}, StartDelayFrom: spec.Path{spec.RunKey, "pause"}},
	}}
}

func TestPayloadOfAWait(t *testing.T) {
	t.Parallel()
	payload, err := expense().Payload()
	require.NoError(t, err)
	none := `{"defined":false}`
	require.JSONEq(t, `{
		"options": {"maxAttempts": 3, "baseDelay": 1, "timeout": 60}, "settings": {"deadline": 172800},
		"steps": [
			{"slug": "check", "stepType": "single", "dependencies": [], "whenUnmet": "skip", "whenExhausted": "fail",
			 "requiredInputPattern": `+none+`, "forbiddenInputPattern": `+none+`, "settings": {"maxWait": 3600}},
			{"slug": "approve", "stepType": "single", "kind": "wait", "dependencies": ["check"], "whenUnmet": "skip", "whenExhausted": "skip",
			 "requiredInputPattern": `+none+`, "forbiddenInputPattern": `+none+`, "options": {"maxAttempts": 1, "timeout": 259200},
			 "settings": {"key": ["run", "payment", "id"], "keep": 60, "answer": {"type": "object"}, "shown": {"fields": [{"name": "Claim", "from": "run"}, {"from": "check"}]}}},
			{"slug": "remind", "stepType": "single", "dependencies": ["check"], "whenUnmet": "skip", "whenExhausted": "fail",
			 "requiredInputPattern": `+none+`, "forbiddenInputPattern": `+none+`, "settings": {"startAt": ["check", "remind_at"]}},
			{"slug": "pay", "stepType": "single", "dependencies": ["approve"], "whenUnmet": "skip", "whenExhausted": "fail",
			 "requiredInputPattern": `+none+`, "forbiddenInputPattern": `+none+`, "settings": {"startDelay": ["run", "pause"]}}
		]}`, string(payload))
	parsed, err := spec.Parse("expense", payload)
	require.NoError(t, err)
	require.NoError(t, parsed.Validate())
	require.Empty(t, spec.Compare(expense(), parsed))
	require.Equal(t, spec.TypeWait, parsed.Step("approve").Type)
	require.Zero(t, parsed.Step("approve").MaxAttempts)
}

func TestValidateWaitsAndTimers(t *testing.T) {
	t.Parallel()
	require.Empty(t, faults(t, expense()))
	run := spec.Path{spec.RunKey}
	require.Equal(t, []string{
		`Deadline is 1ms, it must be at least 1s`,
		`step a: it has StartDelay, and StartAt or StartDelayFrom`,
		`step a: MaxWait is 1.5s, it must be whole seconds`,
		`step a: Keep is only for a step of Type "wait"`,
		`step a: Answer is only for a step of Type "wait"`,
		`step a: Shown is only for a step of Type "wait"`,
		`step b: StartAt begins with "c", which is neither "run" nor a step that it waits for`,
		`step b: StartDelayFrom is a path with an empty name`,
		`step b: it has both StartAt and StartDelayFrom`,
		`step c: MaxAttempts is not for a wait, which nobody attempts`,
		`step c: BaseDelay is not for a wait, which nobody attempts`,
		`step c: StartDelay is not for a wait, which nobody attempts`,
		`step c: StartAt is not for a wait, which nobody attempts`,
		`step c: StartDelayFrom is not for a wait, which nobody attempts`,
		`step c: MaxWait is not for a wait, which nobody attempts`,
		`step c: Keep has no effect without Key`,
		`step c: Shown has both From and Fields`,
		`step c: Shown comes from "d", which is neither "run" nor a step that it waits for`,
		`step c: Answer must be a JSON object, not 1`,
		`step d: Key cannot be stored: it contains characters that PostgreSQL refuses`,
	}, faults(t, spec.Flow{Slug: "f", Deadline: time.Millisecond, Steps: []spec.Step{
		{Slug: "a", StartDelay: time.Second, StartAt: run, MaxWait: 1500 * time.Millisecond, Key: run, Keep: time.Second, Answer: json.RawMessage(`{}`), Shown: &spec.Result{}},
		{Slug: "b", StartAt: spec.Path{"c"}, StartDelayFrom: spec.Path{}},
		{Slug: "c", Type: spec.TypeWait, MaxAttempts: 1, BaseDelay: spec.Set(time.Second), StartDelay: time.Second, StartAt: run,
			StartDelayFrom: run, MaxWait: time.Second, Keep: time.Second, Answer: json.RawMessage(`1`),
			Shown: &spec.Result{From: spec.RunKey, Fields: []spec.ResultField{{From: "d"}}}},
		{Slug: "d", Type: spec.TypeWait, Key: spec.Path{spec.RunKey, "a\x00"}},
		{Slug: "e", Type: spec.TypeWait},
	}}))
}

func TestCompareWaits(t *testing.T) {
	t.Parallel()
	other := expense()
	other.Deadline = 0
	other.Steps[0].MaxWait = 0
	other.Steps[1].Timeout, other.Steps[1].Key, other.Steps[1].Keep, other.Steps[1].Answer = 0, spec.Path{"check", "id"}, 0, nil
	other.Steps[1].Shown = nil
	other.Steps[2].StartAt, other.Steps[2].StartDelay = nil, time.Minute
	other.Steps[3].StartDelayFrom = nil
	differences := spec.Compare(expense(), other)
	require.Equal(t, []spec.Difference{
		{What: "deadline", From: "48h0m0s", To: "none"},
		{Step: "check", What: "max_wait", From: "1h0m0s", To: "168h0m0s"},
		{Step: "approve", What: "timeout", From: "72h0m0s", To: "none"},
		{Step: "approve", What: "key", From: "run.payment.id", To: "check.id"},
		{Step: "approve", What: "keep", From: "1m0s", To: "24h0m0s"},
		{Step: "approve", What: "answer", From: `{"type":"object"}`, To: "none"},
		{Step: "approve", What: "shown", From: "Claim from run, check", To: "everything"},
		{Step: "remind", What: "start_delay", From: "none", To: "1m0s"},
		{Step: "remind", What: "start_at", From: "check.remind_at", To: "none"},
		{Step: "pay", What: "start_delay", From: "run.pause", To: "none"},
	}, differences)
	for _, d := range differences {
		require.True(t, d.InPlace(), d)
	}
	kind := spec.Compare(spec.Flow{Steps: []spec.Step{{Slug: "a"}}}, spec.Flow{Steps: []spec.Step{{Slug: "a", Type: spec.TypeWait}}})
	require.Equal(t, "step a: type was single, and is wait", kind[0].String())
	require.False(t, kind[0].InPlace())
}
