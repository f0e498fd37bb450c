package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

func starts(r *rows) {
	greet := runtime.NewFlow[string](spec.Flow{
		Slug: "greet", Result: &spec.Result{From: "shout"},
		Steps: []spec.Step{{Slug: "shout", Deps: []string{"hello"}}, {Slug: "hello"}},
	}, handler.Output[string]("shout"))
	other := runtime.NewFlow[string](spec.Flow{Slug: "other", Result: &spec.Result{From: "other"}, Steps: []spec.Step{{Slug: "other"}}}, handler.Output[string]("other"))
	next := other.As("other_v2")
	half := spec.Flow{Slug: "half", Steps: []spec.Step{{Slug: "work"}, {Slug: "wait", Deps: []string{"work"}}}}
	list := spec.Flow{Slug: "list", Steps: []spec.Step{{Slug: "each", Type: spec.TypeMap}}}
	same := []handler.Handler{
		handler.Handle("other", handler.Input[string](), func(_ context.Context, in string) (string, error) { return in, nil }),
	}
	r.open(
		greet.Serve([]handler.Handler{
			handler.Handle("hello", handler.Input[string](), func(_ context.Context, in string) (string, error) { return "hello " + in, nil }),
			handler.Handle("shout", handler.Output[string]("hello"), func(_ context.Context, in string) (string, error) { return strings.ToUpper(in), nil }),
		}),
		other.Serve(same), next.Serve(same),
		serve(half, map[string]function{"work": give(`1`)}),
		serve(list, map[string]function{"each": echo}),
	)

	r.row("typed start and wait", func(c *check) {
		run, err := greet.Start(c.ctx, c.db, "ada")
		c.ok(err)
		c.False(run.Existed())
		c.Equal("greet", run.Flow())
		out, err := run.Wait(c.ctx, runtime.WithPollInterval(poll))
		c.ok(err)
		c.Equal("HELLO ADA", out)
		out, err = greet.StartSync(c.ctx, c.db, "bob", runtime.WithPollInterval(poll))
		c.ok(err)
		c.Equal("HELLO BOB", out)
	})
	r.row("read a run", func(c *check) {
		info := c.run("greet", `"ada"`)
		c.completed(info, `{"shout": "HELLO ADA"}`)
		c.JSONEq(`"ada"`, orNull(info.Input))
		c.Equal("greet", info.Flow)
		c.Zero(info.RemainingSteps)
		c.False(info.StartedAt.IsZero())
		c.False(info.CompletedAt.Before(info.StartedAt))
		c.steps(info, "hello completed", "shout completed")
		c.JSONEq(`"hello ada"`, orNull(info.States[0].Output))
		bare := c.get(info.ID, runtime.WithStates(), runtime.WithoutPayloads())
		c.Nil(bare.Input)
		c.Nil(bare.Output)
		c.Nil(bare.States[0].Output)
	})
	r.row("result of an untyped run", func(c *check) {
		run := c.start("greet", `"ada"`)
		out, err := run.Wait(c.ctx, runtime.WithPollInterval(poll))
		c.ok(err)
		c.JSONEq(`"HELLO ADA"`, string(out))
		info, err := run.Info(c.ctx)
		c.ok(err)
		c.JSONEq(`"HELLO ADA"`, orNull(info.Result))
	})
	r.row("get a run typed", func(c *check) {
		run, err := greet.Start(c.ctx, c.db, "ada")
		c.ok(err)
		got, err := greet.Get(c.ctx, c.db, run.ID())
		c.ok(err)
		out, err := got.Wait(c.ctx, runtime.WithPollInterval(poll))
		c.ok(err)
		c.Equal("HELLO ADA", out)
		_, err = other.Get(c.ctx, c.db, run.ID())
		c.is(err, runtime.ErrRunNotFound)
	})
	r.row("run not found", func(c *check) {
		id := uuid.NewString()
		_, err := greet.Get(c.ctx, c.db, id)
		c.is(err, runtime.ErrRunNotFound)
		_, err = runtime.GetRun(c.ctx, c.db, id)
		c.is(err, runtime.ErrRunNotFound)
	})
	r.row("states of a run that goes on", func(c *check) { // nobody does its second step
		run := c.start("half", `{}`)
		for {
			info := c.get(run.ID(), runtime.WithStates())
			c.Equal(runtime.RunRunning, info.Status)
			if info.States[0].Status != runtime.StepCompleted {
				time.Sleep(poll)
				continue
			}
			c.steps(info, "work completed", "wait started")
			c.Equal(1, info.RemainingSteps)
			c.Nil(info.Output)
			return
		}
	})
	r.row("large values", func(c *check) {
		text := strings.Repeat("ä", 1_500_000)
		out, err := other.StartSync(c.ctx, c.db, text, runtime.WithPollInterval(poll))
		c.ok(err)
		c.True(out == text, "3 MB have come back otherwise")
	})
	r.row("existed by key", func(c *check) {
		first, err := greet.Start(c.ctx, c.db, "ada", runtime.WithIdempotencyKey("existed"))
		c.ok(err)
		c.False(first.Existed())
		again, err := greet.Start(c.ctx, c.db, "bob", runtime.WithIdempotencyKey("existed"))
		c.ok(err)
		c.True(again.Existed())
		c.Equal(first.ID(), again.ID())
		out, err := again.Wait(c.ctx, runtime.WithPollInterval(poll))
		c.ok(err)
		c.Equal("HELLO ADA", out)
		another, err := other.Start(c.ctx, c.db, "bob", runtime.WithIdempotencyKey("existed"))
		c.ok(err)
		c.False(another.Existed(), "a key is one of its flow")
	})
	r.row("existed by key of another version", func(c *check) {
		first, err := other.Start(c.ctx, c.db, "ada", runtime.WithIdempotencyKey("versions"))
		c.ok(err)
		again, err := next.Start(c.ctx, c.db, "bob", runtime.WithIdempotencyKey("versions"))
		c.ok(err)
		c.Equal([]any{true, first.ID(), "other"}, []any{again.Existed(), again.ID(), again.Flow()})
		out, err := again.Wait(c.ctx, runtime.WithPollInterval(poll))
		c.ok(err)
		c.Equal("ada", out)
	})
	r.row("existed by run id", func(c *check) {
		id := uuid.NewString()
		first := c.start("greet", `"ada"`, runtime.WithRunID(id))
		c.Equal(id, first.ID())
		c.False(first.Existed())
		c.True(c.start("greet", `"bob"`, runtime.WithRunID(id)).Existed())
	})
	r.row("run id taken by another flow", func(c *check) {
		id := uuid.NewString()
		c.start("greet", `"ada"`, runtime.WithRunID(id))
		_, err := runtime.StartFlow(c.ctx, c.db, "other", "bob", runtime.WithRunID(id))
		c.is(err, runtime.ErrRunIDTaken)
		info := c.run("greet", `"ada"`, runtime.WithRunID(id))
		c.Equal("greet", info.Flow)
	})
	r.row("flow not found", func(c *check) {
		_, err := runtime.StartFlow(c.ctx, c.db, "nobodys", 1)
		c.is(err, runtime.ErrFlowNotFound)
	})
	r.row("input that is no list for a map", func(c *check) {
		_, err := runtime.StartFlow(c.ctx, c.db, "list", map[string]int{})
		var input *runtime.InputError
		c.as(err, &input)
		c.ErrorContains(err, "input is not an array (got object)")
	})
	r.row("start many", func(c *check) {
		runs, err := greet.StartMany(c.ctx, c.db, []string{"a", "b", "a"}, runtime.WithKeys("m1", "m2", "m1"))
		c.ok(err)
		c.Len(runs, 3)
		c.Equal(runs[0].ID(), runs[2].ID())
		c.NotEqual(runs[0].ID(), runs[1].ID())
		c.Equal([]bool{false, false, true}, []bool{runs[0].Existed(), runs[1].Existed(), runs[2].Existed()})
		for i, want := range []string{"HELLO A", "HELLO B", "HELLO A"} {
			out, err := runs[i].Wait(c.ctx, runtime.WithPollInterval(poll))
			c.ok(err)
			c.Equal(want, out)
		}
	})
	r.row("start many, all or none", func(c *check) {
		_, err := runtime.StartMany(c.ctx, c.db, "list", []any{[]int{1}, 2}, runtime.WithKeys("n1", "n2"))
		c.as(err, new(*runtime.InputError))
		c.False(c.start("list", `[1]`, runtime.WithIdempotencyKey("n1")).Existed(), "none was started")
	})
	r.row("start in the user's transaction", func(c *check) {
		beginner, ok := c.db.(interface {
			Begin(context.Context) (pgx.Tx, error)
		})
		c.True(ok, "the engine has no transactions of the user's")
		tx, err := beginner.Begin(c.ctx)
		c.ok(err)
		dropped, err := greet.Start(c.ctx, tx, "ada")
		c.ok(err)
		c.ok(tx.Rollback(c.ctx))
		_, err = greet.Get(c.ctx, c.db, dropped.ID())
		c.is(err, runtime.ErrRunNotFound)
		tx, err = beginner.Begin(c.ctx)
		c.ok(err)
		kept, err := greet.Start(c.ctx, tx, "ada")
		c.ok(err)
		_, err = kept.Wait(c.ctx)
		c.is(err, runtime.ErrWaitInTx)
		c.ok(tx.Commit(c.ctx))
		out, err := kept.Via(c.db).Wait(c.ctx, runtime.WithPollInterval(poll))
		c.ok(err)
		c.Equal("HELLO ADA", out)
	})
}

