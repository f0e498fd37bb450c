package tags

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/runtime/spec"
)

func TestReadLimits(t *testing.T) {
	t.Parallel()
	s, codes := readTag(t, `concurrency:"1" rate:"500/m,20" gate:"openai" strict_order:"true" key:"Input.ID"`, OnMap)
	require.Empty(t, codes)
	require.Equal(t, 1, s.Concurrency)
	require.Equal(t, spec.Rate{Tokens: 500, Per: time.Minute, Burst: 20}, s.Rate)
	require.Equal(t, "openai", s.Gate.Value)
	require.Equal(t, "Input.ID", s.Key.Value)
	require.True(t, s.StrictOrder)
	require.False(t, s.BadLimits)
}

func TestReadBadLimits(t *testing.T) {
	t.Parallel()
	for tag, code := range map[string]diag.Code{
		`concurrency:"0"`: diag.BadNumber, `concurrency:"-1"`: diag.BadNumber, `rate:"5"`: diag.BadRate, `rate:"5/s,0"`: diag.BadRate,
		`rate:"0/s"`: diag.BadRate, `rate:"5/d"`: diag.BadRate, `rate:"5/s,"`: diag.BadRate, `strict_order:"false"`: diag.BadMode,
	} {
		s, codes := readTag(t, tag, OnJob)
		require.Equal(t, []diag.Code{code}, codes, tag)
		require.True(t, s.BadLimits, tag)
	}
	for tag, code := range map[string]diag.Code{
		`gate:"a.b"`: diag.BadGate, `strict_order:"true"`: diag.MissingLimit, `concurrency:"2" strict_order:"true"`: diag.MissingLimit,
	} {
		_, codes := readTag(t, tag, OnStep)
		require.Equal(t, []diag.Code{code}, codes, tag)
	}
}

// FuzzMeantRate holds that what is suggested for a rate is one.
func FuzzMeantRate(f *testing.F) {
	for _, seed := range []string{"5/s", "5 per second", "0.5/s", "0.0001/s", "100/min, burst 20", "1e5/h", "0/h", "00.5 /m", "1/s,0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		meant := meantRate(text)
		if meant == "" {
			return
		}
		require.Regexp(t, rateForm, meant)
		require.Equal(t, meant, meantRate(meant))
	})
}

func TestMeantRate(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"5 per second": "5/s", "5/sec": "5/s", " 5 / m ": "5/m", "60 an hour": "60/h", "60 each hour": "60/h", "0.5/s": "30/m", "0.01/s": "36/h", "0.001/s": "",
		"1.5/h": "", "100/min, burst 20": "100/m,20", "100/min;20": "100/m,20", "5/d": "", "0/sec": "", "5/sec,0": "", "quickly": "",
	} {
		require.Equal(t, want, meantRate(text), text)
	}
}
