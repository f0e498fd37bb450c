package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The example checks itself: run fails if an order was lost, or did not end as it had to.
func TestShards(t *testing.T) {
	var out strings.Builder
	require.NoError(t, run(t.Context(), &out, false), out.String())
	require.Contains(t, out.String(), "kill -9")
	require.Contains(t, out.String(), "100 orders placed")
}
