package spec_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/stretchr/testify/require"
)

// faults returns what Validate finds, as text.
func faults(t *testing.T, def spec.Flow) []string {
	t.Helper()
	err := def.Validate()
	if err == nil {
		return nil
	}
	var invalid *spec.InvalidFlowError
	require.ErrorAs(t, err, &invalid)
	require.Equal(t, def.Slug, invalid.Flow)
	var all []string
	for _, f := range invalid.Faults {
		all = append(all, f.String())
	}
	return all
}

func TestValidateFindsEverythingAtOnce(t *testing.T) {
	t.Parallel()
	def := spec.Flow{Slug: "run",
		MaxAttempts: -1,
		BaseDelay:   spec.Set(-time.Second),
		Timeout:     1500 * time.Millisecond,
		Steps: []spec.Step{
			{Slug: "a", Deps: []string{"a", "zzz"}, StartDelay: time.Millisecond},
			{Slug: "a"},
			{Slug: "2b", Type: "double"},
			{},
			{Slug: "m", Type: spec.TypeMap, Deps: []string{"a", "c"}},
			{Slug: "c", Deps: []string{"d", "d"}, If: json.RawMessage(`[1]`), WhenExhausted: "retry"},
			{Slug: "d", Deps: []string{"c"}, WhenUnmet: spec.ModeFail},
			{Slug: "r", Type: spec.TypeMap, IfNot: json.RawMessage(`{"a":1}`), WhenUnmet: "never"},
		},
	}
	require.Equal(t, []string{
		`the slug "run" is reserved`,
		`MaxAttempts is -1, it counts the first attempt and must be at least 1`,
		`BaseDelay is -1s, it must be at least 0s`,
		`Timeout is 1.5s, it must be whole seconds`,
		`step a: it is there twice, as step 1 and as step 2`,
		`step a: StartDelay is 1ms, it must be whole seconds`,
		`step a: it waits for itself`,
		`step a: it waits for "zzz", which is no step of this flow`,
		`step 2b: the slug "2b" must be a letter or underscore, then letters, digits and underscores`,
		`step 2b: Type is "double", it must be "single", "map" or "wait"`,
		`step 4: the slug is missing`,
		`step m: a map step waits for one step at most, not for a, c`,
		`step c: it waits for "d" twice`,
		`step c: If must be a JSON object, not [1]`,
		`step c: WhenExhausted is "retry", it must be "fail", "skip" or "skip-cascade"`,
		`step d: WhenUnmet has no effect without If or IfNot`,
		`step r: IfNot on a map over the flow's input would be compared with a list and never hold`,
		`step r: WhenUnmet is "never", it must be "fail", "skip" or "skip-cascade"`,
		`steps wait for each other: c waits for d waits for c`,
	}, faults(t, def))
}

func TestValidateOptionLimits(t *testing.T) {
	t.Parallel()
	const most = math.MaxInt32
	def := func(attempts int, seconds time.Duration) spec.Flow {
		return spec.Flow{Slug: "f",
			MaxAttempts: attempts, BaseDelay: spec.Set(seconds * time.Second), Timeout: seconds * time.Second,
			Steps: []spec.Step{{Slug: "a", MaxAttempts: attempts, StartDelay: seconds * time.Second}},
		}
	}
	require.Empty(t, faults(t, def(most, most)))
	require.Equal(t, []string{
		`MaxAttempts is 2147483648, the limit is 2147483647`,
		`BaseDelay is 596523h14m8s, the limit is 596523h14m7s`,
		`Timeout is 596523h14m8s, the limit is 596523h14m7s`,
		`step a: MaxAttempts is 2147483648, the limit is 2147483647`,
		`step a: StartDelay is 596523h14m8s, the limit is 596523h14m7s`,
	}, faults(t, def(most+1, most+1)))
}

