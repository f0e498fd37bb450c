package conformance

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/flowtest"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// The suite bites: an engine with a fault fails rows, and runs random flows otherwise.
func TestMutations(t *testing.T) {
	t.Parallel()
	var r random
	t.Run("without a fault", func(t *testing.T) {
		r = runRandom(t)
		require.Zero(t, r.differing(t, inline))
	})
	for name, tt := range map[string]struct {
		engine Engine
		rows   []string // which have to fail
	}{
		"wrong element": {withValues(firstItem()),
			[]string{"map over the input", "map over a step and over a map", "map over many", "element that fails"}},
		"outputs dropped": {withValues(func(_ handler.Task, v *handler.Values) {
			if v.Outputs != nil {
				v.Outputs = json.RawMessage(`{}`)
			}
		}), []string{"typed start and wait", "values of a step", "condition met", "map over a step and over a map"}},
		"input dropped": {withValues(func(_ handler.Task, v *handler.Values) { v.Input = json.RawMessage(`null`) }),
			[]string{"values of a step", "map over the input", "attempts"}},
		"one attempt too many": {withSteps(func(s *spec.Step) { s.MaxAttempts++ }),
			[]string{"attempts exhausted", "task and middleware"}},
		"one attempt too few": {withSteps(func(s *spec.Step) { s.MaxAttempts = max(1, s.MaxAttempts-1) }),
			[]string{"attempts", "attempts exhausted", "task and middleware"}},
		"skip that should fail": {withSteps(func(s *spec.Step) {
			if s.WhenExhausted != spec.ModeSkipCascade {
				s.WhenExhausted = spec.ModeSkip
			}
		}), []string{"exhausted, fail", "attempts exhausted", refusedSkip, "element that fails"}},
		"failure that should skip": {withSteps(func(s *spec.Step) { s.WhenExhausted = spec.ModeFail }),
			[]string{"exhausted, skip", "exhausted, skip-cascade", "skip", "element that fails, skip"}},
		"cascade cut short after a failure": {withSteps(func(s *spec.Step) {
			if s.WhenExhausted == spec.ModeSkipCascade {
				s.WhenExhausted = spec.ModeSkip
			}
		}), []string{"exhausted, skip-cascade"}},
		"cascade cut short after a condition": {withSteps(func(s *spec.Step) {
			if s.WhenUnmet == spec.ModeSkipCascade {
				s.WhenUnmet = spec.ModeSkip
			}
		}), []string{"condition unmet, skip-cascade"}},
		"conditions ignored": {withSteps(func(s *spec.Step) { s.If, s.IfNot, s.WhenUnmet = nil, nil, "" }),
			[]string{"condition unmet, skip", "condition unmet, skip-cascade", "condition unmet, fail", "condition that must not hold", "condition on the output of a step"}},
		"error text lost": {withBackend(func(b capable) runtime.Backend { return mute{b} }),
			[]string{"exhausted, fail", "exhausted, skip", "attempts exhausted", "permanent", "panic", "long error", "type violation"}},
		"permanent failures retried": {withErrors(func(err error) error {
			if errors.As(err, new(*handler.PermanentError)) {
				return errors.New(err.Error())
			}
			return err
		}), []string{"permanent", permanentAttempts, "output that cannot be stored"}},
		"skips retried": {withErrors(func(err error) error {
			var skip *handler.SkipError
			if errors.As(err, &skip) {
				return errors.New(skip.Reason)
			}
			return err
		}), []string{"skip", refusedSkip}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bites(t, tt.engine, quick, tt.rows)
			require.NotZero(t, r.differing(t, tt.engine), "no random flow finds it")
		})
	}
}

// bites checks that some rows of topics fail on an engine with a fault.
func bites(t *testing.T, e Engine, topics []topic, rows []string) {
	t.Helper()
	var mu sync.Mutex
	failures := map[string]error{}
	t.Run("rows", func(t *testing.T) {
		e.run(t, topics, func(_ *testing.T, row string, failure error) {
			mu.Lock()
			defer mu.Unlock()
			failures[row] = failure
		})
	})
	for _, row := range rows {
		failure, there := failures[row]
		require.True(t, there, "there is no row %q", row)
		require.Error(t, failure, "the row %q passes", row)
	}
}

