//go:build unix

package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/flowc-dev/flowc/dsl"
	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// flows are those that worker processes know.
var flows = map[string]struct {
	definition spec.Flow
	service    func(*hands) handler.Service
}{
	"sum":      {sum.Definition(), sumService},
	"fan":      {fan.Definition(), fanService},
	"job":      {job.Definition(), jobService},
	"odd":      {odd.Definition(), oddService},
	"echo":     {echo.Definition(), echoService},
	"tick":     {tick, tickService},
	"pay":      {pay.Definition(), payService},
	"approval": {approval.Definition(), approvalService},
	"gated":    {gated.Definition(), gatedService},
	"limited":  {limited.Definition(), limitedService},
	"serial":   {serial.Definition(), serialService},
	"single":   {single.Definition(), singleService},
}

var errFirst = errors.New("the first attempt fails")

// hands does the work of a worker process.
type hands struct {
	errand errand
	ledger *os.File
}

// begin writes down that an attempt began, and works a while.
func (h *hands) begin(ctx context.Context) (handler.Task, error) {
	task, _ := handler.TaskFromContext(ctx)
	// One write, so that it is there whole or not at all, and stays when the
	// process is killed.
	_, err := fmt.Fprintf(h.ledger, "%s %s %d %d\n", task.RunID, task.Step, task.Index, task.Attempt)
	if err != nil {
		return task, err
	}
	if h.errand.Most == 0 {
		return task, nil
	}
	return task, pause(ctx, h.errand.Least+rand.N(h.errand.Most-h.errand.Least+1))
}

// pause waits, unless the context ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		handler.Logger(ctx).Info("the context ended", "cause", context.Cause(ctx).Error())
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// A number is what the flows below take.
type number struct {
	N      int    `json:"n"`
	Millis int    `json:"millis,omitempty"` // how long job works
	Do     string `json:"do,omitempty"`     // what odd does the first time, or always; job, in the end
}

// sum is a flow of five steps and seven tasks, whose output says whether all of
// them did what they had to: a root, two steps behind it, one of which is mapped
// over, and one that joins. The first attempt at some of its tasks fails.
var sum = runtime.NewFlow[number](spec.Flow{Slug: "sum",
	BaseDelay: spec.Set(time.Duration(0)),
	Steps: []spec.Step{
		{Slug: "prepare"},
		{Slug: "list", Deps: []string{"prepare"}},
		{Slug: "side", Deps: []string{"prepare"}},
		{Slug: "square", Type: spec.TypeMap, Deps: []string{"list"}},
		{Slug: "total", Deps: []string{"square", "side"}},
	},
}, handler.Output[int]("total"))

const (
	sumTasks  = 7
	sumFlakes = 10 // one in so many runs needs two attempts at its step side
)

// wantSum is the output of sum for a number.
func wantSum(n int) int {
	a := n + 1
	return n + 7*a + a*a + (a+1)*(a+1) + (a+2)*(a+2)
}

func sumService(h *hands) handler.Service {
	type parts struct {
		Input  number
		Square []int
		Side   int
	}
	type wire struct {
		Input  number `json:"run"`
		Square []int  `json:"square"`
		Side   int    `json:"side"`
	}
	join := handler.Join(func(w wire) parts { return parts(w) }, "run", "square", "side")
	return handler.Serve(sum.Definition(), []handler.Handler{
		handler.Handle("prepare", handler.Input[number](), func(ctx context.Context, in number) (int, error) {
			_, err := h.begin(ctx)
			return in.N + 1, err
		}),
		handler.Handle("list", handler.Output[int]("prepare"), func(ctx context.Context, a int) ([]int, error) {
			_, err := h.begin(ctx)
			return []int{a, a + 1, a + 2}, err
		}),
		handler.Handle("side", handler.Output[int]("prepare"), func(ctx context.Context, a int) (int, error) {
			task, err := h.begin(ctx)
			if err == nil && a%sumFlakes == 0 && task.Attempt == 1 {
				err = errFirst
			}
			return 7 * a, err
		}),
		handler.Handle("square", handler.Item[int](), func(ctx context.Context, a int) (int, error) {
			_, err := h.begin(ctx)
			return a * a, err
		}),
		handler.Handle("total", join, func(ctx context.Context, in parts) (int, error) {
			_, err := h.begin(ctx)
			all := in.Input.N + in.Side
			for _, square := range in.Square {
				all += square
			}
			return all, err
		}),
	})
}

// approval is a flow that waits for an answer, between two steps, for three seconds. Its
// output is the answer, or -1.
var approval = runtime.NewFlow[number](spec.Flow{Slug: "approval",
	BaseDelay: spec.Set(time.Duration(0)),
	Steps: []spec.Step{
		{Slug: "check"},
		{Slug: "approve", Type: spec.TypeWait, Deps: []string{"check"}, Timeout: 3 * time.Second, WhenExhausted: spec.ModeSkip},
		{Slug: "ship", Deps: []string{"approve"}},
	},
}, handler.Output[int]("ship"))

