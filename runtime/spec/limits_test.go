package spec_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/stretchr/testify/require"
)

// embedding is a flow with limits of all kinds.
func embedding() spec.Flow {
	perMinute := spec.Rate{Tokens: 500, Per: time.Minute}
	tenant := spec.Path{spec.RunKey, "tenant_id"}
	return spec.Flow{Slug: "embedding", Steps: []spec.Step{
		{Slug: "split", Key: tenant},
		{Slug: "embed", Type: spec.TypeMap, Deps: []string{"split"}, Rate: perMinute, Gate: "openai"},
		{Slug: "label", Deps: []string{"split"}, Rate: perMinute, Gate: "openai"},
		{Slug: "store", Deps: []string{"embed"}, Concurrency: 1, StrictOrder: true, Key: spec.Path{"embed", "tenant"}},
	}}
}

func TestPayloadOfLimits(t *testing.T) {
	t.Parallel()
	payload, err := embedding().Payload()
	require.NoError(t, err)
	common := `"dependencies": ["split"], "whenUnmet": "skip", "whenExhausted": "fail", "requiredInputPattern": {"defined":false}, "forbiddenInputPattern": {"defined":false}`
	gate := `"settings": {"rate": {"tokens": 500, "seconds": 60, "burst": 100}, "gate": "openai"}`
	require.JSONEq(t, `{
		"options": {"maxAttempts": 3, "baseDelay": 1, "timeout": 60},
		"steps": [
			{"slug": "split", "stepType": "single", `+strings.Replace(common, `["split"]`, `[]`, 1)+`, "settings": {"gateKey": ["run", "tenant_id"]}},
			{"slug": "embed", "stepType": "map", `+common+`, `+gate+`},
			{"slug": "label", "stepType": "single", `+common+`, `+gate+`},
			{"slug": "store", "stepType": "single", `+strings.Replace(common, `["split"]`, `["embed"]`, 1)+`,
			 "settings": {"concurrency": 1, "strictOrder": true, "gateKey": ["embed", "tenant"]}}
		]}`, string(payload))
	parsed, err := spec.Parse("embedding", payload)
	require.NoError(t, err)
	require.NoError(t, parsed.Validate())
	require.Empty(t, spec.Compare(embedding(), parsed))
	require.True(t, parsed.NeedsEngine())
	require.True(t, spec.Flow{Steps: []spec.Step{{Slug: "a", Key: spec.Path{spec.RunKey}}}}.NeedsEngine(), "turns")
}

func TestValidateGates(t *testing.T) {
	t.Parallel()
	require.Empty(t, faults(t, embedding()))
	run := spec.Path{spec.RunKey}
	second := spec.Rate{Tokens: 1, Per: time.Second}
	require.Equal(t, []string{
		`step a: Key begins with "b", which is neither "run" nor a step that it waits for`,
		`step a: Concurrency is -1, it must be at least 1, or 0 for no limit`,
		`step a: Rate has 0 Tokens, it must have at least 1`,
		`step a: Per of Rate is 1.5s, it must be whole seconds`,
		`step a: Rate has a Burst of -1, it must be at least 1, or 0 for the default`,
		`step b: Concurrency is 2147483648, the limit is 2147483647`,
		`step b: Rate has 2147483648 Tokens, the limit is 2147483647`,
		`step b: Rate has a Burst of 2147483648, the limit is 2147483647`,
		`step b: StrictOrder needs a Concurrency of 1`,
		`step c: Gate: the name "a b" must be a letter or underscore, then letters, digits and underscores`,
		`step c: Gate has no effect without Concurrency or Rate`,
		`step d: Gate: the name "` + strings.Repeat("x", 65) + `" has 65 characters, the limit is 64`,
		`step e: Concurrency is not for a wait, which nobody attempts`,
		`step e: Rate is not for a wait, which nobody attempts`,
		`step e: Gate is not for a wait, which nobody attempts`,
		`step e: StrictOrder is not for a wait, which nobody attempts`,
		`step g: its limits of gate mail are 2 at once, 1/s, and those of step f are one at a time, 1/s`,
		`step i: step i has a Key at gate sms and step h has none, so they would not share it`,
		`step k: step j has a Key at gate fax and step k has none, so they would not share it`,
	}, faults(t, spec.Flow{Slug: "f", Steps: []spec.Step{
		{Slug: "a", Key: spec.Path{"b"}, Concurrency: -1, Rate: spec.Rate{Per: 1500 * time.Millisecond, Burst: -1}},
		{Slug: "b", Concurrency: math.MaxInt32 + 1, StrictOrder: true, Rate: spec.Rate{Tokens: math.MaxInt32 + 1, Per: time.Second, Burst: math.MaxInt32 + 1}},
		{Slug: "c", Gate: "a b"},
		{Slug: "d", Gate: strings.Repeat("x", 65), Concurrency: 1},
		{Slug: "e", Type: spec.TypeWait, Concurrency: 1, Rate: second, Gate: "mail", StrictOrder: true},
		{Slug: "f", Gate: "mail", Concurrency: 1, Rate: second},
		{Slug: "g", Gate: "mail", Concurrency: 2, Rate: second},
		{Slug: "h", Gate: "sms", Concurrency: 1},
		{Slug: "i", Gate: "sms", Concurrency: 1, Key: run},
		{Slug: "j", Gate: "fax", Concurrency: 1, Key: run},
		{Slug: "k", Gate: "fax", Concurrency: 1},
	}}))
}