// A random is some random flows with their runs as they should be.
type random struct {
	flows []randomFlow
	want  []*runtime.RunInfo
}

func runRandom(t *testing.T) random {
	flows := examples(1, 150, true)
	return random{flows, runAll(t, inline, flows)}
}

// differing returns how many of the flows an engine runs otherwise.
func (r random) differing(t *testing.T, e Engine) (n int) {
	var first error
	for i, run := range runAll(t, e, r.flows) {
		if err := r.flows[i].compare(inline, r.want[i], run); err != nil {
			n++
			first = cmp.Or(first, err)
		}
	}
	t.Logf("%d of %d flows, the first: %v", n, len(r.flows), first)
	return n
}

// Other faults are of what random flows do not do.
func TestMutationsOfStarts(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		backend func(capable) runtime.Backend
		rows    []string
	}{
		"existing runs not said": {func(b capable) runtime.Backend { return forgetful{b} },
			[]string{"existed by key", "existed by run id"}},
		"headers lost": {func(b capable) runtime.Backend { return bare{b} }, []string{"headers"}},
		"some of many started": {func(b capable) runtime.Backend { return oneByOne{b} },
			[]string{"start many, all or none"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bites(t, withBackend(tt.backend), quick[:2], tt.rows) // starts and values
		})
	}
}

// A row that is declined has to fail, and as it was said.
func TestDeclines(t *testing.T) {
	t.Parallel()
	e := Engine{Declines: map[string]Difference{
		"needs":   {Why: "it needs the engine"},
		"differs": {Why: "it is late", Says: "too late"},
	}}
	needs, late := fmt.Errorf("listing: %w", runtime.ErrNeedsEngine), errors.New("it came too late")
	for name, tt := range map[string]struct {
		row     string
		failure error
		message string // empty if that is as it should be
	}{
		"passes":                            {row: "other"},
		"fails":                             {row: "other", failure: late, message: "it came too late"},
		"needs the engine, not declined":    {row: "other", failure: needs, message: "listing"},
		"declined, needs the engine":        {row: "needs", failure: needs},
		"declined, fails otherwise":         {row: "needs", failure: late, message: "fails with another error"},
		"declined, passes":                  {row: "needs", message: "the row is declined, and passes: it needs the engine"},
		"differs":                           {row: "differs", failure: late},
		"differs otherwise":                 {row: "differs", failure: needs, message: `without saying "too late"`},
		"should differ, and does not":       {row: "differs", message: "the row is declined, and passes"},
		"declined with a text, wrong error": {row: "differs", failure: errors.New("x"), message: "x"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := e.judge(tt.row, tt.failure)
			if tt.message == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.message)
		})
	}
}

// withServices returns an inline engine to which services come changed.
func withServices(change func(handler.Service) handler.Service) Engine {
	return Engine{Open: func(t *testing.T, services ...handler.Service) (runtime.DB, error) {
		changed := make([]handler.Service, len(services))
		for i, s := range services {
			changed[i] = change(s)
		}
		return inline.Open(t, changed...)
	}}
}

// withSteps returns an inline engine that has other steps than it is given. The number of
// attempts that a step inherits is its own when it is changed.
func withSteps(change func(*spec.Step)) Engine {
	return withServices(func(s handler.Service) handler.Service {
		flow := s.Definition()
		flow.Steps = append([]spec.Step{}, flow.Steps...)
		for i := range flow.Steps {
			step := &flow.Steps[i]
			for _, n := range []int{flow.MaxAttempts, spec.DefaultMaxAttempts} {
				if step.MaxAttempts == 0 {
					step.MaxAttempts = n
				}
			}
			change(step)
			if step.Type == spec.TypeWait {
				step.MaxAttempts = 0 // it has none
			}
		}
		return handler.Serve(flow, s.Handlers())
	})
}

