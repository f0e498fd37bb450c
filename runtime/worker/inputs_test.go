package worker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// long is a text that cannot be compressed to much less.
func long(bytes int) string {
	text := make([]byte, bytes)
	for i := range text {
		text[i] = 'a' + byte(rand.N(26))
	}
	return string(text)
}

// TestLargeValues: what a claim leaves out reaches the handlers all the same, joined with
// what it returned.
func TestLargeValues(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	large := long(300_000)
	def := spec.Flow{Slug: "large", Steps: []spec.Step{
		{Slug: "input"}, {Slug: "large"}, {Slug: "small"}, {Slug: "nothing"}, {Slug: "skipped", If: json.RawMessage(`{"never": true}`)},
		{Slug: "only", Deps: []string{"large"}}, {Slug: "all", Deps: []string{"large", "small", "nothing", "skipped", "input"}},
	}}
	give := func(v any) func(context.Context) (any, error) {
		return func(context.Context) (any, error) { return v, nil }
	}
	outputs := func(_ context.Context, v handler.Values) (any, error) { return v.Outputs, nil }
	service := handler.Serve(def, []handler.Handler{
		handler.HandleValues("input", func(_ context.Context, v handler.Values) (any, error) { return v.Input, nil }),
		handler.Handle("large", handler.Nothing(), handler.NoInput(give(large))),
		handler.Handle("small", handler.Nothing(), handler.NoInput(give(7))),
		handler.Handle("nothing", handler.Nothing(), handler.NoInput(give(nil))),
		handler.Handle("skipped", handler.Nothing(), handler.NoInput(give(1))),
		handler.HandleValues("only", outputs), handler.HandleValues("all", outputs),
	})
	pool := database(t, service)
	run(t, pool, worker.Config{}, service)
	input, err := json.Marshal(map[string]string{"text": large})
	require.NoError(t, err)
	info, err := runtime.StartFlowSync(ctx, pool, "large", json.RawMessage(input))
	require.NoError(t, err)
	want, err := json.Marshal(map[string]any{
		"only": map[string]any{"large": large},
		"all":  map[string]any{"large": large, "small": 7, "nothing": nil, "input": json.RawMessage(input)},
	})
	require.NoError(t, err)
	require.JSONEq(t, string(want), string(info.Output))
}

// TestHugeInputsHoldUpNobody: while inputs of 20 MB are on their way to one flow, another
// goes on, and each is read once.
func TestHugeInputsHoldUpNobody(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	huge := job[string, int]("huge", spec.Flow{})
	small := job[int, int]("small", spec.Flow{})
	var began atomic.Int64
	released := make(chan struct{})
	hugeService := serve(huge, func(_ context.Context, s string) (int, error) {
		began.Add(1)
		<-released
		return len(s), nil
	})
	smallService := serve(small, func(_ context.Context, n int) (int, error) { return n, nil })
	pool := database(t, hugeService, smallService)
	const inputs, bytes = 4, 20 << 20
	var runs []*runtime.Run[int]
	text := long(bytes)
	for range inputs {
		started, err := huge.Start(ctx, pool, text)
		require.NoError(t, err)
		runs = append(runs, started)
	}
	w := run(t, pool, worker.Config{}, hugeService, smallService)
	for n := range 20 {
		out, err := small.StartSync(ctx, pool, n)
		require.NoError(t, err)
		require.Equal(t, n, out)
	}
	close(released)
	for _, started := range runs {
		out, err := started.Wait(ctx)
		require.NoError(t, err)
		require.Equal(t, bytes, out)
	}
	require.EqualValues(t, inputs, began.Load())
	w.counted(worker.Stats{Claimed: inputs + 20, Completed: inputs + 20})
}

// TestUnreadableValues: what the database cannot write is the end of the task that needs
// it, not of the others whose values are read with it.
func TestUnreadableValues(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := job[json.RawMessage, int]("reads", spec.Flow{})
	service := serve(flow, func(_ context.Context, in json.RawMessage) (int, error) { return len(in), nil })
	pool := database(t, service)
	var ins []json.RawMessage
	for range 3 {
		ins = append(ins, json.RawMessage(`"`+long(50_000)+`"`))
	}
	runs, err := flow.StartMany(ctx, pool, ins)
	require.NoError(t, err)
	// A value that the database takes, but cannot write, has a gigabyte as text: that takes
	// too long for a test.
	_, err = pool.Exec(ctx, fmt.Sprintf(`
		create or replace function flowc.read_values(run_ids uuid[], sources text[], at_most bigint)
		returns table (run_id uuid, source text, value jsonb)
		language plpgsql as $$ begin
		  if '%s' = any (run_ids) then
		    raise program_limit_exceeded using message = 'out of memory';
		  end if;
		  return query select r.run_id, 'run', r.input from pgflow.runs r where r.run_id = any (run_ids);
		end $$`, runs[1].ID()))
	require.NoError(t, err)
	w := run(t, pool, worker.Config{}, service)
	for i, started := range runs {
		out, err := started.Wait(ctx)
		if i == 1 {
			require.Contains(t, failure(t, err).Message, "flowc: what the task works on cannot be read: ERROR: out of memory")
			continue
		}
		require.NoError(t, err)
		require.Equal(t, 50_002, out)
	}
	w.counted(worker.Stats{Claimed: 3, Completed: 2, Failed: 1})
}
