package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
)

// TestVersions: a key of one version holds for another, and runs of other versions are
// found and read as far as they give the same.
func TestVersions(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	type parcel struct{ Code string }
	version := func(slug string, result *runtime.Result, given any) (*runtime.Flow[greet, parcel], runtime.Service) {
		def := runtime.Definition{Slug: slug, FlowOptions: runtime.FlowOptions{
			Result: result, Steps: []runtime.StepOptions{{Slug: "pack"}, {Slug: "tell", Deps: []string{"pack"}}},
		}}
		return runtime.NewFlow[greet](def, runtime.Output[parcel]("pack")),
			runtime.Serve(def, []runtime.Handler{gives("pack", given), gives("tell", nil)})
	}
	first, servesFirst := version("post", &runtime.Result{From: "pack"}, parcel{"one"})
	second, servesSecond := version("post_v2", &runtime.Result{From: "pack"}, parcel{"two"})
	third, servesThird := version("post_v3", &runtime.Result{From: "pack"}, map[string]string{"Code": "three", "Other": "x"})
	open, servesOpen := version("post_v4", nil, parcel{"four"})
	stranger, servesStranger := version("postal_v2", nil, parcel{"other"})
	serving(t, pool, servesFirst, servesSecond, servesThird, servesOpen, servesStranger)

	run, err := first.Start(ctx, pool, greet{}, runtime.WithIdempotencyKey("k"))
	require.NoError(t, err)
	require.False(t, run.Existed())
	again, err := second.Start(ctx, pool, greet{}, runtime.WithIdempotencyKey("k"))
	require.NoError(t, err)
	require.True(t, again.Existed())
	require.Equal(t, run.ID()+" post", again.ID()+" "+again.Flow())
	out, err := again.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, parcel{"one"}, out)
	many, err := second.StartMany(ctx, pool, []greet{{}, {}}, runtime.WithKeys("k", "l"))
	require.NoError(t, err)
	require.Equal(t, "post post_v2", many[0].Flow()+" "+many[1].Flow())
	require.Equal(t, "true false", text(many[0].Existed())+" "+text(many[1].Existed()))
	back, err := first.Start(ctx, pool, greet{}, runtime.WithIdempotencyKey("l"))
	require.NoError(t, err)
	require.Equal(t, "post_v2", back.Flow(), "as long as an old program runs, keys of the new version hold for it")
	tx, err := pool.Begin(ctx)
	require.NoError(t, err)
	inTx, err := second.Start(ctx, tx, greet{}, runtime.WithIdempotencyKey("k"), runtime.WithDelay(time.Hour))
	require.NoError(t, err)
	require.Equal(t, "post", inTx.Flow())
	require.NoError(t, tx.Commit(ctx))
	other, err := stranger.Start(ctx, pool, greet{}, runtime.WithIdempotencyKey("k"))
	require.NoError(t, err)
	require.False(t, other.Existed(), "of another flow")
	_, err = second.Start(ctx, pool, greet{}, runtime.WithRunID(other.ID()))
	require.ErrorIs(t, err, runtime.ErrRunIDTaken)

	found, err := second.Get(ctx, pool, run.ID())
	require.NoError(t, err)
	require.Equal(t, "post", found.Flow())
	out, err = found.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, parcel{"one"}, out)
	newer, err := first.Get(ctx, pool, many[1].ID())
	require.NoError(t, err)
	out, err = newer.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, parcel{"two"}, out)
	_, err = second.Get(ctx, pool, other.ID())
	require.ErrorIs(t, err, runtime.ErrRunNotFound)

	// What it gave is not lost in silence if it is not an Out.
	for flow, want := range map[*runtime.Flow[greet, parcel]]string{
		third: `unknown field "Other"`, open: "post_v4, whose definition does not say what it gives",
	} {
		odd, err := flow.Start(ctx, pool, greet{})
		require.NoError(t, err)
		_, err = odd.Wait(ctx)
		require.NoError(t, err)
		odd, err = second.Get(ctx, pool, odd.ID())
		require.NoError(t, err)
		_, err = odd.Wait(ctx)
		var wrong *runtime.OutputError
		require.ErrorAs(t, err, &wrong)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "runtime.GetRun")
	}
}

func text(v any) string {
	raw, _ := json.Marshal(v)
	return string(raw)
}

