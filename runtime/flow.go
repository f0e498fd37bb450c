package runtime

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/valid"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A Flow is a definition with the types of its input and output. Generated
// packages hold one and offer its methods as functions.
type Flow[In, Out any] struct {
	definition spec.Flow
	output     handler.Source[Out]
}

// NewFlow returns a Flow. Generated code calls it.
func NewFlow[In, Out any](def spec.Flow, output handler.Source[Out]) *Flow[In, Out] {
	return &Flow[In, Out]{definition: def, output: output}
}

// Definition returns the flow as plain data.
func (f *Flow[In, Out]) Definition() spec.Flow { return f.definition }

// As returns the same flow under another slug, whose flow has to have the same shape.
func (f *Flow[In, Out]) As(slug string) *Flow[In, Out] {
	return NewFlow[In](f.definition.As(slug), f.output)
}

// Start starts a run, see [StartFlow].
func (f *Flow[In, Out]) Start(ctx context.Context, db DB, in In, opts ...StartOption) (*Run[Out], error) {
	return start(ctx, db, f.definition.Slug, typed(in), typedOutput(f.output), opts)
}

// StartIn starts a run after a delay, see [WithDelay].
func (f *Flow[In, Out]) StartIn(ctx context.Context, db DB, in In, delay time.Duration, opts ...StartOption) (*Run[Out], error) {
	return f.Start(ctx, db, in, withOption(opts, WithDelay(delay))...)
}

// StartAt starts a run at a time, see [WithStartAt].
func (f *Flow[In, Out]) StartAt(ctx context.Context, db DB, in In, at time.Time, opts ...StartOption) (*Run[Out], error) {
	return f.Start(ctx, db, in, withOption(opts, WithStartAt(at))...)
}

// StartSync starts a run, waits for it to end and returns its result. It waits for
// [DefaultSyncTimeout] unless [WithTimeout] is given. Its errors are those of [StartFlow]
// and [Run.Wait].
func (f *Flow[In, Out]) StartSync(ctx context.Context, db DB, in In, opts ...StartOption) (Out, error) {
	run, wait, err := startToWait(ctx, db, f.definition.Slug, typed(in), typedOutput(f.output), opts)
	if err != nil {
		return *new(Out), err
	}
	return run.Wait(ctx, wait...)
}

// StartMany starts a run for each input, see [StartMany].
func (f *Flow[In, Out]) StartMany(ctx context.Context, db DB, ins []In, opts ...StartOption) ([]*Run[Out], error) {
	inputs := make([]any, len(ins))
	for i, in := range ins {
		inputs[i] = typed(in)
	}
	return startMany(ctx, db, f.definition.Slug, inputs, typedOutput(f.output), opts)
}

// typed wraps an input that has a type: nil is then the value nil, not the absence of an
// input.
func typed[In any](in In) any {
	if any(in) == nil {
		return json.RawMessage("null")
	}
	return in
}

// Get returns a run that was started earlier, by this version of the flow or by another,
// see [Run.Flow]. For a run of another flow, it returns an [ErrRunNotFound].
//
// The result of a run of another version is read as an Out if it fits: otherwise
// [Run.Wait] returns an [OutputError].
func (f *Flow[In, Out]) Get(ctx context.Context, db DB, id string) (*Run[Out], error) {
	parsed, err := valid.RunID(id)
	if err != nil {
		return nil, err
	}
	info, err := getRun(ctx, db, parsed, RunDetail{})
	switch {
	case err != nil:
		return nil, err
	case !sameFlow(info.Flow, f.definition.Slug):
		return nil, fmt.Errorf("flowc: %w: %s is a run of flow %s, not of %s", ErrRunNotFound, id, info.Flow, f.definition.Slug)
	}
	run := &Run[Out]{
		db: db, id: parsed, flow: info.Flow, existed: true, output: typedOutput(f.output),
		scheduledAt: info.ScheduledAt,
	}
	if info.Flow != f.definition.Slug {
		run.output = run.output.ofVersion(info.Flow)
	}
	return run, nil
}

// sameFlow reports whether two slugs are those of versions of one flow.
func sameFlow(a, b string) bool {
	x, _ := spec.VersionOf(a)
	y, _ := spec.VersionOf(b)
	return x == y
}

// Upsert puts the definition into the database, see [UpsertFlow]. Unless
// [AllowDataLoss] is given, a flow of another shape is left as it is, with a
// [MismatchError].
func (f *Flow[In, Out]) Upsert(ctx context.Context, db DB, opts ...UpsertOption) (UpsertResult, error) {
	return UpsertFlow(ctx, db, f.definition, opts...)
}

// Serve returns the service of the flow from the handlers of its steps, see
// [handler.Serve]. Generated code calls it.
func (f *Flow[In, Out]) Serve(handlers []handler.Handler, opts ...handler.ServeOption) handler.Service {
	return handler.Serve(f.definition, handlers, opts...)
}

// Delete removes the flow with all its runs, see [DeleteFlow]. Unless
// [AllowDataLoss] is given, a flow with runs that have not ended is left as it is,
// with an [ActiveRunsError].
func (f *Flow[In, Out]) Delete(ctx context.Context, db DB, opts ...DeleteOption) (Deleted, error) {
	return DeleteFlow(ctx, db, f.definition.Slug, opts...)
}

// Exists reports whether the flow is in the database, see [FlowExists].
func (f *Flow[In, Out]) Exists(ctx context.Context, db DB) (bool, error) {
	return FlowExists(ctx, db, f.definition.Slug)
}
