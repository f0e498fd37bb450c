package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// Rows whose features random flows have, too: what an engine declines is not compared.
const (
	permanentAttempts = "attempts of a permanent failure"
	refusedSkip       = "skip where it is not allowed"
	retryStep         = "retry a step"
)

// refusal is the error of a step whose handler asks to skip it and may not.
const refusal = `flowc: the handler asked to skip step %s (%s), which does not allow it: add when_exhausted:"skip" to the step`

func attempts(r *rows) {
	note := new(record)
	work := func(ctx context.Context, v handler.Values) (any, error) {
		task := note.note(ctx)
		var do string
		if err := json.Unmarshal(v.Input, &do); err != nil {
			return nil, err
		}
		switch do {
		case "fail twice":
			if task.Attempt < 3 {
				return nil, errors.New("not yet")
			}
		case "fail":
			return nil, fmt.Errorf("broke in attempt %d", task.Attempt)
		case "permanent":
			return nil, fmt.Errorf("charging: %w", handler.Permanent(errors.New("never")))
		case "skip":
			return nil, handler.Skip("not wanted")
		case "retry after":
			if task.Attempt == 1 {
				return nil, handler.RetryAfter(0, errors.New("busy"))
			}
		case "panic":
			panic("boom")
		case "long":
			return nil, errors.New(strings.Repeat("x", 20<<10))
		case "unstorable":
			return "\x00", nil
		}
		return do, nil
	}
	flow := func(slug string, options spec.Flow, mode spec.Mode) handler.Service {
		options.Slug, options.Steps = slug, []spec.Step{{Slug: "work", WhenExhausted: mode}}
		return serve(options, map[string]function{"work": work})
	}
	at0 := spec.Set(time.Duration(0))
	r.open(
		flow("thrice", spec.Flow{MaxAttempts: 3, BaseDelay: at0}, spec.ModeFail),
		flow("once", spec.Flow{MaxAttempts: 1}, spec.ModeFail),
		flow("may_skip", spec.Flow{MaxAttempts: 3, BaseDelay: at0}, spec.ModeSkip),
		flow("hourly", spec.Flow{MaxAttempts: 3, BaseDelay: spec.Set(time.Hour)}, spec.ModeFail),
	)

	r.row("attempts", func(c *check) {
		info := c.run("thrice", `"fail twice"`)
		c.completed(info, `{"work": "fail twice"}`)
		c.Equal(3, info.States[0].Attempts)
		for i, a := range note.of(info.ID, "work") {
			c.Equal([]int{i + 1, 3}, []int{a.Attempt, a.MaxAttempts})
		}
	})
	r.row("attempts exhausted", func(c *check) {
		info := c.run("thrice", `"fail"`)
		c.failed(info, "work", "broke in attempt 3")
		c.Equal(3, info.States[0].Attempts)
		c.Len(note.of(info.ID, "work"), 3)
		c.failed(c.run("once", `"fail"`), "work", "broke in attempt 1")
	})
	r.row("permanent", func(c *check) {
		info := c.run("thrice", `"permanent"`)
		c.failed(info, "work", "charging: never")
		c.Len(note.of(info.ID, "work"), 1)
	})
	r.row(permanentAttempts, func(c *check) {
		c.Equal(1, c.run("thrice", `"permanent"`).States[0].Attempts)
	})
	r.row("skip", func(c *check) {
		info := c.run("may_skip", `"skip"`)
		c.completed(info, `null`)
		c.steps(info, "work skipped handler_failed")
		c.Equal("not wanted", info.States[0].Error)
		c.Len(note.of(info.ID, "work"), 1)
	})
	r.row(refusedSkip, func(c *check) {
		info := c.run("thrice", `"skip"`)
		c.failed(info, "work", fmt.Sprintf(refusal, "work", "not wanted"))
		c.Len(note.of(info.ID, "work"), 1)
	})
	r.row("retry after", func(c *check) { // in an hour, if it were the backoff
		info := c.run("hourly", `"retry after"`)
		c.completed(info, `{"work": "retry after"}`)
		c.Len(note.of(info.ID, "work"), 2)
	})
	r.row("panic", func(c *check) {
		info := c.run("once", `"panic"`)
		c.Equal(runtime.RunFailed, info.Status)
		c.Contains(info.Error, "panic: boom\n")
		c.Contains(info.Error, "rows_attempts.go:", "the stack says where")
	})
	r.row("long error", func(c *check) {
		c.failed(c.run("once", `"long"`), "work", strings.Repeat("x", 16<<10)+" …")
	})
	r.row("output that cannot be stored", func(c *check) {
		info := c.run("thrice", `"unstorable"`)
		c.Equal(runtime.RunFailed, info.Status)
		c.Contains(info.Error, "flowc: output of step work: it contains the character")
		c.Len(note.of(info.ID, "work"), 1)
	})
}

