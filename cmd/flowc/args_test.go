package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseSpan(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "1h30m": 90 * time.Minute, "7d": 7 * 24 * time.Hour, "2w": 14 * 24 * time.Hour, "0": 0, "0d": 0,
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			got, err := parseSpan(text)
			require.NoError(t, err)
			require.Equal(t, want, got)
		})
	}
	for _, text := range []string{"", "d", "-1d", "-5s", "1.5d", "1y", "1000000000000d", "9223372036854775807w", "7"} {
		t.Run("not "+text, func(t *testing.T) {
			t.Parallel()
			_, err := parseSpan(text)
			require.ErrorContains(t, err, "is not a duration; write it as")
		})
	}
}
