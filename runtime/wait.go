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
	// pollTimeout bounds a poll of a run. On a connection whose other end is gone, it would
	// never end; after one that timed out, the next may take twice as long, for the sake
	// of large outputs.
	pollTimeout, maxPollTimeout = 5 * time.Second, 2 * time.Minute
	// subscribeTimeout bounds a subscription to notifications.
	subscribeTimeout = 5 * time.Second
	// safetyPoll is how often a run is polled while notifications arrive.
	safetyPoll = 5 * time.Second
	// lastPoll bounds the poll of a run when the time is up.
	lastPoll = time.Second
)

// Wait waits until the run has ended and returns its result. Through a pool, a
// notification of the database wakes it; through anything else it polls every
// [DefaultPollInterval]. A wait through a pool survives outages of the database.
//
// Errors: a [RunFailedError] if the run failed or was cancelled; a [WaitError], which has
// the run's id, if the wait ended first: [ErrTimeout], the end of ctx, or [ErrRunNotFound]
// if the run was deleted; an [OutputError] if the result does not fit an Out;
// [ErrWaitInTx] if the run's db is a transaction.
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
	if router, ok := capability[Router](r.db); ok {
		if r, err = r.routed(ctx, router, timeUp, o.poll); err != nil {
			return none, err
		}
	}
	notifier := &doneNotifier{db: r.db, id: r.ID()}
	defer notifier.close()
	limit := pollTimeout
	for {
		limited := limit
		if o.timeout != nil {
			limited = min(limit, time.Until(deadline)+lastPoll)
		}
		result, err := r.poll(ctx, limited)
		switch {
		case err != nil && ctx.Err() != nil:
			return none, r.interrupted(ctx)
		case errors.Is(err, context.DeadlineExceeded) && limited == limit:
			limit = min(2*limit, maxPollTimeout)
		case err != nil && !r.outlasts(err):
			return none, &WaitError{RunID: r.ID(), Err: err}
		case err == nil && result.Status.Ended():
			return r.end(result)
		}
		if o.timeout != nil && *o.timeout == 0 {
			return none, r.waited()
		}
		allowed := subscribeTimeout
		if o.timeout != nil {
			allowed = min(subscribeTimeout, max(time.Until(deadline), 0))
		}
		if notifier.subscribe(ctx, allowed) {
			continue // it may have ended before the subscription
		}
		poll := time.NewTimer(notifier.interval(o.poll))
		select {
		case <-ctx.Done():
			poll.Stop()
			return none, r.interrupted(ctx)
		case <-timeUp:
			poll.Stop()
			if result, err := r.poll(ctx, lastPoll); err == nil && result.Status.Ended() {
				return r.end(result)
			}
			return none, r.waited()
		case <-notifier.C():
			poll.Stop()
		case <-poll.C:
		}
	}
}

// routed returns the run on the database that has it, as soon as that can be told.
func (r *Run[Out]) routed(ctx context.Context, router Router, timeUp <-chan time.Time, poll time.Duration) (*Run[Out], error) {
	for {
		db, err := router.DBOf(ctx, r.ID())
		switch {
		case err == nil:
			return r.Via(db), nil
		case ctx.Err() != nil:
			return nil, r.interrupted(ctx)
		case !pgerr.Transient(err):
			return nil, &WaitError{RunID: r.ID(), Err: err}
		}
		retry := time.NewTimer(poll)
		select {
		case <-ctx.Done():
		case <-timeUp:
			retry.Stop()
			return nil, &WaitError{RunID: r.ID(), Err: errors.Join(ErrTimeout, err)}
		case <-retry.C:
		}
		retry.Stop()
	}
}

// never is the channel of a timer that does not exist.
var never <-chan time.Time

// outlasts reports whether waiting continues after an error.
func (r *Run[Out]) outlasts(err error) bool {
	if _, ok := r.db.(BackendDB); ok {
		return errors.Is(err, context.DeadlineExceeded) // that of a poll
	}
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
	ctx, cancel := context.WithTimeout(context.Background(), lastPoll)
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

// poll reads the status of the run, and its results if it is completed.
func (r *Run[Out]) poll(ctx context.Context, limit time.Duration) (Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	want := Want{Steps: r.output.source.Steps, Input: r.output.source.Input, Whole: r.output.whole != nil}
	return onBackend(ctx, r.db, func(b Backend) (Outcome, error) { return b.Outcome(ctx, r.ID(), want) })
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

// A doneNotifier signals when the run may have ended, if notifications arrive at the pool
// of its db, or its backend can wait.
type doneNotifier struct {
	db         DB
	id         string
	ended      chan struct{} // closed when the call to an Awaiter says that it may have ended
	failed     chan struct{} // closed when that call fails; then polls go on until the next
	stop       context.CancelFunc
	listener   *listen.Listener
	sub        *listen.Subscription
	subscribed uint64 // the listener's connection for which we are subscribed
	refused    bool   // whether the role may not subscribe
}

// subscribe subscribes to the end of the run, and reports whether it did so just now: an
// end before that is not signalled.
func (n *doneNotifier) subscribe(ctx context.Context, limit time.Duration) bool {
	if awaiter, ok := capability[Awaiter](n.db); ok {
		n.await(ctx, awaiter)
		return false
	}
	pool, ok := n.db.(*pgxpool.Pool)
	if !ok || n.refused || pgcall.KindOf(ctx, pool) == pgcall.HasContract { // nobody would notify us
		return false
	}
	id, err := uuid.Parse(n.id)
	if err != nil {
		return false
	}
	if n.listener == nil {
		n.listener = listen.Acquire(pool)
		n.sub = n.listener.Subscribe(listen.Done, listen.DoneKey(id))
	}
	live := n.listener.Live()
	if live == 0 || live == n.subscribed {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	_, err = pgcall.Engine(ctx, n.db, pgx.RowTo[*string], `SELECT flowc.await_run($1::text::uuid)::text`, n.id)
	n.refused = pgerr.Code(err) == "42501" // a role that may only view
	if err != nil {
		return false
	}
	n.subscribed = live
	return true
}

// await waits through a backend, unless it does already.
func (n *doneNotifier) await(ctx context.Context, awaiter Awaiter) {
	if n.awaiting() {
		return
	}
	if n.stop != nil {
		n.stop()
	}
	ctx, n.stop = context.WithCancel(ctx)
	ended, failed := make(chan struct{}), make(chan struct{})
	n.ended, n.failed = ended, failed
	go func() {
		if err := awaiter.AwaitRun(ctx, n.id); err != nil {
			close(failed)
			return
		}
		close(ended)
	}()
}

// awaiting reports whether a call to an Awaiter is in flight.
func (n *doneNotifier) awaiting() bool {
	if n.ended == nil {
		return false
	}
	select {
	case <-n.ended:
		return false
	case <-n.failed:
		return false
	default:
		return true
	}
}

// C returns the channel of the signals; nil if there are none.
func (n *doneNotifier) C() <-chan struct{} {
	if n.ended != nil {
		return n.ended
	}
	if n.sub == nil {
		return nil
	}
	return n.sub.C
}

// interval returns the longest time to sleep between two polls.
func (n *doneNotifier) interval(poll time.Duration) time.Duration {
	if n.awaiting() || n.listener != nil && n.subscribed != 0 && n.subscribed == n.listener.Live() {
		return max(poll, safetyPoll)
	}
	return poll
}

func (n *doneNotifier) close() {
	if n.stop != nil {
		n.stop()
	}
	if n.listener == nil {
		return
	}
	n.sub.Close()
	n.listener.Release()
}
