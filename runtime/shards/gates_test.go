package shards_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/shards"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// limited has a step with a gate of its own and one that shares a gate.
var limited = spec.Flow{Slug: "limited", Steps: []spec.Step{
	{Slug: "store", Key: spec.Path{spec.RunKey, "tenant"}, Concurrency: 2},
	{Slug: "tell", Deps: []string{"store"}, Gate: "mail", Rate: spec.Rate{Tokens: 5, Per: time.Second}},
}}

// limit puts the flow with limits on one shard, with runs of tenants that wait.
func (s *system) limit(shard string, tenants ...string) {
	s.T.Helper()
	on := s.db.On(shard)
	_, err := runtime.UpsertFlow(s.ctx, on, limited)
	s.NoError(err)
	for _, tenant := range tenants {
		_, err := runtime.StartFlow(s.ctx, on, limited.Slug, json.RawMessage(fmt.Sprintf(`{"tenant": %q}`, tenant)))
		s.NoError(err)
	}
}

// gates lists all gates as "gate key shard", in pages of some.
func (s *system) gates(filter ops.GateFilter) (all []string) {
	s.T.Helper()
	for {
		gates, err := ops.ListGates(s.ctx, s.db, filter)
		s.NoError(err)
		for _, g := range gates {
			all = append(all, fmt.Sprintf("%s %s %s", g.Name, g.Key, g.Shard))
		}
		if len(gates) < filter.Limit {
			return all
		}
		last := gates[len(gates)-1]
		filter.AfterGate, filter.AfterKey = last.Name, last.Key
	}
}

// Every gate of every shard is on one of the pages, and none is on two, whatever their size;
// a gate and key that several shards have are not torn apart.
func TestListGates(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b", "c")
	s.limit("a", "acme", "Zoo", "école", "a b")
	s.limit("b", "acme", "zoo", "Zoo")
	want := []string{
		"limited.store Zoo a", "limited.store Zoo b", "limited.store a b a", "limited.store acme a", "limited.store acme b",
		"limited.store zoo b", "limited.store école a", "mail  a", "mail  b",
	}
	for _, limit := range []int{1, 2, 3, 4, 100} {
		s.Equal(want, s.gates(ops.GateFilter{Limit: limit}), "pages of %d", limit)
	}
	s.Equal(want, s.gates(ops.GateFilter{Flow: limited.Slug, Limit: 100}))
	s.Empty(s.gates(ops.GateFilter{Flow: "greet", Limit: 100}))
}

// SetGate and HoldGate do their part on every shard that has the gate, and none that has not.
func TestGatesOfAllShards(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b", "c")
	s.limit("a", "acme", "zoo")
	s.limit("b", "acme")
	find := func(name, key, shard string) ops.Gate {
		gates, err := ops.ListGates(s.ctx, s.db, ops.GateFilter{})
		s.NoError(err)
		i := slices.IndexFunc(gates, func(g ops.Gate) bool { return g.Name == name && g.Key == key && g.Shard == shard })
		s.GreaterOrEqual(i, 0, "%s %s on %s", name, key, shard)
		return gates[i]
	}

	s.NoError(ops.SetGate(s.ctx, s.db, "limited.store", ops.GateLimits{Concurrency: 3}))
	for _, shard := range []string{"a", "b"} {
		g := find("limited.store", "acme", shard)
		s.Equal(3, g.Limits.Concurrency)
		s.Equal(2, g.Declared.Concurrency)
		s.True(g.Overridden)
		s.False(find("mail", "", shard).Overridden)
	}

	s.NoError(ops.HoldGate(s.ctx, s.db, "limited.store", spec.Set("acme"), time.Hour))
	s.False(find("limited.store", "acme", "a").HeldUntil.IsZero())
	s.False(find("limited.store", "acme", "b").HeldUntil.IsZero())
	s.True(find("limited.store", "zoo", "a").HeldUntil.IsZero())
	s.NoError(ops.HoldGate(s.ctx, s.db, "limited.store", spec.Set("acme"), 0))
	s.True(find("limited.store", "acme", "b").HeldUntil.IsZero())
	s.NoError(ops.HoldGate(s.ctx, s.db, "mail", nil, time.Hour))
	s.False(find("mail", "", "a").HeldUntil.IsZero())
	s.False(find("mail", "", "b").HeldUntil.IsZero())

	s.ErrorIs(ops.SetGate(s.ctx, s.db, "none", ops.GateLimits{Concurrency: 3}), ops.ErrGateNotFound)
	s.ErrorIs(ops.HoldGate(s.ctx, s.db, "none", nil, time.Hour), ops.ErrGateNotFound)
}

// Without one shard the gates of the others are listed and held, and the error says which
// shard is missing: the gate may be there.
func TestGatesWithoutOneShard(t *testing.T) {
	t.Parallel()
	s := newDatabases(t, "a", "b")
	proxy := s.behindProxy("b")
	s.NoError(shards.Init(s.ctx, s.pools))
	s.db = s.open()
	s.limit("a", "acme")
	s.limit("b", "acme")
	proxy.Refuse()

	gates, err := ops.ListGates(s.ctx, s.db, ops.GateFilter{})
	var partial *ops.PartialError
	s.ErrorAs(err, &partial)
	s.Len(gates, 2)
	s.ErrorAs(ops.HoldGate(s.ctx, s.db, "mail", nil, time.Hour), &partial)
	gates, _ = ops.ListGates(s.ctx, s.db, ops.GateFilter{AfterGate: "limited.store", AfterKey: "acme"})
	s.Len(gates, 1)
	s.False(gates[0].HeldUntil.IsZero(), "the hold of the shard that answers is set")
	err = ops.HoldGate(s.ctx, s.db, "none", nil, time.Hour)
	s.ErrorAs(err, &partial)
	s.NotErrorIs(err, ops.ErrGateNotFound)
}
