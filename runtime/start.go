package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime/internal/pgcall"
	"github.com/flowc-dev/flowc/runtime/internal/valid"
)

// DefaultSyncTimeout is how long [StartFlowSync] waits unless [WithTimeout] is given.
const DefaultSyncTimeout = 60 * time.Second

// StartFlow starts a run of the flow with the given slug. The input is encoded as JSON
// before the first query; nil is the empty object, and a json.RawMessage is used as it is.
//
// In a transaction, the run starts when the transaction commits. If a worker in the
// same process uses the same pool and is idle, the start also claims the first tasks
// for it.
//
// If the flow has the tag unique ([spec.Flow.Unique]) and there is a run like this one, it
// returns that, and [Run.Existed] is true, unless the flow says otherwise.
//
// Errors: [ErrFlowNotFound], [InputError], [ErrInvalidOption], [ErrInvalidRunID]
// and [ErrRunIDTaken] for [WithRunID], [DuplicateRunError], [ErrEngineMissing].
func StartFlow(ctx context.Context, db DB, slug string, input any, opts ...StartOption) (*Run[json.RawMessage], error) {
	return start(ctx, db, slug, input, untypedOutput, opts)
}

// StartMany starts a run for each input in one round trip: all of them, in the order of the
// inputs, or none. Options apply to every run; [WithKeys] sets a key for each. Together the
// inputs may have a gigabyte.
//
// Of inputs that a unique flow says are alike, one is started, and the others return its run:
// the first, or, with replace, the last; with debounce, the first with the input of the last.
// That is no [DuplicateRunError], which is about runs that were there before.
func StartMany(ctx context.Context, db DB, slug string, inputs []any, opts ...StartOption) ([]*Run[json.RawMessage], error) {
	return startMany(ctx, db, slug, inputs, untypedOutput, opts)
}

// StartFlowSync starts a run, waits for its end and returns it.
//
// A run that failed or was cancelled is returned with a [RunFailedError]. It waits for
// [DefaultSyncTimeout] unless [WithTimeout] is given; a wait that ends early returns a
// [WaitError], which has the run's id. db must not be a transaction: then nothing is
// started, and the error is [ErrWaitInTx].
func StartFlowSync(ctx context.Context, db DB, slug string, input any, opts ...StartOption) (*RunInfo, error) {
	run, wait, err := startToWait(ctx, db, slug, input, untypedOutput, opts)
	if err != nil {
		return nil, err
	}
	_, waitErr := run.Wait(ctx, wait...)
	if waitErr != nil && !errors.As(waitErr, new(*RunFailedError)) {
		return nil, waitErr
	}
	info, err := run.Info(ctx)
	if err != nil {
		return nil, &WaitError{RunID: run.ID(), Err: err}
	}
	return info, waitErr
}

// start starts one run, which is not waited for.
func start[Out any](ctx context.Context, db DB, slug string, input any, output output[Out], opts []StartOption) (*Run[Out], error) {
	o, err := startOptionsOf(opts)
	if err != nil {
		return nil, err
	}
	if len(o.wait) > 0 {
		return nil, valid.Option("WithTimeout and WithPollInterval are for waiting, give them to Wait or to a Sync function")
	}
	return startOne(ctx, db, slug, input, output, o)
}

// startToWait starts a run that is then waited for with the options it returns.
func startToWait[Out any](ctx context.Context, db DB, slug string, input any, output output[Out], opts []StartOption) (*Run[Out], []WaitOption, error) {
	o, err := startOptionsOf(opts)
	if err != nil {
		return nil, nil, err
	}
	if pgcall.InTx(db) {
		return nil, nil, fmt.Errorf("flowc: %w", ErrWaitInTx)
	}
	wait := append([]WaitOption{WithTimeout(DefaultSyncTimeout)}, o.wait...)
	if _, err := waitOptionsOf(wait); err != nil {
		return nil, nil, err
	}
	run, err := startOne(ctx, db, slug, input, output, o)
	return run, wait, err
}

func startOne[Out any](ctx context.Context, db DB, slug string, input any, output output[Out], o *startOptions) (*Run[Out], error) {
	if o.keys != nil {
		return nil, valid.Option("WithKeys is for starting many runs, use WithIdempotencyKey for one")
	}
	runs, err := startAll(ctx, db, slug, []any{input}, output, o)
	if err != nil {
		return nil, err
	}
	return runs[0], nil
}

