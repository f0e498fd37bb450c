package handler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/flowc-dev/flowc/dsl"
	"github.com/flowc-dev/flowc/runtime/internal/jsontext"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A Handler runs the tasks of one step. [Handle] returns one.
type Handler struct {
	step  string
	input bool
	work  func(context.Context, Values) (json.RawMessage, error)

	around []Middleware // the outermost first
	strict bool         // see Strict
}

// Step returns the slug of the step whose tasks the handler runs.
func (h Handler) Step() string { return h.step }

// NeedsInput reports whether the handler reads the run's input.
func (h Handler) NeedsInput() bool { return h.input }

// Work runs one task: it decodes the input of the step, calls the user's function and encodes
// its result. A value that cannot be decoded or encoded fails the task without further
// attempts, since retrying cannot fix it.
func (h Handler) Work(ctx context.Context, v Values) (json.RawMessage, error) {
	v.Strict = h.strict
	return h.through(ctx, v, h.around)
}

// Handle returns the handler of a step from a function with the types of the step's
// declaration. Generated code calls it. A nil slice is stored as the empty list, unless it
// is a []byte.
func Handle[In, Out any](step string, in Source[In], fn func(context.Context, In) (Out, error)) Handler {
	return handle(step, in, func(ctx context.Context, _ Values, in In) (Out, error) { return fn(ctx, in) })
}

// HandleTx is [Handle] for a step with [spec.Step.Tx]. Tx is pgx.Tx or *sql.Tx.
func HandleTx[Tx, In, Out any](step string, in Source[In], fn func(context.Context, Tx, In) (Out, error)) Handler {
	return handle(step, in, func(ctx context.Context, v Values, in In) (out Out, err error) {
		tx, ok := v.Tx.(Tx)
		if !ok {
			return out, Permanent(fmt.Errorf("flowc: the handler of step %s needs a transaction of type %s, and got %T", step, reflect.TypeFor[Tx](), v.Tx))
		}
		return fn(ctx, tx, in)
	})
}

func handle[In, Out any](step string, in Source[In], fn func(context.Context, Values, In) (Out, error)) Handler {
	return Handler{step: step, input: in.Input, work: func(ctx context.Context, v Values) (json.RawMessage, error) {
		value, err := in.Read(v)
		if err != nil {
			return nil, Permanent(fmt.Errorf("flowc: input of step %s: %w", step, err))
		}
		out, err := fn(ctx, v, value)
		if err != nil {
			return nil, err
		}
		if _, none := any(out).(dsl.None); none {
			return json.RawMessage("null"), nil
		}
		raw, err := jsontext.Encode(out)
		if err != nil {
			return nil, Permanent(fmt.Errorf("flowc: output of step %s: %w", step, err))
		}
		return raw, nil
	}}
}

// HandleValues returns the handler of a step of a flow that is known only at run time.
// The function reads what it needs from the values, and its result is encoded as [Handle]
// does it.
func HandleValues(step string, fn func(context.Context, Values) (any, error)) Handler {
	all := Source[Values]{Input: true, Read: func(v Values) (Values, error) { return v, nil }}
	return Handle(step, all, fn)
}

// NoOutput adapts a function without a result for [Handle].
func NoOutput[In any](fn func(context.Context, In) error) func(context.Context, In) (dsl.None, error) {
	return func(ctx context.Context, in In) (dsl.None, error) { return dsl.None{}, fn(ctx, in) }
}

// NoInput adapts a function without an input for [Handle].
func NoInput[Out any](fn func(context.Context) (Out, error)) func(context.Context, dsl.None) (Out, error) {
	return func(ctx context.Context, _ dsl.None) (Out, error) { return fn(ctx) }
}

// NoValues adapts a function with neither for [Handle].
func NoValues(fn func(context.Context) error) func(context.Context, dsl.None) (dsl.None, error) {
	return func(ctx context.Context, _ dsl.None) (dsl.None, error) { return dsl.None{}, fn(ctx) }
}

// NoOutputTx adapts a function without a result for [HandleTx].
func NoOutputTx[Tx, In any](fn func(context.Context, Tx, In) error) func(context.Context, Tx, In) (dsl.None, error) {
	return func(ctx context.Context, tx Tx, in In) (dsl.None, error) { return dsl.None{}, fn(ctx, tx, in) }
}

