package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/examples/report/sales/report"
	"github.com/flowc-dev/flowc/runtime/devdb"
	"github.com/flowc-dev/flowc/runtime/ops"
)

// TestReport runs the example twice on one database: each order is in one report.
func TestReport(t *testing.T) {
	t.Parallel()
	pool, closeDB, err := devdb.Open(t.Context(), devdb.Config{})
	require.NoError(t, err)
	defer closeDB()
	for range 2 {
		var out strings.Builder
		require.NoError(t, run(t.Context(), &out, pool, 2))
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		require.Len(t, lines, 3, out.String())
		for _, line := range lines[1:] {
			require.Regexp(t, regexp.MustCompile(`^\d\d:\d\d:\d\d +\d+ +\d+\.\d\d € +\w+ +\w+$`), line)
		}
		schedules, err := ops.ListSchedules(t.Context(), pool, report.Slug)
		require.NoError(t, err)
		require.Equal(t, "the example has ended", schedules[0].PauseReason)
	}
	// Each window begins where the one before ended, and each report has what was
	// sold in its window.
	var reports, gaps, wrong, sold int
	require.NoError(t, pool.QueryRow(t.Context(), `
		SELECT count(orders), count(*) FILTER (WHERE from_at <> before), count(*) FILTER (WHERE orders <> counted), sum(orders)
		FROM (
		  SELECT r.*, lag(r.until_at, 1, '-infinity') OVER (ORDER BY r.until_at) AS before,
		         (SELECT count(*) FROM report_example.orders o WHERE o.ordered_at > r.from_at AND o.ordered_at <= r.until_at) AS counted
		  FROM report_example.reports r) w`).Scan(&reports, &gaps, &wrong, &sold))
	require.GreaterOrEqual(t, reports, 4)
	require.Zero(t, gaps)
	require.Zero(t, wrong)
	require.Positive(t, sold)
}
