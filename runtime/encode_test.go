package runtime_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
)

type names []string

// own is a list that writes itself.
type own []string

func (own) MarshalJSON() ([]byte, error) { return []byte(`"mine"`), nil }

// TestNilSlicesAreLists checks what a worker reports for values that are nil.
func TestNilSlicesAreLists(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		out  any
		want string
	}{
		"slice":              {[]int(nil), "[]"},
		"named slice":        {names(nil), "[]"},
		"slice of slices":    {[][]byte(nil), "[]"},
		"empty slice":        {[]int{}, "[]"},
		"bytes":              {[]byte(nil), "null"},
		"raw JSON":           {json.RawMessage(nil), "null"},
		"what writes itself": {own(nil), `"mine"`},
		"pointer to a slice": {(*[]int)(nil), "null"},
		"map":                {map[string]int(nil), "null"},
		"nil":                {nil, "null"},
		"slice in a struct":  {struct{ List []int }{}, `{"List":null}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := runtime.HandleValues("step", func(context.Context, runtime.Values) (any, error) { return tt.out, nil })
			got, err := h.Work(context.Background(), runtime.Values{})
			require.NoError(t, err)
			require.Equal(t, tt.want, string(got))
		})
	}
	typed := runtime.Handle("step", runtime.Nothing, runtime.NoInput(func(context.Context) (names, error) { return nil, nil }))
	got, err := typed.Work(context.Background(), runtime.Values{})
	require.NoError(t, err)
	require.Equal(t, "[]", string(got))
}

// TestMapOverNothing starts flows that map over a nil slice: one over the input,
// and one over what a step gave.
func TestMapOverNothing(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	each := runtime.StepOptions{Slug: "each", Type: runtime.MapStep}
	_, err := runtime.UpsertFlow(ctx, pool, "over_input", runtime.FlowOptions{Steps: []runtime.StepOptions{each}})
	require.NoError(t, err)
	info, err := runtime.StartFlowSync(ctx, pool, "over_input", []int(nil))
	require.NoError(t, err)
	require.JSONEq(t, `[]`, string(info.Input))
	require.JSONEq(t, `{"each": []}`, string(info.Output))

	each.Deps = []string{"list"}
	_, err = runtime.UpsertFlow(ctx, pool, "over_step", runtime.FlowOptions{Steps: []runtime.StepOptions{{Slug: "list"}, each}})
	require.NoError(t, err)
	run, err := runtime.StartFlow(ctx, pool, "over_step", nil)
	require.NoError(t, err)
	list := runtime.HandleValues("list", func(context.Context, runtime.Values) (any, error) { return []string(nil), nil })
	output, err := list.Work(ctx, runtime.Values{})
	require.NoError(t, err)
	newHand(t, pool).finish("over_step", "completed", string(output))
	got, err := run.Wait(ctx)
	require.NoError(t, err)
	require.JSONEq(t, `{"each": []}`, string(got))
}

type invoice struct{}

// TestWrongInputIsNamed checks how what cannot be read is called.
func TestWrongInputIsNamed(t *testing.T) {
	t.Parallel()
	said := func(h runtime.Handler) string {
		_, err := h.Work(t.Context(), runtime.Values{Input: json.RawMessage(`"x"`)})
		require.Error(t, err)
		return err.Error()
	}
	require.Contains(t, said(handler[invoice]()), "the run's input is not a runtime_test.invoice: ")
	require.Contains(t, said(handler[int]()), "the run's input is not an int: ")
	require.Contains(t, said(handler[[]int]()), "the run's input is not a []int: ")
	require.NotContains(t, said(handler[fmt.Stringer]()), "<nil>")
	require.Contains(t, said(handler[fmt.Stringer]()), "the run's input is not a fmt.Stringer: ")
	require.Contains(t, said(handler[uint]()), "the run's input is not a uint: ")
	require.Contains(t, said(handler[map[string]invoice]()), "the run's input is not a map[string]runtime_test.invoice: ")
}

func handler[In any]() runtime.Handler {
	return runtime.Handle("step", runtime.Input[In](), runtime.NoOutput(func(context.Context, In) error { return nil }))
}
