package runtime_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
)

func TestCompareDefinitions(t *testing.T) {
	t.Parallel()
	shop := runtime.Definition{Slug: "shop", FlowOptions: runtime.FlowOptions{
		BaseDelay: runtime.Set(time.Hour),
		Steps: []runtime.StepOptions{
			{Slug: "check", MaxAttempts: runtime.Set(5)},
			{Slug: "lines", Deps: []string{"check"}},
			{Slug: "pack", Type: runtime.MapStep, Deps: []string{"lines"}},
			{Slug: "mail", Deps: []string{"check"}, If: json.RawMessage(`{"check": {"mail": true, "n": 12345678901234567890}}`)},
			{Slug: "ship", Deps: []string{"pack", "check"}},
		},
	}}
	require.Empty(t, runtime.CompareDefinitions(shop, shop))
	same := shop
	same.Steps = slices.Clone(shop.Steps)
	same.Steps[3].If = json.RawMessage(`{"check":{"n":12345678901234567890,"mail":true}}`)
	same.Steps[4].Deps = []string{"check", "pack"}
	same.Steps[4].StartDelay = runtime.Set(time.Duration(0))
	same.Steps[4].WhenExhausted = runtime.FailRun
	same.Timeout = runtime.Set(runtime.DefaultTimeout)
	require.Empty(t, runtime.CompareDefinitions(shop, same), "what is written differently and means the same")
	same.Steps[3].If = json.RawMessage(`{"check":{"n":12345678901234567891,"mail":true}}`)
	require.Len(t, runtime.CompareDefinitions(shop, same), 1, "no digit is lost")

	other := runtime.Definition{Slug: "shop", FlowOptions: runtime.FlowOptions{Cron: "@daily", Steps: []runtime.StepOptions{
		{Slug: "check", Timeout: runtime.Set(time.Minute)}, {Slug: "lines"}, {Slug: "pack", Deps: []string{"lines"}, StartDelay: runtime.Set(time.Second)},
		{Slug: "mail", Deps: []string{"check"}, IfNot: json.RawMessage(`{"a": 1}`), WhenUnmet: runtime.FailRun, WhenExhausted: runtime.SkipStep}, {Slug: "extra"},
	}}}
	require.Equal(t, []runtime.Difference{
		{What: "base_delay", From: "1h0m0s", To: "1s"},
		{What: "cron", From: "none", To: "@daily"},
		{Step: "check", What: "max_attempts", From: "5", To: "the flow's"},
		{Step: "check", What: "timeout", From: "the flow's", To: "1m0s"},
		{Step: "lines", What: "what it waits for", From: "check", To: "nothing"},
		{Step: "pack", What: "type", From: "map", To: "single"},
		{Step: "pack", What: "start_delay", From: "none", To: "1s"},
		{Step: "mail", What: "if", From: `{"check":{"mail":true,"n":12345678901234567890}}`, To: "none"},
		{Step: "mail", What: "if_not", From: "none", To: `{"a":1}`},
		{Step: "mail", What: "when_unmet", From: "skip", To: "fail"},
		{Step: "mail", What: "when_exhausted", From: "fail", To: "skip"},
		{Step: "ship", From: "there", To: "not there"},
		{Step: "extra", From: "not there", To: "there"},
	}, runtime.CompareDefinitions(shop, other))
}
