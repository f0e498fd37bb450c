package runtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/listen"
	"github.com/flowc-dev/flowc/runtime/internal/pgcall"
	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
)

const (
	// lookWait is how long a look at a run may take. A connection whose other end
	// is gone would take for ever; after a look that took too long the next one
	// may take twice as long, for the sake of large outputs.
	lookWait, maxLookWait = 5 * time.Second, 2 * time.Minute
	// armWait is how long asking for a notification may take.
	armWait = 5 * time.Second
	// safetyPoll is how often a run is looked at while notifications arrive.
	safetyPoll = 5 * time.Second
	// lastLook is how long looking at the run may take when the time is up.
	lastLook = time.Second
)

// Wait waits until the run has ended and returns its output. Through a pool
// it is woken by the database; through anything else it looks every
// [DefaultPollInterval]. While the database cannot be reached, a wait through
// a pool goes on.
//
// Errors: a [RunFailedError] if the run failed or was cancelled; a [WaitError],
// which has the run's id, if the waiting ended first: [ErrTimeout], the end of
// ctx, or [ErrRunNotFound] if the run was deleted; an [OutputError] if the run's
// output is not an Out; [ErrWaitInTx] if the run's db is a transaction.
func (r *Run[Out]) Wait(ctx context.Context, opts ...WaitOption) (out Out, err error) {
	var none Out
	o, err := waitOptionsOf(opts)
	if err != nil {
		return none, err
	}
	if pgcall.InTx(r.db) {
		return none, fmt.Errorf("flowc: %w", ErrWaitInTx)
	}
	ctx, end := traceWait(ctx, r.flow, r.ID())
	defer func() { end(err) }()
	var deadline time.Time
	timeUp := never
	if o.timeout != nil {
		deadline = time.Now().Add(*o.timeout)
		timer := time.NewTimer(*o.timeout)
		defer timer.Stop()
		timeUp = timer.C
	}
	bell := &bell{db: r.db, id: r.ID()}
	defer bell.close()
	limit := lookWait
	for {
		limited := limit
		if o.timeout != nil {
			limited = min(limit, time.Until(deadline)+lastLook)
		}
		result, err := r.look(ctx, limited)
		switch {
		case err != nil && ctx.Err() != nil:
			return none, r.interrupted(ctx)
		case errors.Is(err, context.DeadlineExceeded) && limited == limit:
			limit = min(2*limit, maxLookWait)
		case err != nil && !r.outlasts(err):
			return none, &WaitError{RunID: r.ID(), Err: err}
		case err == nil && result.Status.Ended():
			return r.end(result)
		}
		if o.timeout != nil && *o.timeout == 0 {
			return none, r.waited()
		}
		armed := armWait
		if o.timeout != nil {
			armed = min(armWait, max(time.Until(deadline), 0))
		}
		if bell.arm(ctx, armed) {
			continue // it may have ended before the bell could ring for it
		}
		poll := time.NewTimer(bell.interval(o.poll))
		select {
		case <-ctx.Done():
			poll.Stop()
			return none, r.interrupted(ctx)
		case <-timeUp:
			poll.Stop()
			if result, err := r.look(ctx, lastLook); err == nil && result.Status.Ended() {
				return r.end(result)
			}
			return none, r.waited()
		case <-bell.rings():
			poll.Stop()
		case <-poll.C:
		}
	}
}

// never is the channel of a timer that does not exist.
var never <-chan time.Time

// outlasts reports whether waiting goes on after an error.
func (r *Run[Out]) outlasts(err error) bool {
	return pgcall.Pooled(r.db) && pgerr.Transient(err)
}

// waited returns the error of a wait that timed out: it says what the run waits for.
func (r *Run[Out]) waited() error { return r.waitError(ErrTimeout) }

// interrupted returns the error of a wait whose context ended. A cancelled caller must
// not be delayed; one whose deadline passed gets the error of a timeout.
func (r *Run[Out]) interrupted(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return r.waitError(cause)
	}
	return &WaitError{RunID: r.ID(), Err: cause}
}

func (r *Run[Out]) waitError(cause error) error {
	ctx, cancel := context.WithTimeout(context.Background(), lastLook)
	defer cancel()
	e := &WaitError{RunID: r.ID(), Err: cause}
	var err error
	if e.Last, err = r.Info(ctx); err != nil {
		e.Last = nil
		return e
	}
	e.Reasons, _ = ExplainRun(ctx, r.db, r.ID()) // where there is no engine, there are none
	return e
}

// look reads how far the run is, and what it gave if it is completed.
func (r *Run[Out]) look(ctx context.Context, limit time.Duration) (Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	want := Want{Steps: r.output.source.Steps, Input: r.output.source.Input, Whole: r.output.whole != nil}
	return with(ctx, r.db, func(b Backend) (Outcome, error) { return b.Outcome(ctx, r.ID(), want) })
}

// end returns what Wait returns for a run that has ended.
func (r *Run[Out]) end(o Outcome) (Out, error) {
	if o.Status != RunCompleted {
		return *new(Out), &RunFailedError{
			RunID: r.ID(), Flow: r.flow, Status: o.Status, Step: o.FailedStep, Index: o.FailedIndex, Message: o.Message,
		}
	}
	read, raw := r.output.source.Read, o.Values.Outputs
	if whole := r.output.whole; whole != nil {
		read = func(handler.Values) (Out, error) { return whole(o.Result, o.Output) }
		raw = o.Output
		if o.Result != nil {
			raw = o.Result
		}
	}
	out, err := read(o.Values)
	if err != nil {
		return *new(Out), &OutputError{RunID: r.ID(), Flow: r.flow, Output: raw, Err: err}
	}
	return out, nil
}

// A bell rings when the run may have ended, if its db is a pool to which
// notifications arrive.
type bell struct {
	db       DB
	id       string
	listener *listen.Listener
	sub      *listen.Subscription
	armed    uint64 // the listener's connection for which the database knows of us
	refused  bool   // whether the role may not be told
}

// arm asks the database to ring for the run, and reports whether it did so just
// now: what happened before is not rung for.
func (b *bell) arm(ctx context.Context, limit time.Duration) bool {
	pool, ok := b.db.(*pgxpool.Pool)
	if !ok || b.refused || pgcall.KindOf(ctx, pool) == pgcall.HasContract { // nobody would ring
		return false
	}
	id, err := uuid.Parse(b.id)
	if err != nil {
		return false
	}
	if b.listener == nil {
		b.listener = listen.Acquire(pool)
		b.sub = b.listener.Subscribe(listen.Done, listen.DoneKey(id))
	}
	live := b.listener.Live()
	if live == 0 || live == b.armed {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	_, err = pgcall.Engine(ctx, b.db, pgx.RowTo[*string], `SELECT flowc.await_run($1::text::uuid)::text`, b.id)
	b.refused = pgerr.Code(err) == "42501" // a role that only views does not wait for locks
	if err != nil {
		return false
	}
	b.armed = live
	return true
}

func (b *bell) rings() <-chan struct{} {
	if b.sub == nil {
		return nil
	}
	return b.sub.C
}

// interval returns the longest time to sleep between two polls.
func (b *bell) interval(poll time.Duration) time.Duration {
	if b.listener != nil && b.armed != 0 && b.armed == b.listener.Live() {
		return max(poll, safetyPoll)
	}
	return poll
}

func (b *bell) close() {
	if b.listener == nil {
		return
	}
	b.sub.Close()
	b.listener.Release()
}
