package day

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/examples/orders/shop"
	"github.com/flowc-dev/flowc/runtime"
)

func TestCheckNoticesWhatWentWrong(t *testing.T) {
	t.Parallel()
	rejected := &runtime.RunFailedError{Step: "validate", Message: "not in stock"}
	lost := &runtime.RunFailedError{Step: "ship", Message: "no courier"}
	for name, tt := range map[string]struct {
		expect string
		err    error
		want   string
	}{
		"shipped as expected":             {"shipped", nil, ""},
		"rejected as expected":            {"rejected", rejected, ""},
		"failed though to be shipped":     {"shipped", lost, "order 1 had to be shipped"},
		"shipped though to be rejected":   {"rejected", nil, "order 1 had to be rejected"},
		"rejected by the wrong step":      {"rejected", lost, "order 1 had to be rejected by validate"},
		"neither shipped nor rejected":    {"rejected", errors.New("gone"), "order 1 had to be rejected"},
		"not shipped for another reason ": {"shipped", errors.New("gone"), "order 1 had to be shipped"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var today Day
			require.NoError(t, json.Unmarshal([]byte(`{"orders": [{"order": {"id": "1"}}]}`), &today))
			today.Orders[0].Expect = tt.expect
			err := check(today, []result{{err: tt.err}})
			if tt.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tt.want)
			}
		})
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	var today Day
	require.NoError(t, json.Unmarshal([]byte(`{"orders": [{"order": {"id": "1", "lines": [{}, {}]}}, {"order": {"id": "2"}}]}`), &today))
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	results := []result{
		{
			shipment: shop.Shipment{Tracking: "TRK-1", Parcels: 2, Weight: 1500},
			info: &runtime.RunInfo{
				Status: runtime.RunCompleted, StartedAt: start, CompletedAt: start.Add(1500 * time.Millisecond),
				States: []runtime.StepState{{Status: runtime.StepCompleted, Attempts: 3}, {Status: runtime.StepSkipped}},
			},
		},
		{
			err: &runtime.RunFailedError{Step: "validate", Message: "no lines"},
			info: &runtime.RunInfo{
				Status: runtime.RunFailed, StartedAt: start, FailedAt: start.Add(20 * time.Millisecond),
				States: []runtime.StepState{{Status: runtime.StepFailed, Attempts: 1}, {Status: runtime.StepCreated}},
			},
		},
	}
	var out bytes.Buffer
	report(&out, today, results, 1, 2*time.Second)
	require.Equal(t, `
ORDER  LINES  STATUS     STEPS            ATTEMPTS  TIME  RESULT
1      2      completed  1/2 (1 skipped)  3         1.5s  TRK-1, 1.5 kg
2      0      failed     0/2              1         20ms  validate: no lines

2 orders in 2.0 s: 1 shipped in 2 parcels, 1 rejected; 4 attempts in all, 1 receipts mailed
`, out.String())
}
