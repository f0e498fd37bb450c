package temporalflow_test

import (
	"log/slog"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"github.com/flowc-dev/flowc/runtime/internal/conformance"
	"github.com/flowc-dev/flowc/runtime/temporalflow"
	"github.com/flowc-dev/flowc/runtime/temporalflow/internal/engines"
)

func TestScratchRows(t *testing.T) {
	address, ns := os.Getenv("TEMPORAL_ADDRESS"), os.Getenv("TEMPORAL_NAMESPACE")
	if address == "" {
		t.Skip()
	}
	conformance.Test(t, engines.Temporal(func(t *testing.T) (client.Client, string) {
		c, err := client.Dial(client.Options{HostPort: address, Namespace: ns, Logger: temporalflow.Logger(slog.New(slog.DiscardHandler))})
		require.NoError(t, err)
		t.Cleanup(c.Close)
		return c, ns
	}))
}
