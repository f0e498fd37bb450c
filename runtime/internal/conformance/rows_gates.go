package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// OfGates are the rows that an engine declines which does not limit how many tasks of a step
// are in flight, or runs in progress, over all workers.
var OfGates = []string{"limits by key", "rate by key", "shared gate", "strict order", "hold off", "runs in progress"}

// A crowd counts who is somewhere at once.
type crowd struct {
	mu        sync.Mutex
	now, most map[string]int
	order     map[string][]int
}

// enter counts one more of a name, and returns a function that ends that.
func (c *crowd) enter(name string, n int) (leave func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now == nil {
		c.now, c.most, c.order = map[string]int{}, map[string]int{}, map[string][]int{}
	}
	c.now[name]++
	c.most[name] = max(c.most[name], c.now[name])
	c.order[name] = append(c.order[name], n)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.now[name]--
	}
}

// seen returns how many were there at most, and in which order they came.
func (c *crowd) seen(name string) (most int, order []int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.most[name], c.order[name]
}

// gates are rows of steps with limits and turns by key.
func gates(r *rows) {
	there := new(crowd)
	type call struct {
		Tenant string
		N      int
	}
	work := func(of string) function {
		return func(ctx context.Context, v handler.Values) (any, error) {
			in, err := handler.Decode[call](v.Input, false, "the input")
			if err != nil {
				return nil, err
			}
			defer there.enter(of+in.Tenant, in.N)()
			time.Sleep(2 * time.Millisecond) // work
			task, _ := handler.TaskFromContext(ctx)
			switch {
			case of == "ordered " && in.N == 1 && task.Attempt == 1:
				return nil, handler.RetryAfter(0, errors.New("once more"))
			case of == "held " && task.Attempt == 1:
				return nil, handler.HoldOff(0, errors.New("busy"))
			}
			return in.N, nil
		}
	}
	// A run is there from its first step to its last.
	var inside sync.Map
	enter := func(ctx context.Context, v handler.Values) (any, error) {
		in, err := handler.Decode[call](v.Input, false, "the input")
		task, _ := handler.TaskFromContext(ctx)
		inside.Store(task.RunID, there.enter("in line "+in.Tenant, in.N))
		return in.N, err
	}
	leave := func(ctx context.Context, _ handler.Values) (any, error) {
		task, _ := handler.TaskFromContext(ctx)
		time.Sleep(2 * time.Millisecond) // work
		if left, ok := inside.LoadAndDelete(task.RunID); ok {
			left.(func())()
		}
		return nil, nil
	}
	byTenant := spec.Path{spec.RunKey, "Tenant"}
	gated := func(slug string, step spec.Step) handler.Service {
		step.Slug = "work"
		return serve(spec.Flow{Slug: slug, MaxAttempts: 3, Steps: []spec.Step{step}}, map[string]function{"work": work(slug + " ")})
	}
	r.open(
		gated("limited", spec.Step{Concurrency: 2, Key: byTenant}),
		gated("rated", spec.Step{Rate: spec.Rate{Tokens: 1000, Per: time.Second, Burst: 3}, Key: byTenant}),
		gated("ordered", spec.Step{Concurrency: 1, StrictOrder: true, Key: byTenant}),
		gated("held", spec.Step{Concurrency: 5, Key: byTenant}),
		serve(spec.Flow{Slug: "sharing", Steps: []spec.Step{{Slug: "one", Concurrency: 1, Gate: "shared"}, {Slug: "two", Concurrency: 1, Gate: "shared"}}},
			map[string]function{"one": work("shared "), "two": work("shared ")}),
		serve(spec.Flow{Slug: "in_line", Concurrency: 2, Key: byTenant, Steps: []spec.Step{{Slug: "first"}, {Slug: "last", Deps: []string{"first"}}}},
			map[string]function{"first": enter, "last": leave}),
	)
	startAll := func(c *check, flow string, n int, tenants ...string) {
		var runs []*runtime.Run[json.RawMessage]
		for i := range n {
			for _, tenant := range tenants {
				run, err := runtime.StartFlow(c.ctx, c.db, flow, call{tenant, i})
				c.ok(err)
				runs = append(runs, run)
			}
		}
		for _, run := range runs {
			_, err := run.Wait(c.ctx, runtime.WithPollInterval(poll))
			c.ok(err)
		}
	}
	most := func(c *check, of string, limit int) []int {
		most, order := there.seen(of)
		c.LessOrEqual(most, limit, "at once: %s", of)
		return order
	}

	r.row("limits by key", func(c *check) {
		startAll(c, "limited", 10, "a", "b", "")
		for _, tenant := range []string{"a", "b", ""} {
			c.Len(most(c, "limited "+tenant, 2), 10)
		}
	})
	r.row("rate by key", func(c *check) {
		startAll(c, "rated", 10, "a", "b")
		c.Len(most(c, "rated a", 10), 10)
	})
	r.row("shared gate", func(c *check) {
		startAll(c, "sharing", 10, "a")
		c.Len(most(c, "shared a", 1), 20)
	})
	r.row("strict order", func(c *check) {
		startAll(c, "ordered", 4, "a")
		c.Equal(fmt.Sprint([]int{0, 1, 1, 2, 3}), fmt.Sprint(most(c, "ordered a", 1)))
	})
	r.row("runs in progress", func(c *check) {
		startAll(c, "in_line", 10, "a", "b", "")
		for _, tenant := range []string{"a", "b", ""} {
			c.Len(most(c, "in line "+tenant, 2), 10)
		}
	})
	r.row("hold off", func(c *check) {
		startAll(c, "held", 3, "a")
		c.Len(most(c, "held a", 5), 6, "each was tried twice")
	})
}
