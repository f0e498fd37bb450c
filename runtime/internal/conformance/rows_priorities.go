package conformance

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// priorities are rows of what can be read of priorities. In which order tasks are claimed
// shows only where there are many.
func priorities(r *rows) {
	r.open(
		serve(spec.Flow{Slug: "plain", Steps: []spec.Step{{Slug: "work"}}}, map[string]function{"work": give(`1`)}),
		serve(spec.Flow{Slug: "idly", Priority: spec.PriorityLow, Steps: []spec.Step{
			{Slug: "work"}, {Slug: "hurry", Deps: []string{"work"}, Priority: spec.PriorityHigh},
			{Slug: "each", Type: spec.TypeMap, Deps: []string{"hurry"}, Priority: spec.PriorityNormal},
		}}, map[string]function{"work": give(`1`), "hurry": give(`[1, 2]`), "each": echo}),
		serve(spec.Flow{Slug: "fails", Steps: []spec.Step{{Slug: "work"}}}, map[string]function{
			"work": func(context.Context, handler.Values) (any, error) { return nil, handler.Permanent(errors.New("no")) },
		}),
	)
	priority := func(c *check, id string) runtime.Priority {
		priority := c.get(id).Priority
		c.Equal(priority, c.get(id, runtime.WithoutPayloads(), runtime.WithStates()).Priority)
		return priority
	}

	r.row("priority of a run", func(c *check) {
		for _, tt := range []struct {
			flow string
			opts []runtime.StartOption
			want runtime.Priority
		}{
			{"plain", nil, ""},
			{"plain", []runtime.StartOption{runtime.WithPriority(runtime.High)}, runtime.High},
			{"plain", []runtime.StartOption{runtime.WithPriority(runtime.Normal)}, ""},
			{"idly", nil, runtime.Low},
			{"idly", []runtime.StartOption{runtime.WithPriority(runtime.High)}, runtime.High},
			{"idly", []runtime.StartOption{runtime.WithPriority(runtime.Normal)}, ""},
		} {
			info := c.end(c.start(tt.flow, `{}`, tt.opts...))
			c.Equal(runtime.RunCompleted, info.Status)
			c.Equal(tt.want, priority(c, info.ID), "%s %s", tt.flow, tt.want)
		}
		_, err := runtime.StartFlow(c.ctx, c.db, "plain", 1, runtime.WithPriority("1"))
		c.is(err, runtime.ErrInvalidOption)
	})
	r.row("change the priority of a run", func(c *check) {
		c.is(runtime.SetPriority(c.ctx, c.db, uuid.NewString(), runtime.High), runtime.ErrRunNotFound) // or it cannot be
		id := c.run("fails", `{}`).ID
		c.ok(runtime.SetPriority(c.ctx, c.db, id, runtime.Low))
		c.Equal(runtime.Low, priority(c, id))
		c.ok(runtime.SetPriority(c.ctx, c.db, id, runtime.High))
		c.ok(runtime.RetryRun(c.ctx, c.db, id))
		c.Equal(runtime.High, priority(c, id))
		c.is(runtime.SetPriority(c.ctx, c.db, c.run("plain", `{}`).ID, runtime.High), runtime.ErrWrongStatus)
		c.is(runtime.SetPriority(c.ctx, c.db, id, "1"), runtime.ErrInvalidOption)
	})
}
