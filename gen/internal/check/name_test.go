package check

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSnake(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"ProcessOrder": "process_order",
		"ShipURL":      "ship_url",
		"HTTPServer":   "http_server",
		"OAuth2Token":  "o_auth2_token",
		"A":            "a",
		"AB":           "ab",
		"ABc":          "a_bc",
		"Ship_Order":   "ship_order",
		"V2":           "v2",
		"V2Go":         "v2_go",
		"ID":           "id",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, want, snake(name))
		})
	}
}

func TestBase(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"OrderFlow": "Order", "MailJob": "Mail", "Flow": "Flow", "Job": "Job", "FlowJob": "Flow", "Order": "Order", "Workflow": "Workflow",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, want, base(name))
		})
	}
}
