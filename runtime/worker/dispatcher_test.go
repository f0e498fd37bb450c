package worker

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// What lost claims took is found as what is not in flight: no other claim may be under way
// then.
func TestLostClaimsAreReleasedBesideNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &dispatcher{executor: new(executor)}
		require.False(t, d.mustReleaseLost())
		require.True(t, d.beginCarried())
		d.lostClaim()
		require.False(t, d.mustReleaseLost(), "a claim is in flight")
		require.False(t, d.beginCarried(), "no other follows it")
		d.endCarried()
		require.True(t, d.mustReleaseLost())
		d.releasedLost()
		require.False(t, d.mustReleaseLost(), "the next release is later")
		require.True(t, d.beginCarried())
		d.endCarried()
		for _, after := range releaseLostAfter[1:] {
			time.Sleep(after)
			require.True(t, d.mustReleaseLost())
			d.releasedLost()
		}
		require.False(t, d.mustReleaseLost())
	})
}

// Slots are reserved for a claim that a start or a report carries only while it may be
// made.
func TestReserve(t *testing.T) {
	t.Parallel()
	d := &dispatcher{executor: new(executor), slots: newSlots(3)}
	c := d.reserve(2)
	require.Equal(t, 2, c.free)
	require.Len(t, d.slots, 1)
	for name, refuse := range map[string]func(*dispatcher){
		"closed":     (*dispatcher).close,
		"isolated":   func(d *dispatcher) { d.isolate(true) },
		"lost claim": (*dispatcher).lostClaim,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &dispatcher{executor: new(executor), slots: newSlots(3)}
			refuse(d)
			require.Nil(t, d.reserve(2))
			require.Len(t, d.slots, 3)
		})
	}
	d.slots.take(1)
	require.Nil(t, d.reserve(2), "no free slots")
}
