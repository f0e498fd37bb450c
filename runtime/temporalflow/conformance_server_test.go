package temporalflow_test

import (
	"testing"

	"go.temporal.io/sdk/client"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/flowtest"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/conformance"
	"github.com/flowc-dev/flowc/runtime/temporalflow/internal/engines"
)

// onServer is Temporal as it is: on a server, each database in a namespace of its own.
func onServer(t *testing.T) conformance.Engine {
	address(t)
	return engines.Temporal(func(t *testing.T) (client.Client, string) {
		n := newNamespace(t)
		return n.client, n.name
	})
}

func TestServerConformance(t *testing.T) {
	conformance.Test(t, onServer(t))
}

// Whatever a flow does inline, which is held to what it does on PostgreSQL, it does on
// Temporal.
func TestServerRandomFlows(t *testing.T) {
	inline := conformance.Engine{Open: func(_ *testing.T, services ...handler.Service) (runtime.DB, error) {
		return flowtest.Inline(services...), nil
	}}
	conformance.TestRandom(t, 120, inline, onServer(t))
}
