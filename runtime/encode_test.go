package runtime_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// TestMapOverNothing starts flows that map over a nil slice: one over the input,
// and one over what a step gave.
func TestMapOverNothing(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	each := spec.Step{Slug: "each", Type: spec.TypeMap}
	_, err := runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "over_input", Steps: []spec.Step{each}})
	require.NoError(t, err)
	info, err := runtime.StartFlowSync(ctx, pool, "over_input", []int(nil))
	require.NoError(t, err)
	require.JSONEq(t, `[]`, string(info.Input))
	require.JSONEq(t, `{"each": []}`, string(info.Output))

	each.Deps = []string{"list"}
	_, err = runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "over_step", Steps: []spec.Step{{Slug: "list"}, each}})
	require.NoError(t, err)
	run, err := runtime.StartFlow(ctx, pool, "over_step", nil)
	require.NoError(t, err)
	list := handler.HandleValues("list", func(context.Context, handler.Values) (any, error) { return []string(nil), nil })
	output, err := list.Work(ctx, handler.Values{})
	require.NoError(t, err)
	newHand(t, pool).Finish("over_step", "completed", string(output))
	got, err := run.Wait(ctx)
	require.NoError(t, err)
	require.JSONEq(t, `{"each": []}`, string(got))
}
