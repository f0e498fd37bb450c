package shards

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
)

var _ ops.GateKeeper = backend{}

// ListGates merges pages. Those of a gate and key on several shards stay together.
func (b backend) ListGates(ctx context.Context, filter ops.GateFilter) ([]ops.Gate, error) {
	replies, err := query(ctx, b, "listing gates", func(ctx context.Context, db runtime.DB) ([]ops.Gate, error) {
		return ops.ListGates(ctx, db, filter)
	})
	order := func(a, b ops.Gate) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Key, b.Key)) }
	gates := merge(replies, func(g *ops.Gate, shard string) { g.Shard = shard }, order, 0)
	n := min(filter.Limit, len(gates))
	for n > 0 && n < len(gates) && order(gates[n-1], gates[n]) == 0 {
		n++
	}
	return gates[:n], err
}

// SetGate changes a gate on all shards that have it.
func (b backend) SetGate(ctx context.Context, name string, limits ops.GateLimits) error {
	return b.onGate(ctx, "changing gate "+name, func(ctx context.Context, db runtime.DB) error { return ops.SetGate(ctx, db, name, limits) })
}

// HoldGate holds a gate on all shards that have it.
func (b backend) HoldGate(ctx context.Context, name string, key *string, d time.Duration) error {
	return b.onGate(ctx, "holding gate "+name, func(ctx context.Context, db runtime.DB) error { return ops.HoldGate(ctx, db, name, key, d) })
}

// onGate does something on all shards that have a gate.
func (b backend) onGate(ctx context.Context, doing string, do func(context.Context, runtime.DB) error) error {
	var absent error
	replies, err := query(ctx, b, doing, func(ctx context.Context, db runtime.DB) (found bool, _ error) {
		err := do(ctx, db)
		if errors.Is(err, ops.ErrGateNotFound) {
			return false, nil
		}
		return true, err
	})
	if err == nil && !slices.ContainsFunc(replies, func(r reply[bool]) bool { return r.value }) {
		absent = fmt.Errorf("flowc: %s: %w: no shard has it", doing, ops.ErrGateNotFound)
	}
	return cmp.Or(err, absent)
}