func times(r *rows) {
	note := new(record)
	causes := make(chan error, 10)
	step := []spec.Step{{Slug: "work"}}
	r.open(
		serve(spec.Flow{Slug: "backoff", MaxAttempts: 2, BaseDelay: spec.Set(time.Second), Steps: step}, map[string]function{
			"work": func(ctx context.Context, _ handler.Values) (any, error) {
				if note.note(ctx).Attempt == 1 {
					return nil, errors.New("again")
				}
				return 1, nil
			}}),
		serve(spec.Flow{Slug: "short", MaxAttempts: 1, Timeout: time.Second, Steps: step}, map[string]function{
			"work": func(ctx context.Context, _ handler.Values) (any, error) {
				<-ctx.Done()
				causes <- context.Cause(ctx)
				return nil, ctx.Err()
			}}),
	)
	r.row("timeout", func(c *check) {
		c.failed(c.run("short", `{}`), "work", "flowc: the attempt exceeded the step's timeout of 1s")
		c.Equal(handler.ErrTaskTimeout, <-causes)
	})
	// A later attempt is no failure, one that is too early is.
	r.row("backoff", func(c *check) {
		all := note.of(c.run("backoff", `{}`).ID, "work")
		c.Len(all, 2)
		c.GreaterOrEqual(all[1].at.Sub(all[0].at), 1900*time.Millisecond, "it came too early")
	})
}

func delays(r *rows) {
	note := new(record)
	work := map[string]function{
		"work":  func(ctx context.Context, _ handler.Values) (any, error) { return note.note(ctx).Attempt, nil },
		"later": func(ctx context.Context, _ handler.Values) (any, error) { return note.note(ctx).Attempt, nil },
	}
	r.open(
		serve(spec.Flow{Slug: "later", Steps: []spec.Step{{Slug: "work"}}}, map[string]function{"work": work["work"]}),
		serve(spec.Flow{Slug: "start_delay", Steps: []spec.Step{{Slug: "work"}, {Slug: "later", Deps: []string{"work"}, StartDelay: time.Second}}}, work),
	)
	r.row("delayed start", func(c *check) {
		before := time.Now()
		run := c.start("later", `{}`, runtime.WithDelay(time.Second))
		c.False(run.ScheduledAt().IsZero())
		c.completed(c.end(run), `{"work": 1}`)
		c.GreaterOrEqual(note.of(run.ID(), "work")[0].at.Sub(before), 900*time.Millisecond, "it came too early")
	})
	r.row("start at a time", func(c *check) {
		at := time.Now().Add(time.Hour).Truncate(time.Microsecond)
		run := c.start("later", `{}`, runtime.WithStartAt(at))
		c.WithinDuration(at, run.ScheduledAt(), 0)
		_, err := run.Wait(c.ctx, runtime.WithTimeout(0))
		c.is(err, runtime.ErrTimeout)
		info, err := run.Info(c.ctx)
		c.ok(err)
		c.Equal(runtime.RunScheduled, info.Status)
		c.WithinDuration(at, info.ScheduledAt, 0)
		c.Empty(note.of(run.ID(), "work"))
	})
	r.row("reschedule", func(c *check) {
		run := c.start("later", `{}`, runtime.WithDelay(time.Hour))
		c.ok(runtime.RescheduleRun(c.ctx, c.db, run.ID(), time.Now()))
		c.completed(c.end(run), `{"work": 1}`)
		c.is(runtime.RescheduleRun(c.ctx, c.db, run.ID(), time.Now()), runtime.ErrWrongStatus)
	})
	r.row("start delay of a step", func(c *check) {
		run := c.start("start_delay", `{}`)
		c.pass(time.Second)
		info := c.end(run)
		c.completed(info, `{"later": 1}`)
		first, second := note.of(info.ID, "work"), note.of(info.ID, "later")
		c.GreaterOrEqual(second[0].at.Sub(first[0].at), 900*time.Millisecond, "it came too early")
	})
}
