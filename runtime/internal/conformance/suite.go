// Package conformance says what every engine has to do. It has two parts: rows, each of
// which is one feature with its name ([Test]), and random flows, which two engines have
// to run alike ([TestRandom]).
//
// An engine that does not pass a row declines it by name, and says how it differs. That
// is checked as well: a row that is declined and passes is a failure.
package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// patience is how long a row waits for what must happen, on the slowest machine.
const patience = time.Minute

// grace is how long a row may go on when its context has ended.
const grace = 10 * time.Second

// poll is how often a run is looked at where nobody notifies.
const poll = 20 * time.Millisecond

// An Engine is where runs live.
type Engine struct {
	// Open returns a database with the flows of some services, whose tasks are done until
	// the test ends.
	Open func(t *testing.T, services ...handler.Service) (runtime.DB, error)
	// Declines are the rows that the engine does not pass, by their names.
	Declines map[string]Difference
}

// A Difference is how an engine differs from a row that it declines.
type Difference struct {
	// Why says so to people.
	Why string
	// Says is in the text of the row's failure. If it is empty, the row has to fail with
	// an [runtime.ErrNeedsEngine].
	Says string
}

// Test runs all rows on an engine, each in a subtest.
func Test(t *testing.T, e Engine) {
	t.Helper()
	var mu sync.Mutex
	seen := map[string]bool{}
	t.Run("rows", func(t *testing.T) {
		e.run(t, slices.Concat(quick, own, slow), func(t *testing.T, row string, failure error) {
			mu.Lock()
			require.False(t, seen[row], "there are two rows of this name")
			seen[row] = true
			mu.Unlock()
			require.NoError(t, e.judge(row, failure))
		})
	})
	for row := range e.Declines {
		require.True(t, seen[row], "%q is declined, and there is no such row", row)
	}
}

// judge returns what is wrong with the failure of a row, nil if it did not fail: one of a
// row that is not declined, or another than the engine has declined it with.
func (e Engine) judge(row string, failure error) error {
	difference, declined := e.Declines[row]
	switch {
	case !declined:
		return failure
	case failure == nil:
		return fmt.Errorf("the row is declined, and passes: %s", difference.Why)
	case difference.Says == "" && !errors.Is(failure, runtime.ErrNeedsEngine):
		return fmt.Errorf("the row is declined (%s), and fails with another error than that the engine is needed: %w", difference.Why, failure)
	case !strings.Contains(failure.Error(), difference.Says):
		return fmt.Errorf("the row is declined (%s), and fails without saying %q: %w", difference.Why, difference.Says, failure)
	}
	return nil
}

// run runs the rows of topics, and reports of each whether it failed.
func (e Engine) run(t *testing.T, topics []topic, report func(t *testing.T, row string, failure error)) {
	for _, topic := range topics {
		t.Run(topic.name, func(t *testing.T) {
			t.Parallel()
			topic.test(&rows{t: t, engine: e, report: report})
		})
	}
}

// A topic is some rows that share a database.
type topic struct {
	name string
	test func(*rows)
}

var quick = []topic{
	{"starts", starts}, {"values", values}, {"conditions", conditions}, {"exhausted", exhausted}, {"maps", mapSteps},
	{"attempts", attempts}, {"retry", retries}, {"definitions", definitions}, {"schedule", schedules}, {"operations", operations},
}

// own are the topics of what the contract does not have.
var own = []topic{
	{"waits", waits}, {"timers", timers}, {"priorities", priorities}, {"gates", gates}, {"unique", unique}, {"transactions", transactions},
}

// slow are the topics that wait for time to pass.
var slow = []topic{{"times", times}, {"delays", delays}, {"cancel", cancels}}

// Rows are those of a topic.
type rows struct {
	t      *testing.T
	engine Engine
	report func(t *testing.T, row string, failure error)
	db     runtime.DB
	err    error // of opening it, which fails the rows
}

// open gives the rows a database with the flows of some services.
func (r *rows) open(services ...handler.Service) {
	r.t.Helper()
	r.db, r.err = r.engine.Open(r.t, services...)
}

// row runs one row.
func (r *rows) row(name string, test func(c *check)) {
	r.t.Helper()
	r.t.Run(name, func(t *testing.T) {
		failure := r.err
		if failure == nil {
			failure = try(r.db, test)
		}
		r.report(t, name, failure)
	})
}

// try runs the test of a row, and returns why it failed.
func try(db runtime.DB, test func(c *check)) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := &check{ctx: ctx, db: db}
	c.Assertions = require.New(c)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				c.failure = fmt.Errorf("panic: %v", p)
			}
		}()
		test(c)
	}()
	select {
	case <-done:
		return c.failure
	case <-time.After(patience + grace):
		return fmt.Errorf("the row has not ended after %s", patience+grace)
	}
}

