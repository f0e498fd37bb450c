package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// The example checks itself: run fails if an order did not end as it had to.
func TestServerOrders(t *testing.T) {
	address := os.Getenv("TEMPORAL_ADDRESS")
	if address == "" {
		t.Skip("needs a Temporal server: make temporal")
	}
	require.NoError(t, run(t.Context(), address, os.Getenv("TEMPORAL_NAMESPACE"), false))
}
