package handler_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/stretchr/testify/require"
)

type names []string

// own is a list that writes itself.
type own []string

func (own) MarshalJSON() ([]byte, error) { return []byte(`"mine"`), nil }

type invoice struct{}

// TestStrict: an input with a field that its type does not have fails the task, and
// nothing is lost: a program that reads it retries the run.
func TestStrict(t *testing.T) {
	t.Parallel()
	type narrow struct{ A int }
	type inner struct{ X narrow }
	wire := handler.Join(func(w struct {
		Run narrow `json:"run"`
		S   inner  `json:"s"`
	}) inner {
		return w.S
	}, spec.RunKey, "s")
	work := func(v handler.Values, h handler.Handler, opts ...handler.ServeOption) error {
		s := handler.Serve(spec.Flow{Slug: "f"}, []handler.Handler{h}, opts...)
		_, err := s.Handlers()[0].Work(t.Context(), v)
		return err
	}
	ok := func(context.Context, narrow) (int, error) { return 1, nil }
	joined := func(context.Context, inner) (int, error) { return 1, nil }
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	for name, c := range map[string]struct {
		h    handler.Handler
		v    handler.Values
		want string // empty if it is well
	}{
		"input":         {handler.Handle("s", handler.Input[narrow](), ok), handler.Values{Input: raw(`{"A":1,"B":2}`)}, `unknown field "B"`},
		"known":         {handler.Handle("s", handler.Input[narrow](), ok), handler.Values{Input: raw(`{"a":1}`)}, ""},
		"output":        {handler.Handle("s", handler.Output[narrow]("x"), ok), handler.Values{Outputs: raw(`{"x":{"B":2},"y":{"C":1}}`)}, `unknown field "B"`},
		"item":          {handler.Handle("s", handler.Item[narrow](), ok), handler.Values{Item: raw(`{"B":2}`)}, `unknown field "B"`},
		"join":          {handler.Handle("s", wire, joined), handler.Values{Input: raw(`{"A":1}`), Outputs: raw(`{"s":{"X":{"B":1}}}`)}, `unknown field "B"`},
		"join of input": {handler.Handle("s", wire, joined), handler.Values{Input: raw(`{"B":1}`), Outputs: raw(`{"s":{}}`)}, `unknown field "B"`},
		"only after":    {handler.Handle("s", wire, joined), handler.Values{Input: raw(`{}`), Outputs: raw(`{"s":{},"waited":{"B":1}}`)}, ""},
	} {
		require.NoError(t, work(c.v, c.h), name)
		err := work(c.v, c.h, handler.Strict())
		if c.want == "" {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorContains(t, err, c.want, name)
		require.ErrorAs(t, err, new(*handler.PermanentError), name)
	}
}

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
			h := handler.HandleValues("step", func(context.Context, handler.Values) (any, error) { return tt.out, nil })
			got, err := h.Work(context.Background(), handler.Values{})
			require.NoError(t, err)
			require.Equal(t, tt.want, string(got))
		})
	}
	typed := handler.Handle("step", handler.Nothing(), handler.NoInput(func(context.Context) (names, error) { return nil, nil }))
	got, err := typed.Work(context.Background(), handler.Values{})
	require.NoError(t, err)
	require.Equal(t, "[]", string(got))
}

// TestWrongInputIsNamed checks how what cannot be read is called.
func TestWrongInputIsNamed(t *testing.T) {
	t.Parallel()
	said := func(h handler.Handler) string {
		_, err := h.Work(t.Context(), handler.Values{Input: json.RawMessage(`"x"`)})
		require.Error(t, err)
		return err.Error()
	}
	require.Contains(t, said(handlerOf[invoice]()), "the run's input is not a handler_test.invoice: ")
	require.Contains(t, said(handlerOf[int]()), "the run's input is not an int: ")
	require.Contains(t, said(handlerOf[[]int]()), "the run's input is not a []int: ")
	require.NotContains(t, said(handlerOf[fmt.Stringer]()), "<nil>")
	require.Contains(t, said(handlerOf[fmt.Stringer]()), "the run's input is not a fmt.Stringer: ")
	require.Contains(t, said(handlerOf[uint]()), "the run's input is not a uint: ")
	require.Contains(t, said(handlerOf[map[string]invoice]()), "the run's input is not a map[string]handler_test.invoice: ")
}

func handlerOf[In any]() handler.Handler {
	return handler.Handle("step", handler.Input[In](), handler.NoOutput(func(context.Context, In) error { return nil }))
}