// TestStrict: an input with a field that its type does not have fails the task, and
// nothing is lost: a program that reads it retries the run.
func TestStrict(t *testing.T) {
	t.Parallel()
	type narrow struct{ A int }
	type inner struct{ X narrow }
	wire := runtime.Join(func(w struct {
		Run narrow `json:"run"`
		S   inner  `json:"s"`
	}) inner {
		return w.S
	}, runtime.RunKey, "s")
	work := func(v runtime.Values, h runtime.Handler, opts ...runtime.ServeOption) error {
		s := runtime.Serve(runtime.Definition{Slug: "f"}, []runtime.Handler{h}, opts...)
		_, err := s.Handlers()[0].Work(t.Context(), v)
		return err
	}
	ok := func(context.Context, narrow) (int, error) { return 1, nil }
	joined := func(context.Context, inner) (int, error) { return 1, nil }
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	for name, c := range map[string]struct {
		h    runtime.Handler
		v    runtime.Values
		want string // empty if it is well
	}{
		"input":         {runtime.Handle("s", runtime.Input[narrow](), ok), runtime.Values{Input: raw(`{"A":1,"B":2}`)}, `unknown field "B"`},
		"known":         {runtime.Handle("s", runtime.Input[narrow](), ok), runtime.Values{Input: raw(`{"a":1}`)}, ""},
		"output":        {runtime.Handle("s", runtime.Output[narrow]("x"), ok), runtime.Values{Outputs: raw(`{"x":{"B":2},"y":{"C":1}}`)}, `unknown field "B"`},
		"item":          {runtime.Handle("s", runtime.Item[narrow](), ok), runtime.Values{Item: raw(`{"B":2}`)}, `unknown field "B"`},
		"join":          {runtime.Handle("s", wire, joined), runtime.Values{Input: raw(`{"A":1}`), Outputs: raw(`{"s":{"X":{"B":1}}}`)}, `unknown field "B"`},
		"join of input": {runtime.Handle("s", wire, joined), runtime.Values{Input: raw(`{"B":1}`), Outputs: raw(`{"s":{}}`)}, `unknown field "B"`},
		"only after":    {runtime.Handle("s", wire, joined), runtime.Values{Input: raw(`{}`), Outputs: raw(`{"s":{},"waited":{"B":1}}`)}, ""},
	} {
		require.NoError(t, work(c.v, c.h), name)
		err := work(c.v, c.h, runtime.Strict())
		if c.want == "" {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorContains(t, err, c.want, name)
		require.ErrorAs(t, err, new(*runtime.PermanentError), name)
	}
}

// TestUpsertServed: one call puts all flows there, and tells of all that cannot be.
func TestUpsertServed(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	def := func(slug string, steps ...string) runtime.Service {
		d := runtime.Definition{Slug: slug}
		for _, s := range steps {
			d.Steps = append(d.Steps, runtime.StepOptions{Slug: s})
		}
		return runtime.Serve(d, nil)
	}
	require.NoError(t, runtime.UpsertServed(ctx, pool, def("one", "a"), def("two", "a", "b")))
	for _, slug := range []string{"one", "two"} {
		exists, err := runtime.FlowExists(ctx, pool, slug)
		require.NoError(t, err)
		require.True(t, exists)
	}
	err := runtime.UpsertServed(ctx, pool, def("one", "b"), def("three", "a"), def("four"))
	require.ErrorAs(t, err, new(*runtime.MismatchError))
	require.ErrorAs(t, err, new(*runtime.InvalidFlowError))
	exists, err := runtime.FlowExists(ctx, pool, "three")
	require.NoError(t, err)
	require.True(t, exists, "what can be is there")
}

// TestNoDelays: a test waits for no retry, and for no start delay.
func TestNoDelays(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	def := runtime.Definition{Slug: "slow", FlowOptions: runtime.FlowOptions{
		BaseDelay: runtime.Set(time.Hour), Steps: []runtime.StepOptions{
			{Slug: "a", StartDelay: runtime.Set(time.Hour)}, {Slug: "b", Deps: []string{"a"}, BaseDelay: runtime.Set(2 * time.Hour)},
		},
	}}
	failing := func(step string, err error) runtime.Handler {
		return runtime.HandleValues(step, func(ctx context.Context, _ runtime.Values) (any, error) {
			if task, _ := runtime.TaskFromContext(ctx); task.Attempt < 3 {
				return nil, err
			}
			return 1, nil
		})
	}
	serving(t, pool, runtime.Serve(def, []runtime.Handler{
		failing("a", errors.New("no")), failing("b", runtime.RetryAfter(time.Hour, errors.New("no"))),
	}, runtime.NoDelays()))
	run, err := runtime.StartFlow(ctx, pool, def.Slug, nil)
	require.NoError(t, err)
	_, err = run.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, time.Hour, *def.Steps[0].StartDelay, "the definition itself stays")
}
