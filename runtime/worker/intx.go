package worker

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/attempt"
	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
	"github.com/flowc-dev/flowc/runtime/worker/internal/dbconn"
)

const (
	// maxRepeats is how often a handler is called again at once because its transaction was
	// rolled back in favour of another. Then the attempt fails.
	maxRepeats = 5
	// minCompleteTime is how long completing a task in its transaction may take, at least:
	// it waits for whoever holds the run.
	minCompleteTime = 5 * time.Second
	// commitTime is how long the answer to a commit is waited for.
	commitTime = 5 * time.Second
)

// runInTx runs an attempt whose effects are committed with the completion of its task. Its
// middleware is inside the transaction.
func (e *executor) runInTx(t *task, v handler.Values) {
	t.completion.Begin(t.ctx)
	for repeats := 0; e.tryInTx(t, v, repeats < maxRepeats); repeats++ {
		t.completion.Resume()
	}
}

// tryInTx calls the handler in a transaction of its own, and commits that if it returned no
// error. It reports whether the transaction was rolled back in favour of another, so that
// the handler is to be called again. Otherwise the attempt has ended.
func (e *executor) tryInTx(t *task, v handler.Values, mayRepeat bool) (repeat bool) {
	var r result
	var err error
	var tx *transaction
	defer func() {
		ended, freesSlot := t.completion.Return()
		if r.task == nil {
			r = classify(t, nil, errGoexit, time.Since(t.completion.Began()))
		}
		if ended && tx != nil && r.Outcome == attempt.Completed {
			err = e.commit(t, tx, &r)
		}
		t.tx.Store(nil)
		if tx != nil {
			tx.end() // before the report, so that it does not wait for the transaction
		}
		switch {
		case !ended:
			if freesSlot {
				e.slots.release(1)
			}
			e.stuck.Add(-1)
		case mayRepeat && r.Outcome == attempt.Failed && r.Delay == nil && lostToAnother(err) && t.ctx.Cause() == nil:
			e.log.LogAttrs(t.ctx, slog.LevelInfo, "transaction rolled back in favour of another, calling the handler again",
				append(t.attrs(), slog.String("error", err.Error()))...)
			repeat = true
		default:
			r.took = time.Since(t.completion.Began())
			e.complete(r)
		}
	}()
	if tx, err = e.begin(t); err != nil {
		r = classify(t, nil, err, 0)
		return
	}
	t.tx.Store(tx)
	v.Tx = tx.handle
	output, failed := attempt.Call(t.ctx, t.step.handler, v)
	err = failed
	r = classify(t, output, err, 0)
	return
}

// begin begins the transaction of a task, again and again while the database is
// unreachable.
func (e *executor) begin(t *task) (*transaction, error) {
	var pause dbconn.Backoff
	for {
		tx, err := e.transactions.begin(t.ctx, t.step.tx)
		if err == nil {
			return tx, nil
		}
		if t.ctx.Err() != nil || !dbconn.IsTransient(err) || !pause.Wait(t.ctx, e.db.Recovered()) {
			return nil, fmt.Errorf("flowc: the transaction of the task could not begin, with %d connections in use of MaxConns %d: %v",
				e.transactions.pool.Stat().AcquiredConns(), e.transactions.pool.Config().MaxConns, err)
		}
	}
}

// commit completes a task in its transaction and commits that. What came of it is put into
// the result; the error is why it could not be committed.
func (e *executor) commit(t *task, tx *transaction, r *result) error {
	limit := minCompleteTime
	if deadline, _ := t.ctx.Deadline(); time.Until(deadline) > limit {
		limit = time.Until(deadline)
	}
	ctx, cancel := context.WithTimeout(e.dbCtx, limit)
	defer cancel()
	accepted, failure, err := e.backend.Complete(ctx, tx.conn, t.Claimed, r.Output)
	switch {
	case err != nil:
		err = completeError(*r, err)
		*r = classify(t, nil, err, 0)
	case !accepted:
		r.Result = attempt.Result{Outcome: attempt.Lost}
	case failure != "":
		r.Result = attempt.Result{Outcome: attempt.Permanent, Err: failure}
	default:
		if err = e.commitNow(tx); err != nil {
			// It may have been committed nevertheless, or be about to. The report of the
			// failure waits for the lock of the run, which the transaction has, and is
			// refused then if it was.
			r.Result = attempt.Result{Outcome: attempt.Failed, Err: attempt.ErrorText(fmt.Errorf("flowc: committing the transaction of the task: %w", err))}
			r.mayBeCommitted = true
			break
		}
		r.committed, r.Output = true, ""
	}
	return err
}

// commitNow commits a transaction. An answer that does not come in time may still mean that
// it is committed.
func (e *executor) commitNow(tx *transaction) error {
	ctx, cancel := context.WithTimeout(e.dbCtx, commitTime)
	defer cancel()
	return tx.commit(ctx)
}

// completeError explains why a task could not be completed in its transaction.
func completeError(r result, err error) error {
	switch {
	case pgerr.Code(err) == "25P01": // raised by flowc.complete_in_transaction
		return handler.Permanent(errEndedTx)
	case pgerr.Code(err) == "25P02":
		return fmt.Errorf("flowc: a statement in the transaction of the task has failed, and the handler returned no error: %w", err)
	case dbconn.IsRefused(err):
		return handler.Permanent(fmt.Errorf("flowc: %s: %w", refusal(r, err), err))
	}
	return fmt.Errorf("flowc: completing the task in its transaction: %w", err)
}

// lostToAnother reports whether a transaction was rolled back in favour of another.
func lostToAnother(err error) bool {
	code := pgerr.Code(err)
	return code == "40001" || code == "40P01" // serialization_failure, deadlock_detected
}
