package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"time"

	"github.com/flowc-dev/flowc/dsl"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/jsontext"
	"github.com/flowc-dev/flowc/runtime/internal/valid"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A Signaller is a [Backend] with steps that wait: [spec.TypeWait]. With any other,
// [Signal] and the like return [ErrNeedsEngine].
type Signaller interface {
	// Signal answers a step of a run. If the step does not wait, and will not, it returns a
	// [NotWaitingError].
	Signal(ctx context.Context, s SignalRequest) (Signalled, error)
	// SignalBy answers the runs of a flow that wait with a key. ok is false if the step
	// has no key.
	SignalBy(ctx context.Context, s KeyedSignal) (ok bool, _ error)
	// ListWaiting returns a page of steps that wait.
	ListWaiting(ctx context.Context, filter WaitingFilter) ([]Waiting[handler.Values], error)
}

// A SignalRequest is an answer to a step of a run.
type SignalRequest struct {
	RunID string
	// Flow is the flow, in any version, that the run has to belong to. Empty means any.
	Flow string
	Step string
	// Answer is the output of the step. If Failure is not empty, the step fails with it
	// instead.
	Answer  json.RawMessage
	Failure string
	// Sender is who answers, if that is known.
	Sender string
}

// A KeyedSignal is an answer to the runs of a flow that wait with a key.
type KeyedSignal struct {
	Flow, Step, Key string
	Answer          json.RawMessage
	Sender          string
}

// A Signalled is what became of an answer.
type Signalled string

const (
	// Accepted is an answer that counts: it is the first. If it is sent in a transaction, the
	// wait does not expire before that ends.
	Accepted Signalled = "accepted"
	// Already is an answer that changes nothing, because there is one already: somebody
	// was faster, or the call was repeated.
	Already Signalled = "already"
)

// ErrNotWaiting says that a step waits for no answer, and will not: the run has ended, or
// the step is over without an answer. It comes as a [NotWaitingError].
var ErrNotWaiting = errors.New("step does not wait for an answer")

// A NotWaitingError is an [ErrNotWaiting] with what the step is instead.
type NotWaitingError struct {
	RunID, Step string
	// Status is that of the run if it has ended: completed, failed or cancelled. Otherwise
	// it is that of the step: failed, or skipped.
	Status string
}

func (e *NotWaitingError) Error() string {
	what := "the run is " + e.Status
	if e.Status == string(StepSkipped) {
		what = "it was skipped"
	}
	return fmt.Sprintf("flowc: step %s of run %s: %v: %s", e.Step, e.RunID, ErrNotWaiting, what)
}

// Is reports whether target is [ErrNotWaiting].
func (e *NotWaitingError) Is(target error) bool { return target == ErrNotWaiting }

// A SignalOption configures an answer: there is [WithSender].
type SignalOption interface{ applySignal(*signalOptions) error }

type signalOptions struct{ sender string }

type signalOption func(*signalOptions) error

func (f signalOption) applySignal(o *signalOptions) error { return f(o) }

// WithSender records who answers, which is shown with the run: a name, or an address.
func WithSender(name string) SignalOption {
	return signalOption(func(o *signalOptions) error {
		o.sender = name
		return valid.Text("the name of WithSender", name)
	})
}

// Signal answers a step of a run that waits: a [spec.TypeWait]. The answer is encoded as
// JSON and becomes the output of the step. An answer that comes before the step waits is
// kept until it does. The first answer counts; for every other, the result is [Already],
// which is no error.
//
// In a transaction, the answer counts when the transaction commits. It holds up nobody,
// however long that takes, except others who answer the same step; nor does the wait expire
// meanwhile. A worker that serves the flow then goes on with the run.
//
// Errors: [InputError] for an answer that cannot be stored; [ErrInvalidRunID];
// [ErrInvalidOption]; [ErrRunNotFound], also if the run has no such step that waits;
// [ErrNotWaiting]; [ErrNeedsEngine].
func Signal(ctx context.Context, db DB, runID, step string, answer any, opts ...SignalOption) (Signalled, error) {
	return signal(ctx, db, SignalRequest{RunID: runID, Step: step}, answer, opts)
}

// FailWait ends a step of a run that waits, or will, as if nobody had answered in time: it
// fails with a reason, and its when_exhausted decides what becomes of the run. Like an answer
// it counts only if it is the first.
//
// Errors: those of [Signal]; [ErrInvalidOption] for a reason that is empty or no text.
func FailWait(ctx context.Context, db DB, runID, step, reason string, opts ...SignalOption) (Signalled, error) {
	if reason == "" {
		return "", valid.Option("the reason is empty")
	}
	if err := valid.Text("the reason", reason); err != nil {
		return "", err
	}
	return signal(ctx, db, SignalRequest{RunID: runID, Step: step, Failure: reason}, nil, opts)
}

