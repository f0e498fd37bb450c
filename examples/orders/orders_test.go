package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The example checks itself: run fails if an order did not end as it had to.
func TestOrders(t *testing.T) {
	require.NoError(t, run(t.Context(), false))
}
