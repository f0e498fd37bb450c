package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// answerWait is the row that an engine declines which cannot wait for answers at all.
const answerWait = "answer a wait"

// OfWaits are the rows that an engine declines which has no steps that wait, no timers that
// are read from values, no snoozes, and no deadlines.
var OfWaits = []string{
	answerWait, "answer a wait twice", "answer before the step waits", "answer that a map cannot take", "answer where nothing waits",
	"answer that cannot be stored", "fail a wait", "wait that expires", "cancel a run that waits", "retry a run that nobody answered", "retry a step that was answered",
	"answer by key", "answers by key that are kept", "key that is none", "key that is too long", "list what waits", "snooze", "snooze for too long",
	"keep for the next attempt", "start at a time that is read", "retry before the time to start", "start at what is no time", "start after a delay that is read",
	"deadline of a run",
}

// waits are rows of steps that wait for an answer.
func waits(r *rows) {
	approval := func(slug string, options spec.Step, before ...spec.Step) handler.Service {
		options.Slug, options.Type = "approve", spec.TypeWait
		functions := map[string]function{"ship": giveOutputs}
		for _, s := range before {
			options.Deps = append(options.Deps, s.Slug)
			functions[s.Slug] = give(`{"id": 7}`)
		}
		steps := append(before, options, spec.Step{Slug: "ship", Deps: []string{"approve"}})
		return serve(spec.Flow{Slug: slug, Steps: steps}, functions)
	}
	before := spec.Step{Slug: "check"}
	r.open(
		approval("approval", spec.Step{}, before),
		approval("root_wait", spec.Step{}),
		approval("may_expire", spec.Step{Timeout: time.Second, WhenExhausted: spec.ModeSkip}),
		approval("must_answer", spec.Step{Timeout: time.Second}),
		approval("rejection", spec.Step{WhenExhausted: spec.ModeSkip}),
		approval("conditional", spec.Step{If: json.RawMessage(`{"check": {"id": 8}}`)}, before),
		approval("by_key", spec.Step{Key: spec.Path{spec.RunKey, "payment"}}),
		approval("by_number", spec.Step{Key: spec.Path{"check", "id"}}, before),
		serve(spec.Flow{Slug: "twice", Steps: []spec.Step{
			{Slug: "first", Type: spec.TypeWait}, {Slug: "second", Type: spec.TypeWait, Deps: []string{"first"}},
			{Slug: "each", Type: spec.TypeMap, Deps: []string{"second"}},
		}}, map[string]function{"each": echo}),
		serve(spec.Flow{Slug: "plain", Steps: []spec.Step{{Slug: "work"}}}, map[string]function{"work": give(`1`)}),
	)
	shipped := func(c *check, info *runtime.RunInfo, answer string) {
		c.completed(info, fmt.Sprintf(`{"ship": {"approve": %s}}`, answer))
	}

	r.row(answerWait, func(c *check) {
		run := c.start("approval", `{}`)
		info := c.waiting(run)
		c.Equal(runtime.StepStarted, info.States[1].Status)
		c.Equal(spec.TypeWait, info.States[1].Type)
		c.Equal("waiting for an answer", info.States[1].Word())
		c.signal(runtime.Accepted, run, "approve", map[string]any{"ok": true}, runtime.WithSender("ann"))
		info = c.end(run)
		shipped(c, info, `{"ok": true}`)
		c.steps(info, "check completed", "approve completed", "ship completed")
		c.JSONEq(`{"ok": true}`, string(info.States[1].Output))
		c.Equal("ann", info.States[1].Wait.AnsweredBy)
		c.False(info.States[1].Wait.AnsweredAt.IsZero())
		c.signal(runtime.Already, run, "approve", 1)
	})
	r.row("answer a wait twice", func(c *check) {
		run := c.start("root_wait", `{}`)
		c.waiting(run)
		c.signal(runtime.Accepted, run, "approve", 1)
		c.signal(runtime.Already, run, "approve", 2)
		shipped(c, c.end(run), `1`)
	})
	r.row("answer before the step waits", func(c *check) {
		run := c.start("twice", `{}`)
		c.signal(runtime.Accepted, run, "second", []int{1, 2})
		c.signal(runtime.Already, run, "second", 3)
		c.waiting(run)
		c.signal(runtime.Accepted, run, "first", nil)
		info := c.end(run)
		c.steps(info, "first completed", "second completed", "each completed")
		c.JSONEq(`null`, orNull(info.States[0].Output))
		c.JSONEq(`[1, 2]`, string(info.States[1].Output))
	})
	r.row("answer that a map cannot take", func(c *check) {
		run := c.start("twice", `{}`)
		c.signal(runtime.Accepted, run, "first", 1)
		c.signal(runtime.Accepted, run, "second", "no list")
		c.failed(c.end(run), "second", "[TYPE_VIOLATION] Map step each expects array input but dependency second produced string")
	})
	r.row("answer where nothing waits", func(c *check) {
		_, err := runtime.Signal(c.ctx, c.db, uuid.NewString(), "approve", 1)
		c.is(err, runtime.ErrRunNotFound)
		run := c.start("plain", `{}`)
		for _, step := range []string{"work", "nothing"} {
			_, err = runtime.Signal(c.ctx, c.db, run.ID(), step, 1)
			c.is(err, runtime.ErrRunNotFound)
		}
		info := c.run("conditional", `{}`)
		c.steps(info, "check completed", "approve skipped condition_unmet", "ship completed")
		_, err = runtime.Signal(c.ctx, c.db, info.ID, "approve", 1)
		c.is(err, runtime.ErrNotWaiting)
		var late *runtime.NotWaitingError
		c.as(err, &late)
		c.Equal("skipped", late.Status)
	})
	r.row("answer that cannot be stored", func(c *check) {
		run := c.start("root_wait", `{}`)
		_, err := runtime.Signal(c.ctx, c.db, run.ID(), "approve", "\x00")
		c.as(err, new(*runtime.InputError))
		c.is(err, runtime.ErrNUL)
		_, err = runtime.Signal(c.ctx, c.db, run.ID(), "approve", make(chan int))
		c.as(err, new(*runtime.InputError))
	})
	r.row("fail a wait", func(c *check) {
		run := c.start("root_wait", `{}`)
		result, err := runtime.FailWait(c.ctx, c.db, run.ID(), "approve", "too dear")
		c.ok(err)
		c.Equal(runtime.Accepted, result)
		c.failed(c.end(run), "approve", "too dear")
		_, err = runtime.Signal(c.ctx, c.db, run.ID(), "approve", 1)
		var late *runtime.NotWaitingError
		c.as(err, &late)
		c.Equal("failed", late.Status)

		run = c.start("rejection", `{}`)
		_, err = runtime.FailWait(c.ctx, c.db, run.ID(), "approve", "too dear")
		c.ok(err)
		info := c.end(run)
		c.steps(info, "approve skipped handler_failed", "ship completed")
		c.Equal("too dear", info.States[0].Error)
	})
	r.row("wait that expires", func(c *check) {
		run := c.start("must_answer", `{}`)
		c.pass(time.Second)
		c.failed(c.end(run), "approve", "flowc: nobody answered within 1s")

		run = c.start("may_expire", `{}`)
		c.pass(time.Second)
		info := c.end(run)
		c.steps(info, "approve skipped handler_failed", "ship completed")
		_, err := runtime.Signal(c.ctx, c.db, run.ID(), "approve", 1)
		c.is(err, runtime.ErrNotWaiting)
	})
	r.row("retry a run that nobody answered", func(c *check) {
		run := c.start("must_answer", `{}`)
		c.pass(time.Second)
		c.failed(c.end(run), "approve", "flowc: nobody answered within 1s")
		c.ok(runtime.RetryRun(c.ctx, c.db, run.ID()))
		c.signal(runtime.Accepted, run, "approve", 1)
		shipped(c, c.end(run), `1`)

		run = c.start("root_wait", `{}`)
		_, err := runtime.FailWait(c.ctx, c.db, run.ID(), "approve", "no")
		c.ok(err)
		c.failed(c.end(run), "approve", "no")
		c.ok(runtime.RetryRun(c.ctx, c.db, run.ID()))
		c.waiting(run)
		c.signal(runtime.Accepted, run, "approve", 2)
		shipped(c, c.end(run), `2`)
	})
	r.row("cancel a run that waits", func(c *check) {
		run := c.start("approval", `{}`)
		c.waiting(run)
		c.ok(runtime.CancelRun(c.ctx, c.db, run.ID(), "withdrawn"))
		info := c.end(run)
		c.Equal([]any{runtime.RunCancelled, "withdrawn"}, []any{info.Status, info.CancelReason})
		all, err := runtime.ListWaiting(c.ctx, c.db, runtime.WaitingFilter{RunID: run.ID()})
		c.ok(err)
		c.Empty(all)
		_, err = runtime.Signal(c.ctx, c.db, run.ID(), "approve", 1)
		var late *runtime.NotWaitingError
		c.as(err, &late)
		c.Equal("cancelled", late.Status)
		c.ok(runtime.RetryRun(c.ctx, c.db, run.ID()))
		c.waiting(run)
		c.signal(runtime.Accepted, run, "approve", 2)
		shipped(c, c.end(run), `2`)
	})
	r.row("retry a step that was answered", func(c *check) {
		run := c.start("root_wait", `{}`)
		c.signal(runtime.Accepted, run, "approve", 1)
		shipped(c, c.end(run), `1`)
		c.ok(runtime.RetryStep(c.ctx, c.db, run.ID(), "ship"))
		shipped(c, c.end(run), `1`)
		c.ok(runtime.RetryStep(c.ctx, c.db, run.ID(), "approve"))
		c.waiting(run)
		c.signal(runtime.Accepted, run, "approve", 2)
		shipped(c, c.end(run), `2`)
	})
	r.row("answer by key", func(c *check) {
		a, b, other := c.start("by_key", `{"payment": "p1"}`), c.start("by_key", `{"payment": "p1"}`), c.start("by_key", `{"payment": "p2"}`)
		for _, run := range []*runtime.Run[json.RawMessage]{a, b, other} {
			c.waiting(run)
		}
		c.ok(runtime.SignalBy(c.ctx, c.db, "by_key", "approve", "p1", "paid", runtime.WithSender("bank")))
		shipped(c, c.end(a), `"paid"`)
		info := c.end(b)
		shipped(c, info, `"paid"`)
		c.Equal("bank", info.States[0].Wait.AnsweredBy)
		c.Equal(runtime.RunWaiting, c.waiting(other).Status)

		run := c.start("by_number", `{}`)
		c.waiting(run)
		c.ok(runtime.SignalBy(c.ctx, c.db, "by_number", "approve", 7, "paid"))
		shipped(c, c.end(run), `"paid"`)
	})
	r.row("answers by key that are kept", func(c *check) {
		c.ok(runtime.SignalBy(c.ctx, c.db, "by_key", "approve", "early", 1))
		c.ok(runtime.SignalBy(c.ctx, c.db, "by_key", "approve", "early", 2))
		shipped(c, c.run("by_key", `{"payment": "early"}`), `1`)
		shipped(c, c.run("by_key", `{"payment": "early"}`), `2`)
		c.waiting(c.start("by_key", `{"payment": "early"}`))
	})
	r.row("key that is none", func(c *check) {
		for _, key := range []any{nil, "", 1.5, true, string(make([]byte, 256))} {
			c.is(runtime.SignalBy(c.ctx, c.db, "by_key", "approve", key, 1), runtime.ErrInvalidOption)
		}
		c.is(runtime.SignalBy(c.ctx, c.db, "root_wait", "approve", "k", 1), runtime.ErrInvalidOption)
		c.is(runtime.SignalBy(c.ctx, c.db, "missing", "approve", "k", 1), runtime.ErrFlowNotFound)
	})
	r.row("key that is too long", func(c *check) {
		for _, key := range []string{strconv.Quote(strings.Repeat("k", 256)), strings.Repeat("7", 256)} {
			info := c.end(c.start("by_key", `{"payment": `+key+`}`))
			c.failed(info, "approve", "flowc: the key of step approve has more than 255 bytes: run.payment")
		}
		for _, key := range []string{`""`, `null`, `true`, `1.5`} {
			run := c.start("by_key", `{"payment": `+key+`}`)
			c.waiting(run)
			c.signal(runtime.Accepted, run, "approve", 1)
		}
	})
	r.row("list what waits", func(c *check) {
		run := c.start("by_number", `{"n": 1}`)
		c.waiting(run)
		all, err := runtime.ListWaiting(c.ctx, c.db, runtime.WaitingFilter{Flows: []string{"by_number"}, RunID: run.ID()})
		c.ok(err)
		c.Len(all, 1)
		c.Equal([]string{run.ID(), "by_number", "approve", "7"}, []string{all[0].RunID, all[0].Flow, all[0].Step, all[0].Key})
		c.False(all[0].Since.IsZero())
		c.True(all[0].Until.IsZero())
		c.JSONEq(`{"n": 1}`, string(all[0].Input.Input))
		c.JSONEq(`{"check": {"id": 7}}`, string(all[0].Input.Outputs))
		more, err := runtime.ListWaiting(c.ctx, c.db, runtime.WaitingFilter{RunID: run.ID(), After: all[0].Cursor()})
		c.ok(err)
		c.Empty(more)
		typed, err := runtime.ListWaitingFor(c.ctx, c.db, "by_number", "approve", handler.Output[struct{ ID int }]("check"), runtime.WaitingFilter{RunID: run.ID()})
		c.ok(err)
		c.Equal(7, typed[0].Input.ID)
	})
}