func signal(ctx context.Context, db DB, s SignalRequest, answer any, opts []SignalOption) (Signalled, error) {
	if _, err := valid.RunID(s.RunID); err != nil {
		return "", err
	}
	err := s.prepare(answer, opts)
	if err != nil {
		return "", err
	}
	if b, ok := capability[Router](db); ok {
		if db, err = b.DBOf(ctx, s.RunID); err != nil {
			return "", fmt.Errorf("flowc: answering step %s of run %s: %w", s.Step, s.RunID, err)
		}
	}
	result, err := onCapable(ctx, db, func(b Signaller) (Signalled, error) { return b.Signal(ctx, s) })
	switch {
	case err == nil, errors.Is(err, ErrNotWaiting):
		return result, err
	}
	return "", fmt.Errorf("flowc: answering step %s of run %s: %w", s.Step, s.RunID, err)
}

// prepare checks a request, and adds the answer and the options.
func (s *SignalRequest) prepare(answer any, opts []SignalOption) (err error) {
	if err := checkStep(s.Step); err != nil {
		return err
	}
	if s.Failure == "" {
		if s.Answer, err = encodeAnswer(s.Flow, answer); err != nil {
			return err
		}
	}
	o, err := signalOptionsOf(opts)
	s.Sender = o.sender
	return err
}

func checkStep(step string) error {
	if step == "" {
		return valid.Option("the step is empty")
	}
	return valid.Text("the step", step)
}

// encodeAnswer encodes an answer as workers encode the output of a handler; [dsl.None] is
// that of one without an output.
func encodeAnswer(flow string, answer any) (json.RawMessage, error) {
	if _, none := answer.(dsl.None); none {
		answer = nil
	}
	raw, err := jsontext.Encode(answer)
	if err != nil {
		return nil, &InputError{Flow: flow, Err: err}
	}
	return raw, nil
}

func signalOptionsOf(opts []SignalOption) (o signalOptions, _ error) {
	for _, opt := range opts {
		if opt == nil {
			return o, valid.Option("an option is nil")
		}
		if err := opt.applySignal(&o); err != nil {
			return o, err
		}
	}
	return o, nil
}

// SignalBy answers every run of a flow that waits with a key in a step, see [spec.Step.Key]:
// a string, or a whole number. If none does, the answer is kept, for [spec.Step.Keep], and
// given to the next run that waits with the key; several answers are given to as many runs,
// in the order in which they came. It answers runs of this version of the flow alone.
//
// In a transaction, the answer counts when the transaction commits, and it holds up nobody.
//
// Errors: [InputError] for an answer that cannot be stored; [ErrInvalidSlug];
// [ErrInvalidOption] for a key that is none, or if the step has none; [ErrFlowNotFound];
// [ErrNeedsEngine].
func SignalBy(ctx context.Context, db DB, flow, step string, key, answer any, opts ...SignalOption) error {
	if err := valid.FlowSlug(flow); err != nil {
		return err
	}
	s := KeyedSignal{Flow: flow, Step: step}
	err := s.prepare(key, answer, opts)
	if err != nil {
		return err
	}
	ok, err := onCapable(ctx, db, func(b Signaller) (bool, error) { return b.SignalBy(ctx, s) })
	switch {
	case errors.Is(err, ErrFlowNotFound):
		return err
	case err != nil:
		return fmt.Errorf("flowc: answering step %s of flow %s: %w", step, flow, err)
	case !ok:
		return valid.Option("flow %s has no step %s that waits with a key", flow, step)
	}
	return nil
}

// prepare checks a request, and adds the key, the answer and the options.
func (s *KeyedSignal) prepare(key, answer any, opts []SignalOption) (err error) {
	if err := checkStep(s.Step); err != nil {
		return err
	}
	if s.Key, err = keyText(key); err != nil {
		return err
	}
	if s.Answer, err = encodeAnswer(s.Flow, answer); err != nil {
		return err
	}
	o, err := signalOptionsOf(opts)
	s.Sender = o.sender
	return err
}

// keyText returns a key as the database compares it.
func keyText(key any) (text string, _ error) {
	v := reflect.ValueOf(key)
	switch {
	case !v.IsValid():
		return "", valid.Option("the key is nil")
	case v.Kind() == reflect.String:
		text = v.String()
	case v.CanInt():
		text = strconv.FormatInt(v.Int(), 10)
	case v.CanUint():
		text = strconv.FormatUint(v.Uint(), 10)
	default:
		return "", valid.Option("the key is a %T, it must be a string or a whole number", key)
	}
	switch {
	case text == "":
		return "", valid.Option("the key is empty")
	case len(text) > spec.MaxKey:
		return "", valid.Option("the key has %d bytes, the limit is %d", len(text), spec.MaxKey)
	}
	return text, valid.Text("the key", text)
}

