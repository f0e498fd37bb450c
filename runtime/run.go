package runtime

import (
	"context"
	"encoding/json"
	"time"

	"github.com/flowc-dev/flowc/runtime/internal/valid"
	"github.com/google/uuid"
)

// A Run is a handle of one execution of a flow whose result is an Out.
type Run[Out any] struct {
	db          DB
	id          uuid.UUID
	flow        string
	existed     bool
	scheduledAt time.Time
	output      output[Out]
}

// MarshalJSON encodes what the handle knows without a query: id, flow, existed and, if the
// run starts later, scheduled_at. [Run.Info] reads the rest.
func (r Run[Out]) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		ID          string    `json:"id"`
		Flow        string    `json:"flow"`
		Existed     bool      `json:"existed"`
		ScheduledAt time.Time `json:"scheduled_at,omitzero"`
	}{r.id.String(), r.flow, r.existed, r.scheduledAt})
}

// String returns the slug of the flow and the id of the run, as logs print the handle.
func (r Run[Out]) String() string { return r.flow + " " + r.id.String() }

// ID returns the run's id, a UUID.
func (r *Run[Out]) ID() string { return r.id.String() }

// Flow returns the slug of the flow.
func (r *Run[Out]) Flow() string { return r.flow }

// Existed reports whether the run existed before the call that returned this handle: the
// key or id was used before, or the flow is unique and the run is like the one that was to
// start, or the call was a Get function.
func (r *Run[Out]) Existed() bool { return r.existed }

// ScheduledAt returns when the run's steps start if the run was scheduled when the handle
// was returned; otherwise it returns the zero time. Of a run that waits in line
// ([spec.Flow.Concurrency]), it is when the run was due.
func (r *Run[Out]) ScheduledAt() time.Time { return r.scheduledAt }

// Via returns the same run on another DB, such as a pool after the transaction that started
// the run has committed.
func (r *Run[Out]) Via(db DB) *Run[Out] {
	via := *r
	via.db = db
	return &via
}

// Info reads the current state of the run, without the states of its steps.
func (r *Run[Out]) Info(ctx context.Context) (*RunInfo, error) {
	return getRun(ctx, r.db, r.id, RunDetail{Payloads: true})
}

// A GetOption selects how much of a run [GetRun] reads.
type GetOption interface{ applyGet(*RunDetail) }

type getOption func(*RunDetail)

func (f getOption) applyGet(d *RunDetail) { f(d) }

// WithStates reads the states of the steps, too: [RunInfo.States].
func WithStates() GetOption { return getOption(func(d *RunDetail) { d.States = true }) }

// WithoutPayloads leaves out [RunInfo.Input], [RunInfo.Result], [RunInfo.Output] and
// [StepState.Output]; [StepState.Attempts] is then counted for steps with up to 100 tasks
// and is 0 for others. That is cheap enough to be called every second.
func WithoutPayloads() GetOption { return getOption(func(d *RunDetail) { d.Payloads = false }) }

// GetRun reads a run by its id, in one statement.
//
// Errors: [ErrInvalidRunID], before the first query; [ErrInvalidOption];
// [ErrRunNotFound].
func GetRun(ctx context.Context, db DB, id string, opts ...GetOption) (*RunInfo, error) {
	parsed, err := valid.RunID(id)
	if err != nil {
		return nil, err
	}
	detail := RunDetail{Payloads: true}
	for _, opt := range opts {
		if opt == nil {
			return nil, valid.Option("an option is nil")
		}
		opt.applyGet(&detail)
	}
	return getRun(ctx, db, parsed, detail)
}

func getRun(ctx context.Context, db DB, id uuid.UUID, detail RunDetail) (*RunInfo, error) {
	info, err := onBackend(ctx, db, func(b Backend) (*RunInfo, error) { return b.Run(ctx, id.String(), detail) })
	return info, doing(err, "reading run %s", id)
}