// A check is one row on one engine. Its assertions end the row, and are its failure.
type check struct {
	*require.Assertions
	ctx     context.Context
	db      runtime.DB
	failure error
}

// Errorf is called by assertions that do not hold.
func (c *check) Errorf(format string, args ...any) { c.failure = fmt.Errorf(format, args...) }

// FailNow ends the row.
func (c *check) FailNow() { goruntime.Goexit() }

// ok ends the row with an error, if it is one.
func (c *check) ok(err error) {
	if err != nil {
		c.failure = err
		c.FailNow()
	}
}

// is ends the row unless an error is another.
func (c *check) is(err, target error) {
	if !errors.Is(err, target) {
		c.failure = errors.Join(fmt.Errorf("the error is not %q", target), err)
		c.FailNow()
	}
}

// as ends the row unless an error is one of target's type, as [errors.As] finds it.
func (c *check) as(err error, target any) {
	if !errors.As(err, target) {
		c.failure = errors.Join(fmt.Errorf("the error is no %T", target), err)
		c.FailNow()
	}
}

// start starts a run.
func (c *check) start(flow, input string, opts ...runtime.StartOption) *runtime.Run[json.RawMessage] {
	run, err := runtime.StartFlow(c.ctx, c.db, flow, json.RawMessage(input), opts...)
	c.ok(err)
	return run
}

// end waits for the end of a run, and returns it with the states of its steps.
func (c *check) end(run *runtime.Run[json.RawMessage]) *runtime.RunInfo {
	_, err := run.Wait(c.ctx, runtime.WithPollInterval(poll))
	if err != nil && !errors.As(err, new(*runtime.RunFailedError)) {
		c.ok(err)
	}
	return c.get(run.ID(), runtime.WithStates())
}

// get reads a run.
func (c *check) get(id string, opts ...runtime.GetOption) *runtime.RunInfo {
	info, err := runtime.GetRun(c.ctx, c.db, id, opts...)
	c.ok(err)
	return info
}

// run starts a run and waits for its end.
func (c *check) run(flow, input string, opts ...runtime.StartOption) *runtime.RunInfo {
	return c.end(c.start(flow, input, opts...))
}

// failed checks that a run failed in a step with an error.
func (c *check) failed(info *runtime.RunInfo, step, message string) {
	c.Equal([]any{runtime.RunFailed, step, message}, []any{info.Status, info.Failed(), info.Error})
}

// completed checks that a run completed with an output.
func (c *check) completed(info *runtime.RunInfo, output string) {
	c.Equal(runtime.RunCompleted, info.Status, info.Error)
	c.JSONEq(output, orNull(info.Output))
}

// steps checks the states of the steps of a run, in the order of the definition: each is
// a slug, a status, and the reason if it was skipped.
func (c *check) steps(info *runtime.RunInfo, want ...string) {
	var got []string
	for _, s := range info.States {
		got = append(got, strings.TrimSpace(fmt.Sprint(s.Step, " ", s.Status, " ", s.SkipReason)))
	}
	c.Equal(want, got)
}

// A function does the work of a step.
type function = func(ctx context.Context, v handler.Values) (any, error)

// serve returns the service of a flow.
func serve(flow spec.Flow, functions map[string]function, opts ...handler.ServeOption) handler.Service {
	var handlers []handler.Handler
	for step, fn := range functions {
		handlers = append(handlers, handler.HandleValues(step, fn))
	}
	return handler.Serve(flow, handlers, opts...)
}

// give returns the function of a step that gives JSON.
func give(output string) function {
	return func(context.Context, handler.Values) (any, error) { return json.RawMessage(output), nil }
}

// echo is the function of a step that gives what it was given.
func echo(_ context.Context, v handler.Values) (any, error) {
	return map[string]any{"input": v.Input, "outputs": v.Outputs, "item": v.Item}, nil
}

// A record is of the attempts that handlers have begun.
type record struct {
	mu       sync.Mutex
	attempts []recorded
}

type recorded struct {
	handler.Task
	at time.Time
}

// note records an attempt.
func (r *record) note(ctx context.Context) handler.Task {
	task, _ := handler.TaskFromContext(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attempts = append(r.attempts, recorded{task, time.Now()})
	return task
}

// of returns the attempts at a step of a run, in their order.
func (r *record) of(run, step string) (all []recorded) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.attempts {
		if a.RunID == run && a.Step == step {
			all = append(all, a)
		}
	}
	return all
}

func orNull(raw json.RawMessage) string {
	if raw == nil {
		return "null"
	}
	return string(raw)
}