// A Waiting is a step of a run that waits for an answer. In is what the one who answers is
// shown: the input of the step.
type Waiting[In any] struct {
	RunID string `json:"run_id"`
	Flow  string `json:"flow"`
	Step  string `json:"step"`
	// Since is when it began to wait, Until when it gives up; zero if it never does.
	Since time.Time `json:"since"`
	Until time.Time `json:"until,omitzero"`
	// Key is the key with which it waits, if it has one.
	Key string `json:"key,omitempty"`
	// Input is what the one who answers is shown.
	Input In `json:"input"`
	// Err is why Input could not be read, an [OutputError], nil if it was: another version of
	// the flow may have another type.
	Err error `json:"-"`
}

// A WaitingFilter selects the steps that [ListWaiting] returns. The zero value selects all.
type WaitingFilter struct {
	// Flows and Steps limit it to these flows, in any version, and steps; empty means any.
	Flows, Steps []string
	// RunID limits it to the steps of one run, Key to those that wait with a key.
	RunID, Key string
	// After is the last one of the previous page; nil means the first page.
	After *WaitingCursor
	// Limit is how many a page has at most, 1 to 1000. Defaults to 50.
	Limit int
}

// A WaitingCursor is the place of a [Waiting] in the list.
type WaitingCursor struct {
	RunID string
	Step  string
	Until time.Time
}

// Cursor returns the place in the list, for [WaitingFilter.After].
func (w Waiting[In]) Cursor() *WaitingCursor {
	return &WaitingCursor{RunID: w.RunID, Step: w.Step, Until: w.Until}
}

// ListWaiting returns a page of steps that wait for an answer, those that expire first
// before others. One that was answered is not in it, also if no worker has taken the answer
// yet. Input has the values that the step would get.
//
// Errors: [ErrInvalidOption]; [ErrInvalidRunID]; [ErrNeedsEngine].
func ListWaiting(ctx context.Context, db DB, filter WaitingFilter) ([]Waiting[handler.Values], error) {
	if err := filter.check(); err != nil {
		return nil, err
	}
	if filter.Limit == 0 {
		filter.Limit = 50
	}
	all, err := onCapable(ctx, db, func(b Signaller) ([]Waiting[handler.Values], error) { return b.ListWaiting(ctx, filter) })
	if err != nil {
		return nil, fmt.Errorf("flowc: listing the steps that wait: %w", err)
	}
	return all, nil
}

func (f WaitingFilter) check() error {
	if f.Limit < 0 || f.Limit > 1000 {
		return valid.Option("Limit of a WaitingFilter is %d, it must be 1 to 1000", f.Limit)
	}
	for _, text := range append(append([]string{f.Key}, f.Flows...), f.Steps...) {
		if err := valid.Text("a text of a WaitingFilter", text); err != nil {
			return err
		}
	}
	if f.RunID != "" {
		if _, err := valid.RunID(f.RunID); err != nil {
			return err
		}
	}
	if f.After != nil {
		if _, err := valid.RunID(f.After.RunID); err != nil {
			return err
		}
		return valid.Time("Until of a WaitingCursor", f.After.Until)
	}
	return nil
}

// ListWaitingFor returns what [ListWaiting] does for one step of a flow, in any version, with
// its input read as its type. Generated code calls it.
//
// Errors: those of [ListWaiting].
func ListWaitingFor[In any](ctx context.Context, db DB, flow, step string, input handler.Source[In], filter WaitingFilter) ([]Waiting[In], error) {
	filter.Flows, filter.Steps = []string{flow}, []string{step}
	all, err := ListWaiting(ctx, db, filter)
	if err != nil {
		return nil, err
	}
	typed := make([]Waiting[In], len(all))
	for i, w := range all {
		typed[i] = Waiting[In]{RunID: w.RunID, Flow: w.Flow, Step: w.Step, Since: w.Since, Until: w.Until, Key: w.Key}
		if typed[i].Input, err = input.Read(w.Input); err != nil {
			typed[i].Err = &OutputError{RunID: w.RunID, Flow: w.Flow, Err: fmt.Errorf("input of step %s: %w", step, err)}
		}
	}
	return typed, nil
}

// Signal answers a step of a run of the flow, in any version, see [Signal]. A run of
// another flow is not found.
func (f *Flow[In, Out]) Signal(ctx context.Context, db DB, runID, step string, answer any, opts ...SignalOption) (Signalled, error) {
	return signal(ctx, db, SignalRequest{RunID: runID, Flow: f.definition.Slug, Step: step}, answer, opts)
}

// SignalBy answers the runs of the flow that wait with a key, see [SignalBy].
func (f *Flow[In, Out]) SignalBy(ctx context.Context, db DB, step string, key, answer any, opts ...SignalOption) error {
	return SignalBy(ctx, db, f.definition.Slug, step, key, answer, opts...)
}
