package ops_test

import (
	"context"
	"fmt"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// gated upserts a flow whose only step charges one card of a customer at a time, and starts
// a run of it.
func gated(flow string) {
	_, err := runtime.UpsertFlow(context.Background(), connect(), spec.Flow{Slug: flow, Steps: []spec.Step{
		{Slug: "charge", Concurrency: 1, Key: spec.Path{"run", "customer"}},
	}})
	must(err)
	_, err = runtime.StartFlow(context.Background(), connect(), flow, map[string]string{"customer": "Ada"})
	must(err)
}

// What waits at the gates of a flow is listed by key.
func ExampleListGates() {
	ctx, pool := context.Background(), connect()
	gated("list_gates")

	gates, err := ops.ListGates(ctx, pool, ops.GateFilter{Flow: "list_gates"})
	must(err)
	for _, g := range gates {
		fmt.Println(g.Name, g.Key, g.InFlight, g.Waiting, g.Limits.Concurrency)
	}
	// Output: list_gates.charge Ada 0 1 1
}

// Limits can be changed without a deployment. The change lasts until the definition
// declares others.
func ExampleSetGate() {
	ctx, pool := context.Background(), connect()
	gated("set_gate")

	must(ops.SetGate(ctx, pool, "set_gate.charge", ops.GateLimits{Concurrency: 3, Rate: spec.Rate{Tokens: 100, Per: time.Minute}}))
	gates, err := ops.ListGates(ctx, pool, ops.GateFilter{Flow: "set_gate"})
	must(err)
	fmt.Println(gates[0].Limits.Concurrency, gates[0].Limits.Rate, gates[0].Declared.Concurrency, gates[0].Declared.Rate)
	// Output: 3 100/m 1 none
}

// A gate can be held while the service behind it is down.
func ExampleHoldGate() {
	ctx, pool := context.Background(), connect()
	gated("hold_gate")

	must(ops.HoldGate(ctx, pool, "hold_gate.charge", nil, time.Hour))
	gates, err := ops.ListGates(ctx, pool, ops.GateFilter{Flow: "hold_gate"})
	must(err)
	fmt.Println(time.Until(gates[0].HeldUntil).Round(time.Hour))
	must(ops.HoldGate(ctx, pool, "hold_gate.charge", nil, 0)) // and open again
	// Output: 1h0m0s
}