// NoInputTx adapts a function without an input for [HandleTx].
func NoInputTx[Tx, Out any](fn func(context.Context, Tx) (Out, error)) func(context.Context, Tx, dsl.None) (Out, error) {
	return func(ctx context.Context, tx Tx, _ dsl.None) (Out, error) { return fn(ctx, tx) }
}

// NoValuesTx adapts a function with neither for [HandleTx].
func NoValuesTx[Tx any](fn func(context.Context, Tx) error) func(context.Context, Tx, dsl.None) (dsl.None, error) {
	return func(ctx context.Context, tx Tx, _ dsl.None) (dsl.None, error) { return dsl.None{}, fn(ctx, tx) }
}

// A Service is a flow with the handlers of its steps, for a worker. The Serve function of a
// generated package returns one.
type Service struct {
	definition spec.Flow
	handlers   []Handler
	limits     map[string]int // by step, "" is the flow
}

// Definition returns the flow that the service serves.
func (s Service) Definition() spec.Flow { return s.definition }

// Handlers returns the handlers, one for each step that the service runs.
func (s Service) Handlers() []Handler { return s.handlers }

// A ServeOption configures a service.
type ServeOption interface{ serve(*Service) }

type serveOption func(*Service)

func (f serveOption) serve(s *Service) { f(s) }

// Without leaves steps, named by the constants of the generated package, to another worker
// or another language. It panics if the flow has no such step.
func Without(steps ...string) ServeOption {
	return serveOption(func(s *Service) {
		for _, step := range steps {
			s.drop(step)
		}
	})
}

// Strict makes a task fail without further attempts if its input has a field that its Go
// type lacks. Otherwise such fields are dropped silently, as when a field was renamed
// while runs were in flight; with it, the run can be retried with runtime.RetryRun by a
// program that reads the field. Types that implement json.Unmarshaler decide for
// themselves.
func Strict() ServeOption {
	return serveOption(func(s *Service) {
		handlers := make([]Handler, len(s.handlers))
		for i, h := range s.handlers {
			h.strict = true
			handlers[i] = h
		}
		s.handlers = handlers
	})
}

// NoDelays removes the delays of a flow: between the attempts of a task, also those that a
// handler requests with [RetryAfter] or [HoldOff], and before steps with a start delay. It is for tests,
// which upsert the definition of the service in a database of their own.
func NoDelays() ServeOption {
	return serveOption(func(s *Service) {
		steps := slices.Clone(s.definition.Steps)
		for i := range steps {
			steps[i].BaseDelay, steps[i].StartDelay = nil, 0
			steps[i].StartAt, steps[i].StartDelayFrom = nil, nil
		}
		s.definition.Steps, s.definition.BaseDelay = steps, spec.Set(time.Duration(0))
		Use(func(ctx context.Context, _ Task, next func(context.Context) error) error {
			err := next(ctx)
			if later := (*RetryAfterError)(nil); errors.As(err, &later) {
				return RetryAfter(0, err)
			}
			if later := (*HoldOffError)(nil); errors.As(err, &later) {
				return HoldOff(0, err)
			}
			return err
		}).serve(s)
	})
}

func (s *Service) drop(step string) {
	for i, h := range s.handlers {
		if h.step == step {
			s.handlers = append(s.handlers[:i:i], s.handlers[i+1:]...)
			return
		}
	}
	panic(fmt.Sprintf("flowc: Without(%q): the flow %s has no such step", step, s.definition.Slug))
}

// Serve returns the service of a flow from its definition and the handlers of its steps.
// Steps without a handler are left to other workers. It is for flows that are known only at
// run time; generated code calls runtime.Flow.Serve.
func Serve(def spec.Flow, handlers []Handler, opts ...ServeOption) Service {
	s := Service{definition: def, handlers: handlers}
	for _, opt := range opts {
		opt.serve(&s)
	}
	return s
}

// As returns the same service for a flow of the same shape under another slug.
func (s Service) As(slug string) Service {
	s.definition = s.definition.As(slug)
	return s
}