// withHandlers returns an inline engine whose handlers are called by a function.
func withHandlers(call func(ctx context.Context, h handler.Handler, v handler.Values) (json.RawMessage, error)) Engine {
	return withServices(func(s handler.Service) handler.Service {
		functions := map[string]function{}
		for _, h := range s.Handlers() {
			functions[h.Step()] = func(ctx context.Context, v handler.Values) (any, error) { return call(ctx, h, v) }
		}
		return serve(s.Definition(), functions)
	})
}

// withValues returns an inline engine whose handlers get other values.
func withValues(change func(handler.Task, *handler.Values)) Engine {
	return withHandlers(func(ctx context.Context, h handler.Handler, v handler.Values) (json.RawMessage, error) {
		task, _ := handler.TaskFromContext(ctx)
		change(task, &v)
		return h.Work(ctx, v)
	})
}

// withErrors returns an inline engine that takes other errors from handlers.
func withErrors(change func(error) error) Engine {
	return withHandlers(func(ctx context.Context, h handler.Handler, v handler.Values) (json.RawMessage, error) {
		raw, err := h.Work(ctx, v)
		return raw, change(err)
	})
}

// firstItem changes the element that a task works on into that of the first task.
func firstItem() func(handler.Task, *handler.Values) {
	var first sync.Map
	return func(task handler.Task, v *handler.Values) {
		if v.Item != nil {
			item, _ := first.LoadOrStore(task.RunID+task.Step, v.Item)
			v.Item = item.(json.RawMessage)
		}
	}
}

// A capable is a backend with all that an inline one can do.
type capable interface {
	runtime.Backend
	runtime.Steerer
	runtime.Scheduler
	runtime.Signaller
}

// withBackend returns an inline engine with another backend.
func withBackend(change func(capable) runtime.Backend) Engine {
	return Engine{Open: func(_ *testing.T, services ...handler.Service) (runtime.DB, error) {
		db, err := openInline(services)
		if err != nil {
			return nil, err
		}
		return otherBackend{db, change(db.Backend().(capable))}, nil
	}}
}

type otherBackend struct {
	*flowtest.DB
	backend runtime.Backend
}

func (o otherBackend) Backend() runtime.Backend { return o.backend }

// mute says no errors.
type mute struct{ capable }

func (m mute) Run(ctx context.Context, id string, detail runtime.RunDetail) (*runtime.RunInfo, error) {
	info, err := m.capable.Run(ctx, id, detail)
	if err == nil {
		info.Error = ""
		for i := range info.States {
			info.States[i].Error = ""
		}
	}
	return info, err
}

func (m mute) Outcome(ctx context.Context, id string, want runtime.Want) (runtime.Outcome, error) {
	o, err := m.capable.Outcome(ctx, id, want)
	o.Message = ""
	return o, err
}

// forgetful does not say that a run existed.
type forgetful struct{ capable }

func (f forgetful) Start(ctx context.Context, r runtime.StartRequest) ([]runtime.StartedRun, error) {
	started, err := f.capable.Start(ctx, r)
	for i := range started {
		started[i].Existed = false
	}
	return started, err
}

// bare loses headers.
type bare struct{ capable }

func (b bare) Start(ctx context.Context, r runtime.StartRequest) ([]runtime.StartedRun, error) {
	for i := range r.Runs {
		r.Runs[i].Headers = nil
	}
	return b.capable.Start(ctx, r)
}

// oneByOne starts runs until it cannot start one.
type oneByOne struct{ capable }

func (o oneByOne) Start(ctx context.Context, r runtime.StartRequest) (all []runtime.StartedRun, _ error) {
	for _, run := range r.Runs {
		one := r
		one.Runs = []runtime.NewRun{run}
		started, err := o.capable.Start(ctx, one)
		if err != nil {
			return nil, err
		}
		all = append(all, started...)
	}
	return all, nil
}