// secret is the key of what middleware puts into the context.
type secret struct{}

func values(r *rows) {
	note := new(record)
	join := spec.Flow{Slug: "join", Steps: []spec.Step{
		{Slug: "left"}, {Slug: "right"}, {Slug: "optional", If: json.RawMessage(`{"never": true}`)},
		{Slug: "both", Deps: []string{"left", "right", "optional"}},
	}}
	task := spec.Flow{Slug: "task", MaxAttempts: 2, BaseDelay: spec.Set(time.Duration(0)), Steps: []spec.Step{{Slug: "each", Type: spec.TypeMap}}}
	var busy, most atomic.Int32
	limited := spec.Flow{Slug: "limited", Steps: []spec.Step{{Slug: "each", Type: spec.TypeMap}}}
	headers := spec.Flow{Slug: "headers", Steps: []spec.Step{{Slug: "headers"}}}
	r.open(
		serve(join, map[string]function{"left": give(`{"l": 1}`), "right": give(`[2]`), "optional": give(`3`), "both": echo}),
		serve(task, map[string]function{"each": func(ctx context.Context, _ handler.Values) (any, error) {
			if task := note.note(ctx); task.Attempt == 1 {
				return nil, fmt.Errorf("again")
			}
			return ctx.Value(secret{}), nil
		}}, handler.Use(func(ctx context.Context, _ handler.Task, next func(context.Context) error) error {
			return next(context.WithValue(ctx, secret{}, "of middleware"))
		})),
		serve(limited, map[string]function{"each": func(context.Context, handler.Values) (any, error) {
			now := busy.Add(1)
			defer busy.Add(-1)
			for seen := most.Load(); now > seen && !most.CompareAndSwap(seen, now); seen = most.Load() {
			}
			time.Sleep(time.Millisecond) // others would begin meanwhile
			return nil, nil
		}}, handler.Limit(1)),
		serve(headers, map[string]function{"headers": func(ctx context.Context, _ handler.Values) (any, error) {
			return note.note(ctx).Headers, nil
		}}),
	)

	r.row("values of a step", func(c *check) {
		c.completed(c.run("join", `{"in": [1, "x"]}`),
			`{"both": {"input": {"in": [1, "x"]}, "outputs": {"left": {"l": 1}, "right": [2]}, "item": null}}`)
	})
	r.row("task and middleware", func(c *check) {
		info := c.run("task", `["x", "y"]`)
		c.completed(info, `{"each": ["of middleware", "of middleware"]}`)
		seen := map[string]int{}
		for _, a := range note.of(info.ID, "each") {
			seen[fmt.Sprintf("%s %s %d %d/%d %t", a.Flow, a.Step, a.Index, a.Attempt, a.MaxAttempts, a.Tick.IsZero())]++
		}
		c.Equal(map[string]int{"task each 0 1/2 true": 1, "task each 0 2/2 true": 1, "task each 1 1/2 true": 1, "task each 1 2/2 true": 1}, seen)
	})
	r.row("limit", func(c *check) {
		c.completed(c.run("limited", `[1, 2, 3, 4, 5]`), `{"each": [null, null, null, null, null]}`)
		c.EqualValues(1, most.Load())
	})
	r.row("headers", func(c *check) {
		c.completed(c.run("headers", `{}`, runtime.WithHeaders(map[string]string{"tenant": "7", "lang": "é"})),
			`{"headers": {"tenant": "7", "lang": "é"}}`)
	})
}