// giveOutputs is the function of a step that gives the outputs that it was given.
func giveOutputs(_ context.Context, v handler.Values) (any, error) { return v.Outputs, nil }

// waiting returns a run once it waits for an answer.
func (c *check) waiting(run *runtime.Run[json.RawMessage]) *runtime.RunInfo {
	for {
		info := c.get(run.ID(), runtime.WithStates())
		if info.Status == runtime.RunWaiting {
			return info
		}
		_, still := c.db.(interface{ Advance(d time.Duration) })
		c.False(info.Status.Ended() || still, "it does not wait, it is %s", info.Status)
		select {
		case <-c.ctx.Done():
			c.ok(errors.New("the run does not come to wait"))
		case <-time.After(poll):
		}
	}
}

// signal answers a step, and checks what became of that.
func (c *check) signal(want runtime.Signalled, run *runtime.Run[json.RawMessage], step string, answer any, opts ...runtime.SignalOption) {
	got, err := runtime.Signal(c.ctx, c.db, run.ID(), step, answer, opts...)
	c.ok(err)
	c.Equal(want, got)
}

// pass lets time pass, where only the test moves the clock.
func (c *check) pass(d time.Duration) {
	if db, ok := c.db.(interface{ Advance(d time.Duration) }); ok {
		db.Advance(d)
	}
}

// now returns the time by the clock of the engine.
func (c *check) now() time.Time {
	if db, ok := c.db.(interface{ Now() time.Time }); ok {
		return db.Now()
	}
	return time.Now()
}
