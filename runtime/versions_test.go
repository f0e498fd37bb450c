package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// TestVersions: a key of one version holds for another, and runs of other versions are
// found and read as far as they give the same.
func TestVersions(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	type parcel struct{ Code string }
	version := func(slug string, result *spec.Result, given any) (*runtime.Flow[greet, parcel], handler.Service) {
		def := spec.Flow{Slug: slug,
			Result: result, Steps: []spec.Step{{Slug: "pack"}, {Slug: "tell", Deps: []string{"pack"}}},
		}
		return runtime.NewFlow[greet](def, handler.Output[parcel]("pack")),
			handler.Serve(def, []handler.Handler{gives("pack", given), gives("tell", nil)})
	}
	first, servesFirst := version("post", &spec.Result{From: "pack"}, parcel{"one"})
	second, servesSecond := version("post_v2", &spec.Result{From: "pack"}, parcel{"two"})
	third, servesThird := version("post_v3", &spec.Result{From: "pack"}, map[string]string{"Code": "three", "Other": "x"})
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
		third: `unknown field "Other"`, open: "post_v4, whose definition declares no result",
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

// TestUpsertServed: one call puts all flows there, and tells of all that cannot be.
func TestUpsertServed(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	def := func(slug string, steps ...string) handler.Service {
		d := spec.Flow{Slug: slug}
		for _, s := range steps {
			d.Steps = append(d.Steps, spec.Step{Slug: s})
		}
		return handler.Serve(d, nil)
	}
	require.NoError(t, runtime.UpsertServed(ctx, pool, def("one", "a"), def("two", "a", "b")))
	for _, slug := range []string{"one", "two"} {
		exists, err := runtime.FlowExists(ctx, pool, slug)
		require.NoError(t, err)
		require.True(t, exists)
	}
	err := runtime.UpsertServed(ctx, pool, def("one", "b"), def("three", "a"), def("four"))
	require.ErrorAs(t, err, new(*runtime.MismatchError))
	require.ErrorAs(t, err, new(*spec.InvalidFlowError))
	exists, err := runtime.FlowExists(ctx, pool, "three")
	require.NoError(t, err)
	require.True(t, exists, "what can be is there")
}

// TestNoDelays: a test waits for no retry, and for no start delay.
func TestNoDelays(t *testing.T) {
	t.Parallel()
	ctx, pool := open(t)
	def := spec.Flow{Slug: "slow",
		BaseDelay: spec.Set(time.Hour), Steps: []spec.Step{
			{Slug: "a", StartDelay: time.Hour}, {Slug: "b", Deps: []string{"a"}, BaseDelay: spec.Set(2 * time.Hour)},
		},
	}
	failing := func(step string, err error) handler.Handler {
		return handler.HandleValues(step, func(ctx context.Context, _ handler.Values) (any, error) {
			if task, _ := handler.TaskFromContext(ctx); task.Attempt < 3 {
				return nil, err
			}
			return 1, nil
		})
	}
	serving(t, pool, handler.Serve(def, []handler.Handler{
		failing("a", errors.New("no")), failing("b", handler.RetryAfter(time.Hour, errors.New("no"))),
	}, handler.NoDelays()))
	run, err := runtime.StartFlow(ctx, pool, def.Slug, nil)
	require.NoError(t, err)
	_, err = run.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, time.Hour, def.Steps[0].StartDelay, "the definition itself stays")
}
