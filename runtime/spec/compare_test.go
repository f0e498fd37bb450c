package spec_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/stretchr/testify/require"
)

func TestCompareDefinitions(t *testing.T) {
	t.Parallel()
	shop := spec.Flow{Slug: "shop",
		BaseDelay: spec.Set(time.Hour),
		Steps: []spec.Step{
			{Slug: "check", MaxAttempts: 5},
			{Slug: "lines", Deps: []string{"check"}},
			{Slug: "pack", Type: spec.TypeMap, Deps: []string{"lines"}},
			{Slug: "mail", Deps: []string{"check"}, If: json.RawMessage(`{"check": {"mail": true, "n": 12345678901234567890}}`)},
			{Slug: "ship", Deps: []string{"pack", "check"}},
		},
	}
	require.Empty(t, spec.Compare(shop, shop))
	same := shop
	same.Steps = slices.Clone(shop.Steps)
	same.Steps[3].If = json.RawMessage(`{"check":{"n":12345678901234567890,"mail":true}}`)
	same.Steps[4].Deps = []string{"check", "pack"}
	same.Steps[4].StartDelay = time.Duration(0)
	same.Steps[4].WhenExhausted = spec.ModeFail
	same.Timeout = spec.DefaultTimeout
	require.Empty(t, spec.Compare(shop, same), "what is written differently and means the same")
	same.Steps[3].If = json.RawMessage(`{"check":{"n":12345678901234567891,"mail":true}}`)
	require.Len(t, spec.Compare(shop, same), 1, "no digit is lost")

	other := spec.Flow{Slug: "shop", Cron: "@daily", Steps: []spec.Step{
		{Slug: "check", Timeout: time.Minute}, {Slug: "lines"}, {Slug: "pack", Deps: []string{"lines"}, StartDelay: time.Second},
		{Slug: "mail", Deps: []string{"check"}, IfNot: json.RawMessage(`{"a": 1}`), WhenUnmet: spec.ModeFail, WhenExhausted: spec.ModeSkip}, {Slug: "extra"},
	}}
	require.Equal(t, []spec.Difference{
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
	}, spec.Compare(shop, other))
}

func TestDifferenceInWords(t *testing.T) {
	t.Parallel()
	from := spec.Flow{Slug: "shop", Steps: []spec.Step{{Slug: "a"}, {Slug: "b"}, {Slug: "c"}}}
	for name, c := range map[string]struct {
		to      spec.Flow
		words   string
		inPlace bool
	}{
		"option":      {spec.Flow{MaxAttempts: 5, Steps: from.Steps}, "max_attempts was 3, and is 5", true},
		"step option": {spec.Flow{Steps: []spec.Step{{Slug: "a"}, {Slug: "b", Timeout: time.Minute}, {Slug: "c"}}}, "step b: timeout was the flow's, and is 1m0s", true},
		"gone":        {spec.Flow{Steps: from.Steps[:2]}, "step c is gone", false},
		"new":         {spec.Flow{Steps: append(slices.Clone(from.Steps), spec.Step{Slug: "d"})}, "step d is new", false},
		"type":        {spec.Flow{Steps: []spec.Step{{Slug: "a"}, {Slug: "b", Type: spec.TypeMap}, {Slug: "c"}}}, "step b: type was single, and is map", false},
		"order":       {spec.Flow{Steps: []spec.Step{{Slug: "b"}, {Slug: "a"}, {Slug: "c"}}}, "the order of the steps was a, b, c, and is b, a, c", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			differences := spec.Compare(from, c.to)
			require.Len(t, differences, 1)
			require.Equal(t, c.words, differences[0].String())
			require.Equal(t, c.inPlace, differences[0].InPlace())
		})
	}
}
