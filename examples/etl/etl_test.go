package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/examples/etl/sales"
	"github.com/flowc-dev/flowc/runtime"
)

// TestEtl imports three thousand lines, three of which are wrong.
func TestEtl(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	summary, err := run(t.Context(), &out, "", 3000)
	require.NoError(t, err)
	require.Equal(t, 3000, summary.Lines)
	require.Equal(t, 2997, summary.Loaded)
	require.Len(t, summary.ByCountry, 6)
	require.Equal(t, []sales.Loaded{
		{Line: 1000, Wrong: `"n/a" is not an amount`},
		{Line: 2000, Wrong: `"yesterday" is not a day`},
		{Line: 3000, Wrong: `"BTC" is not a known currency`},
	}, summary.Wrong)
	var sum int64
	for _, cents := range summary.ByCountry {
		sum += cents
	}
	require.Equal(t, summary.Cents, sum)
	require.Contains(t, out.String(), "2997 of 3000 lines loaded in")
}

func TestFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sales.csv")
	require.NoError(t, os.WriteFile(path, []byte("a,2026-02-03,de,10.00,EUR\nb,2026-02-03,US,10.00,USD\nc,2026-02-03\n"), 0o600))
	summary, err := run(t.Context(), new(strings.Builder), path, 0)
	require.NoError(t, err)
	require.Equal(t, sales.Summary{
		Lines: 3, Loaded: 2, Cents: 1910, ByCountry: map[string]int64{"DE": 1000, "US": 910},
		Wrong: []sales.Loaded{{Line: 3, Wrong: "it has 2 fields instead of 5"}},
	}, summary)

	// A file without lines is a map over nothing.
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	summary, err = run(t.Context(), new(strings.Builder), path, 0)
	require.NoError(t, err)
	require.Equal(t, sales.Summary{ByCountry: map[string]int64{}}, summary)

	_, err = run(t.Context(), new(strings.Builder), filepath.Join(t.TempDir(), "gone.csv"), 0)
	var failed *runtime.RunFailedError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, "extract", failed.Step)
}