func approvalService(h *hands) handler.Service {
	return handler.Serve(approval.Definition(), []handler.Handler{
		handler.Handle("check", handler.Input[number](), func(ctx context.Context, in number) (int, error) {
			_, err := h.begin(ctx)
			return in.N, err
		}),
		handler.Handle("ship", handler.Output[*int]("approve"), func(ctx context.Context, answer *int) (int, error) {
			_, err := h.begin(ctx)
			if answer == nil {
				return -1, err
			}
			return *answer, err
		}),
	})
}

// fan is a flow that maps over as many numbers as it is told.
var fan = runtime.NewFlow[number](spec.Flow{Slug: "fan",
	BaseDelay: spec.Set(time.Duration(0)),
	Steps: []spec.Step{
		{Slug: "spread"},
		{Slug: "double", Type: spec.TypeMap, Deps: []string{"spread"}},
		{Slug: "gather", Deps: []string{"double"}},
	},
}, handler.Output[int]("gather"))

func fanService(h *hands) handler.Service {
	return handler.Serve(fan.Definition(), []handler.Handler{
		handler.Handle("spread", handler.Input[number](), func(ctx context.Context, in number) ([]int, error) {
			_, err := h.begin(ctx)
			all := make([]int, in.N)
			for i := range all {
				all[i] = i
			}
			return all, err
		}),
		handler.Handle("double", handler.Item[int](), func(ctx context.Context, i int) (int, error) {
			_, err := h.begin(ctx)
			return 2 * i, err
		}),
		handler.Handle("gather", handler.Output[[]int]("double"), func(ctx context.Context, all []int) (total int, err error) {
			_, err = h.begin(ctx)
			for _, n := range all {
				total += n
			}
			return total, err
		}),
	})
}

// job is a flow of one step, which takes as long as it is told.
var job = runtime.NewFlow[number](spec.Flow{Slug: "job",
	Steps: []spec.Step{{Slug: "job"}},
}, handler.Output[int]("job"))

func jobService(h *hands) handler.Service {
	return handler.Serve(job.Definition(), []handler.Handler{
		handler.Handle("job", handler.Input[number](), func(ctx context.Context, in number) (int, error) {
			if _, err := h.begin(ctx); err != nil {
				return 0, err
			}
			err := pause(ctx, time.Duration(in.Millis)*time.Millisecond)
			if in.Do == "exit" {
				os.Exit(7)
			}
			return in.N, err
		}),
	})
}

// odd is a flow of one step, whose first attempt may go wrong in ways that no handler
// should. An attempt may take a second.
var odd = runtime.NewFlow[number](spec.Flow{Slug: "odd",
	BaseDelay: spec.Set(time.Duration(0)),
	Timeout:   time.Second,
	Steps:     []spec.Step{{Slug: "odd"}},
}, handler.Output[int]("odd"))

func oddService(h *hands) handler.Service {
	return handler.Serve(odd.Definition(), []handler.Handler{
		handler.Handle("odd", handler.Input[number](), func(ctx context.Context, in number) (int, error) {
			exited := in.Do == "exit" && h.began(ctx)
			task, err := h.begin(ctx)
			if err != nil {
				return 0, err
			}
			switch {
			case in.Do == "panic" && task.Attempt == 1:
				panic("at the disco")
			case in.Do == "exit" && !exited:
				os.Exit(7)
			case in.Do == "deaf" && task.Attempt == 1:
				time.Sleep(3 * time.Second)
			case in.Do == "stone deaf":
				select {}
			}
			return in.N, nil
		}),
	})
}

// echo is a flow that returns its input.
var echo = runtime.NewFlow[json.RawMessage](spec.Flow{Slug: "echo",
	Steps: []spec.Step{{Slug: "echo"}},
}, handler.Output[json.RawMessage]("echo"))

func echoService(h *hands) handler.Service {
	return handler.Serve(echo.Definition(), []handler.Handler{
		handler.Handle("echo", handler.Input[json.RawMessage](), func(ctx context.Context, in json.RawMessage) (json.RawMessage, error) {
			_, err := h.begin(ctx)
			return in, err
		}),
	})
}

// tick is a flow of two steps that the clock starts every second. Both give the
// time that the run is for.
var tick = spec.Flow{Slug: "tick",
	Cron:      "@every 1s",
	BaseDelay: spec.Set(time.Duration(0)),
	Steps:     []spec.Step{{Slug: "first"}, {Slug: "second", Deps: []string{"first"}}},
}

func tickService(h *hands) handler.Service {
	do := func(ctx context.Context, _ dsl.None) (time.Time, error) {
		_, err := h.begin(ctx)
		return handler.Tick(ctx), err
	}
	return handler.Serve(tick, []handler.Handler{
		handler.Handle("first", handler.Nothing(), do),
		handler.Handle("second", handler.Nothing(), do),
	})
}

// began reports whether some worker began the task of the context before.
func (h *hands) began(ctx context.Context) bool {
	task, _ := handler.TaskFromContext(ctx)
	text, err := os.ReadFile(h.errand.Ledger)
	return err == nil && bytes.Contains(text, []byte(task.RunID))
}