func startMany[Out any](ctx context.Context, db DB, slug string, inputs []any, output output[Out], opts []StartOption) ([]*Run[Out], error) {
	o, err := startOptionsOf(opts)
	switch {
	case err != nil:
		return nil, err
	case len(o.wait) > 0:
		return nil, valid.Option("WithTimeout and WithPollInterval are for waiting, give them to Wait")
	case o.id != nil || o.key != nil:
		return nil, valid.Option("WithRunID and WithIdempotencyKey are for one run, use WithKeys for many")
	case o.keys != nil && len(o.keys) != len(inputs):
		return nil, valid.Option("WithKeys has %d keys for %d inputs", len(o.keys), len(inputs))
	}
	return startAll(ctx, db, slug, inputs, output, o)
}

// startAll prepares runs, sends them, and returns their handles.
func startAll[Out any](ctx context.Context, db DB, slug string, inputs []any, output output[Out], o *startOptions) (_ []*Run[Out], err error) {
	ids, err := o.runIDs(db, slug, len(inputs))
	if err != nil {
		return nil, err
	}
	var traced map[string]string
	if tracer.Load() != nil {
		var end func(error)
		ctx, traced, end = traceStart(ctx, slug, uuid.UUIDs(ids).Strings())
		defer func() { end(err) }()
	}
	if err := valid.FlowSlug(slug); err != nil {
		return nil, err
	}
	request := StartRequest{Flow: slug, Priority: o.priority, At: pgcall.OrZero(o.at), In: pgcall.OrZero(o.in), WithoutUnique: o.withoutUnique, ExactIDs: o.id != nil}
	first, err := o.prepare(&request, ids, inputs, traced)
	if err != nil {
		return nil, err
	}
	var started []StartedRun
	if len(request.Runs) > 0 {
		if started, err = send(ctx, db, request); err != nil {
			return nil, err
		}
	}
	runs, handles := make([]*Run[Out], len(inputs)), make([]Run[Out], len(inputs))
	seen := 0 // of the runs that were started
	for i := range inputs {
		place := i
		if first != nil {
			place = first[i]
		}
		s, again := started[place], place < seen
		if !again {
			seen++
		}
		handles[i] = Run[Out]{db: db, id: ids[i], flow: slug, output: output, scheduledAt: s.ScheduledAt}
		runs[i] = &handles[i]
		runs[i].existed = s.Existed && (o.chosen() || s.ID != "") || again
		if s.ID != "" {
			if handles[i].id, err = uuid.Parse(s.ID); err != nil {
				return nil, fmt.Errorf("flowc: starting flow %s: %w", slug, err)
			}
		}
		if runs[i].existed && s.Flow != "" && s.Flow != slug {
			runs[i].flow, runs[i].output = s.Flow, output.ofVersion(s.Flow)
		}
	}
	return runs, nil
}

// prepare adds a run for each id to a request. It returns the index of the run for each
// input, nil if each has its own: inputs with the same key share a run.
func (o *startOptions) prepare(r *StartRequest, ids []uuid.UUID, inputs []any, traced map[string]string) (first []int, _ error) {
	headers, ofTracer := o.carried(traced)
	r.Runs = make([]NewRun, 0, len(inputs))
	var places map[uuid.UUID]int
	if o.keys != nil {
		first, places = make([]int, len(inputs)), map[uuid.UUID]int{}
	}
	total := 0
	for i, input := range inputs {
		raw, err := encode(input)
		if err != nil {
			return nil, &InputError{Flow: r.Flow, Index: i, Err: err}
		}
		if o.keys != nil {
			if place, twice := places[ids[i]]; twice {
				first[i] = place
				continue
			}
			places[ids[i]], first[i] = len(r.Runs), len(r.Runs)
		}
		if total += len(raw); total > maxStartBytes {
			return nil, &InputError{Flow: r.Flow, Index: i, Err: errTooManyBytes}
		}
		r.Runs = append(r.Runs, NewRun{
			ID: ids[i].String(), Input: raw, Headers: headers, Traced: ofTracer, Chosen: o.chosen(),
		})
	}
	return first, nil
}

// maxStartBytes is what fits into one message to the database.
const maxStartBytes = 1<<30 - 1<<20

var errTooManyBytes = fmt.Errorf("together with the inputs before it, it is longer than the %d bytes that one call can carry", maxStartBytes)

// send starts runs in the cheapest way: one that starts now, through a pool, may share a
// statement with others.
func send(ctx context.Context, db DB, r StartRequest) ([]StartedRun, error) {
	if pool, ok := db.(*pgxpool.Pool); ok && pool != nil && len(r.Runs) == 1 && r.At.IsZero() && r.In == 0 && !r.WithoutUnique {
		return coalesceStart(ctx, pool, r)
	}
	return sendNow(ctx, db, r)
}
