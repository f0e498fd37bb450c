package worker

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What lost claims took is found as what the worker does not have in hand: no other
// claim may be under way then.
func TestNothingIsGivenBackWhileAClaimIsUnderWay(t *testing.T) {
	t.Parallel()
	s := new(session)
	require.False(t, s.unknownDue())
	require.True(t, s.beginAlong())
	s.lostClaim()
	require.False(t, s.unknownDue(), "one is under way")
	require.False(t, s.beginAlong(), "which others do not follow")
	s.endAlong()
	require.True(t, s.unknownDue())
	s.gaveBack()
	require.False(t, s.unknownDue(), "the second look is later")
	require.True(t, s.beginAlong())
}