func TestCompareLimits(t *testing.T) {
	t.Parallel()
	other := embedding()
	other.Steps[0].Key = nil
	other.Steps[1].Rate.Burst = 100 // which is the default
	other.Steps[2].Rate, other.Steps[2].Gate, other.Steps[2].Concurrency = spec.Rate{}, "", 5
	other.Steps[3].StrictOrder = false
	differences := spec.Compare(embedding(), other)
	require.Equal(t, []spec.Difference{
		{Step: "split", What: "key", From: "run.tenant_id", To: "none"},
		{Step: "label", What: "concurrency", From: "none", To: "5"},
		{Step: "label", What: "rate", From: "500/m", To: "none"},
		{Step: "label", What: "gate", From: "openai", To: "none"},
		{Step: "store", What: "strict_order", From: "true", To: "false"},
	}, differences)
	for _, d := range differences {
		require.True(t, d.InPlace(), d)
	}
}

func TestRateAndLimitsInWords(t *testing.T) {
	t.Parallel()
	for want, r := range map[string]spec.Rate{
		"none":     {},
		"5/s":      {Tokens: 5, Per: time.Second, Burst: 5},
		"500/m":    {Tokens: 500, Per: time.Minute, Burst: 100},
		"500/m,20": {Tokens: 500, Per: time.Minute, Burst: 20},
		"1/h,2":    {Tokens: 1, Per: time.Hour, Burst: 2},
		"7/90s":    {Tokens: 7, Per: 90 * time.Second},
	} {
		require.Equal(t, want, r.String())
	}
	require.Equal(t, "none", spec.Limits{}.String())
	require.Equal(t, "one at a time, in strict order", spec.Limits{Concurrency: 1, StrictOrder: true}.String())
	require.Equal(t, "5 at once, 2/s", spec.Limits{Concurrency: 5, Rate: spec.Rate{Tokens: 2, Per: time.Second}}.String())
	require.Equal(t, "2/s (burst 9)", spec.Limits{Rate: spec.Rate{Tokens: 2, Per: time.Second, Burst: 9}}.String())
	limits := embedding().Steps[1].Limits()
	require.Equal(t, "500/m at gate openai for each run.tenant_id", limits.At("openai", "run.tenant_id"))
	require.Equal(t, "500/m", limits.At("", ""))
	require.Equal(t, "in turn by run.tenant_id", spec.Limits{}.At("", "run.tenant_id"))
	require.Empty(t, spec.Limits{}.At("", ""))
}

func TestParseRate(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]spec.Rate{
		"5/s":      {Tokens: 5, Per: time.Second},
		"500/m":    {Tokens: 500, Per: time.Minute},
		"500/m,20": {Tokens: 500, Per: time.Minute, Burst: 20},
	} {
		got, err := spec.ParseRate(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Equal(t, text, got.String())
	}
	for _, text := range []string{"", "5", "5/d", "0/s", "5/s,0", "5/s,", "2147483648/h", "99999999999999999999/h", "5/h,99999999999999999999", "-1/s", "5/s "} {
		_, err := spec.ParseRate(text)
		require.Error(t, err, text)
	}
}

// TestLimitOfRuns: the concurrency and the key of a flow are its own, and change in place.
func TestLimitOfRuns(t *testing.T) {
	t.Parallel()
	limited := embedding()
	limited.Concurrency, limited.Key = 5, spec.Path{spec.RunKey, "tenant_id"}
	payload, err := limited.Payload()
	require.NoError(t, err)
	require.Contains(t, string(payload), `"settings":{"concurrency":5,"gateKey":["run","tenant_id"]}`)
	parsed, err := spec.Parse("embedding", payload)
	require.NoError(t, err)
	require.NoError(t, parsed.Validate())
	require.Empty(t, spec.Compare(limited, parsed))
	require.Equal(t, []spec.Difference{
		{What: "concurrency", From: "5", To: "none"},
		{What: "key", From: "run.tenant_id", To: "none"},
	}, spec.Compare(limited, embedding()))
	for _, d := range spec.Compare(limited, embedding()) {
		require.True(t, d.InPlace(), d)
	}
	require.True(t, spec.Flow{Concurrency: 1, Steps: []spec.Step{{Slug: "a"}}}.NeedsEngine())
	require.Equal(t, []string{`Concurrency is -1, it must be at least 1, or 0 for no limit`, `Key begins with "a", which is neither "run" nor a step that it waits for`},
		faults(t, spec.Flow{Slug: "f", Concurrency: -1, Key: spec.Path{"a"}, Steps: []spec.Step{{Slug: "a"}}}))
	require.Equal(t, []string{`Key has no effect without Concurrency`, `step a: it is a map over the flow's input, and Key of the flow cannot look into a list`},
		faults(t, spec.Flow{Slug: "f", Key: spec.Path{spec.RunKey, "id"}, Steps: []spec.Step{{Slug: "a", Type: spec.TypeMap}}}))
}