func TestValidatePatterns(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]string{
		`{"a": "\u0000"}`:         "step a: If cannot be stored: it contains the character",
		`{"a": {"b": 1e131071}}`:  "step a: If cannot be stored: it contains numbers that are too long",
		`{"a": {"b": 1e-16383}}`:  "step a: If cannot be stored: it contains numbers that are too long",
		`{"a": {"b": 1.25e+308}}`: "",
	} {
		got := faults(t, spec.Flow{Slug: "f", Steps: []spec.Step{{Slug: "a", If: json.RawMessage(pattern)}}})
		if want == "" {
			require.Empty(t, got, pattern)
			continue
		}
		require.Len(t, got, 1, pattern)
		require.Contains(t, got[0], want)
	}
}

func TestValidateLimits(t *testing.T) {
	t.Parallel()
	step := []spec.Step{{Slug: "a"}}
	long := func(n int) string { return strings.Repeat("a", n) }
	require.Empty(t, faults(t, spec.Flow{Slug: long(47), Steps: step}))
	require.Len(t, faults(t, spec.Flow{Slug: long(48), Steps: step}), 1)
	require.Empty(t, faults(t, spec.Flow{Slug: "f", Steps: []spec.Step{{Slug: long(128)}}}))
	require.Len(t, faults(t, spec.Flow{Slug: "f", Steps: []spec.Step{{Slug: long(129)}}}), 1)
	require.Equal(t, []string{"it has no steps, at least one is needed"}, faults(t, spec.Flow{Slug: "f"}))
	require.Empty(t, faults(t, chain(49)))
	require.Equal(t, []string{"step s50: it is the 50th in a row of steps that have a condition or are maps, at most 49 can follow each other"},
		faults(t, chain(51)))
}

// chain returns a flow of conditional steps, each of which waits for the one before.
func chain(n int) spec.Flow {
	def := spec.Flow{Slug: "chain"}
	for i := range n {
		s := spec.Step{Slug: fmt.Sprintf("s%d", i+1), If: json.RawMessage(`{}`)}
		if i > 0 {
			s.Deps = []string{fmt.Sprintf("s%d", i)}
		}
		def.Steps = append(def.Steps, s)
	}
	return def
}

func TestPayload(t *testing.T) {
	t.Parallel()
	def := spec.Flow{Slug: "order",
		BaseDelay: spec.Set(5 * time.Second),
		Steps: []spec.Step{
			{Slug: "ship", Deps: []string{"pack", "charge"}, If: json.RawMessage(`{"charge":{"ok":true}}`), WhenUnmet: spec.ModeSkipCascade},
			{Slug: "check"},
			{Slug: "pack", Type: spec.TypeMap, Deps: []string{"check"}, WhenExhausted: spec.ModeSkip},
			{Slug: "charge", Deps: []string{"check"}, MaxAttempts: 5, BaseDelay: spec.Set(time.Duration(0)),
				Timeout: time.Minute, StartDelay: time.Hour},
		},
	}
	payload, err := def.Payload()
	require.NoError(t, err)
	none := `{"defined":false}`
	require.JSONEq(t, `{
		"options": {"maxAttempts": 3, "baseDelay": 5, "timeout": 60},
		"steps": [
			{"slug": "check", "stepType": "single", "dependencies": [], "whenUnmet": "skip", "whenExhausted": "fail",
			 "requiredInputPattern": `+none+`, "forbiddenInputPattern": `+none+`},
			{"slug": "pack", "stepType": "map", "dependencies": ["check"], "whenUnmet": "skip", "whenExhausted": "skip",
			 "requiredInputPattern": `+none+`, "forbiddenInputPattern": `+none+`},
			{"slug": "charge", "stepType": "single", "dependencies": ["check"], "whenUnmet": "skip", "whenExhausted": "fail",
			 "requiredInputPattern": `+none+`, "forbiddenInputPattern": `+none+`,
			 "options": {"maxAttempts": 5, "baseDelay": 0, "timeout": 60, "startDelay": 3600}},
			{"slug": "ship", "stepType": "single", "dependencies": ["charge", "pack"], "whenUnmet": "skip-cascade", "whenExhausted": "fail",
			 "requiredInputPattern": {"defined": true, "value": {"charge": {"ok": true}}}, "forbiddenInputPattern": `+none+`}
		]}`, string(payload))
}
