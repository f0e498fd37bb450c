package temporalflow

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// What needs the engine is refused with what to do instead.
func TestUnsupported(t *testing.T) {
	t.Parallel()
	steps := func(s spec.Step) []spec.Step { s.Slug = "a"; return []spec.Step{s} }
	for name, tt := range map[string]struct {
		flow spec.Flow
		want string
	}{
		"unique": {spec.Flow{Unique: &spec.Unique{}, Steps: steps(spec.Step{})}, "start them with an idempotency key"},
		"runs":   {spec.Flow{Concurrency: 2, Steps: steps(spec.Step{})}, "its concurrency is 2, and on Temporal, nobody counts the runs in progress: limit its workers"},
		"tasks":  {spec.Flow{Steps: steps(spec.Step{Concurrency: 1})}, "step a runs one at a time, and on Temporal, tasks have no limits or turns by key: limit its workers"},
		"tx":     {spec.Flow{Steps: steps(spec.Step{Tx: spec.TxPgx})}, "on Temporal, steps cannot"},
		"dates":  {spec.Flow{Deadline: time.Hour, Steps: steps(spec.Step{})}, "runs have no deadlines"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.flow.Slug = "f"
			err := checkSupported(tt.flow)
			require.ErrorIs(t, err, runtime.ErrNeedsEngine)
			require.ErrorContains(t, err, "flow f: ")
			require.ErrorContains(t, err, tt.want)
		})
	}
	require.NoError(t, checkSupported(spec.Flow{Slug: "f", Steps: steps(spec.Step{})}))
}
