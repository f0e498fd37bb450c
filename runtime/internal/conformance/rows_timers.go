package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// timers are rows of what waits for its time: snoozes, starts that are read from values, and
// deadlines; and of what attempts keep for the next ones.
func timers(r *rows) {
	note := new(record)
	var snoozed atomic.Int32
	var repaired atomic.Bool
	at0 := spec.Set(time.Duration(0))
	r.open(
		serve(spec.Flow{Slug: "snoozes", MaxAttempts: 1, Steps: []spec.Step{{Slug: "work"}}}, map[string]function{
			"work": func(ctx context.Context, _ handler.Values) (any, error) {
				note.note(ctx)
				if snoozed.Add(1) <= 2 {
					return nil, fmt.Errorf("polling: %w", handler.SnoozeNote(time.Millisecond, "half done"))
				}
				return "done", nil
			}}),
		serve(spec.Flow{Slug: "snoozes_long", MaxAttempts: 2, BaseDelay: at0, Steps: []spec.Step{{Slug: "work", MaxWait: time.Second}}}, map[string]function{
			"work": func(ctx context.Context, _ handler.Values) (any, error) {
				note.note(ctx)
				asked, _ := handler.Kept[int](ctx)
				if err := handler.Keep(ctx, asked+1); err != nil {
					return nil, err
				}
				return nil, handler.SnoozeNote(time.Hour, fmt.Sprintf("not there, asked %d times before", asked))
			}}),
		serve(spec.Flow{Slug: "keeps", MaxAttempts: 4, BaseDelay: at0, Steps: []spec.Step{{Slug: "work"}}}, map[string]function{"work": keepsCount}),
		serve(spec.Flow{Slug: "start_at", Steps: []spec.Step{{Slug: "work", StartAt: spec.Path{spec.RunKey, "at"}}}}, map[string]function{"work": give(`1`)}),
		serve(spec.Flow{Slug: "start_at_beside", MaxAttempts: 1, Steps: []spec.Step{{Slug: "work", StartAt: spec.Path{spec.RunKey, "at"}}, {Slug: "beside"}}},
			map[string]function{"work": give(`1`), "beside": func(context.Context, handler.Values) (any, error) {
				if !repaired.Load() {
					return nil, errors.New("broken")
				}
				return 1, nil
			}}),
		serve(spec.Flow{Slug: "start_delay", Steps: []spec.Step{{Slug: "ask"}, {Slug: "work", Deps: []string{"ask"}, StartDelayFrom: spec.Path{"ask", "pause"}}}},
			map[string]function{"ask": give(`{"pause": 1000000000}`), "work": give(`1`)}),
		serve(spec.Flow{Slug: "deadline", Deadline: time.Second, Steps: []spec.Step{{Slug: "ask"}, {Slug: "approve", Type: spec.TypeWait, Deps: []string{"ask"}}}},
			map[string]function{"ask": give(`1`)}),
	)

	r.row("snooze", func(c *check) {
		started := c.start("snoozes", `{}`)
		c.pass(time.Second)
		info := c.end(started)
		c.completed(info, `{"work": "done"}`)
		c.Equal(1, info.States[0].Attempts)
		for _, a := range note.of(info.ID, "work") {
			c.Equal(1, a.Attempt, "a snooze does not count")
		}
		c.Len(note.of(info.ID, "work"), 3)
	})
	r.row("snooze for too long", func(c *check) {
		started := c.start("snoozes_long", `{}`)
		c.pass(time.Second)
		info := c.end(started)
		c.failed(info, "work", "flowc: it was snoozed for as long as it may be: not there, asked 2 times before")
		c.Equal(2, info.States[0].Attempts)
		c.Len(note.of(info.ID, "work"), 3)

		c.ok(runtime.RetryRun(c.ctx, c.db, started.ID())) // which keeps what was kept, and may be snoozed for as long again
		c.pass(time.Second)
		info = c.end(started)
		c.failed(info, "work", "flowc: it was snoozed for as long as it may be: not there, asked 5 times before")
		c.Len(note.of(info.ID, "work"), 6)
	})
	r.row("keep for the next attempt", func(c *check) {
		started := c.start("keeps", `{}`)
		c.pass(time.Second)
		c.completed(c.end(started), `{"work": [0, 1, 2, 3]}`)
	})
	r.row("start at a time that is read", func(c *check) {
		at := c.now().Add(time.Second)
		started := c.start("start_at", fmt.Sprintf(`{"at": %q}`, at.Format(time.RFC3339Nano)))
		c.Equal(runtime.StepStarted, c.get(started.ID(), runtime.WithStates()).States[0].Status)
		c.pass(time.Minute)
		c.completed(c.end(started), `{"work": 1}`)
		for _, at := range []string{`{}`, `{"at": null}`, `{"at": "0001-01-01T00:00:00Z"}`} {
			c.completed(c.run("start_at", at), `{"work": 1}`)
		}
	})
	r.row("retry before the time to start", func(c *check) {
		at := c.now().Add(time.Second)
		started := c.start("start_at_beside", fmt.Sprintf(`{"at": %q}`, at.Format(time.RFC3339Nano)))
		c.failed(c.end(started), "beside", "broken")
		repaired.Store(true)
		c.ok(runtime.RetryRun(c.ctx, c.db, started.ID()))
		c.pass(time.Minute)
		info := c.end(started)
		c.completed(info, `{"beside": 1, "work": 1}`)
		c.False(info.CompletedAt.Before(at))
	})
	r.row("start at what is no time", func(c *check) {
		for _, at := range []string{`{"at": "tomorrow or so"}`, `{"at": 7}`, `{"at": {}}`} {
			started := c.start("start_at", at)
			c.failed(c.end(started), "work", "flowc: start_at of step work is no time: run.at")
			if at == `{"at": 7}` {
				c.ok(runtime.RetryRun(c.ctx, c.db, started.ID()))
				c.failed(c.end(started), "work", "flowc: start_at of step work is no time: run.at")
			}
		}
	})
	r.row("start after a delay that is read", func(c *check) {
		started := c.start("start_delay", `{}`)
		c.pass(time.Second)
		info := c.end(started)
		c.completed(info, `{"work": 1}`)
		c.GreaterOrEqual(info.CompletedAt.Sub(info.States[0].CompletedAt), time.Second)
	})
	r.row("deadline of a run", func(c *check) {
		started := c.start("deadline", `{}`)
		c.pass(time.Second)
		c.failed(c.end(started), "approve", "flowc: the run was not done within its deadline of 1s")

		started = c.start("deadline", `{}`)
		c.signal(runtime.Accepted, started, "approve", json.RawMessage(`2`))
		c.completed(c.end(started), `{"approve": 2}`)
	})
}

// keepsCount is the function of a step that keeps in each attempt how many there were: the
// second is snoozed, and those before the last fail.
func keepsCount(ctx context.Context, _ handler.Values) (any, error) {
	done, _ := handler.Kept[[]int](ctx)
	done = append(done, len(done))
	if err := handler.Keep(ctx, done); err != nil {
		return nil, err
	}
	switch len(done) {
	case 1, 3:
		return nil, errors.New("not yet")
	case 2:
		return nil, handler.Snooze(0)
	}
	return done, nil
}
