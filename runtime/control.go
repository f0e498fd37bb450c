package runtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flowc-dev/flowc/runtime/internal/pgcall"
	"github.com/flowc-dev/flowc/runtime/internal/valid"
)

// CancelRun ends a run that has not ended, also one that is scheduled. The contexts of its
// running handlers end within seconds, with [handler.ErrTaskLost] as their cause, and
// their results are dropped. reason may be empty; those who wait for the run get it as the
// message of a [RunFailedError].
//
// Errors: [ErrInvalidRunID]; [ErrInvalidOption] for a reason that is no text;
// [ErrRunNotFound]; [ErrWrongStatus] if the run has ended; [ErrRequested].
//
// In a transaction it does not touch the run: it is requested, and a worker that serves the
// flow does it after the commit, in the order of the requests for the run. Nil means that;
// the status of the run is not checked. Outside of a transaction nil means that it is done.
// If somebody else holds the run, the error is [ErrRequested].
func CancelRun(ctx context.Context, db DB, id, reason string) error {
	if err := valid.Text("the reason", reason); err != nil {
		return err
	}
	s, err := steer(ctx, db, id, "cancelling", func(b Steerer) (Steered, error) { return b.CancelRun(ctx, id, reason) })
	if err != nil || s.Done || s.Requested {
		return err
	}
	if s.Repeated { // the attempt whose reply was lost may have done it
		if info, err := GetRun(ctx, db, id); err == nil && info.Status == RunCancelled {
			return nil
		}
	}
	return wrongStatus("cancelling", id, "it has ended")
}

// RetryRun resumes a failed or cancelled run where it stopped: the outputs of
// completed steps are kept, as are those of completed tasks of a map, and all
// other tasks get all their attempts again, and may be snoozed for as long again. A time or
// a start delay that a step was waiting for is waited for still: a delay counts from when the
// step started first. In a step that [RetryStep] runs again it counts anew.
//
// Errors: [ErrInvalidRunID]; [ErrRunNotFound]; [ErrWrongStatus] if the run neither
// failed nor was cancelled; a [DuplicateRunError] if the flow is unique and a run like this
// one has not ended; [ErrRequested], also if the retry waits until fewer runs of its flow are
// in progress ([spec.Flow.Concurrency]): until then, [CancelRun] withdraws it.
//
// In a transaction it is requested, as with [CancelRun].
func RetryRun(ctx context.Context, db DB, id string) error {
	s, err := steer(ctx, db, id, "retrying", func(b Steerer) (Steered, error) { return b.RetryRun(ctx, id) })
	if err != nil || s.Done || s.Requested || s.Repeated { // if it is not failed any more, the attempt whose reply was lost did it
		return err
	}
	return wrongStatus("retrying", id, "it neither failed nor was cancelled")
}

// RetryStep runs a step of an ended run again, and every step downstream of it. The step
// is named by the constant of its generated package. The outputs of these steps are
// discarded, those of other steps are kept. In a run that failed or was cancelled,
// everything else that did not complete resumes as well. A step that was skipped because
// an upstream step was, with skip-cascade, stays skipped as long as that one does.
//
// Errors: [ErrInvalidRunID]; [ErrInvalidOption] for a step that is empty or no text;
// [ErrRunNotFound], also if the run has no such step; [ErrWrongStatus] if the run has not
// ended, or the step stays skipped; a [DuplicateRunError] as with [RetryRun];
// [ErrRequested].
//
// In a transaction it is requested, as with [CancelRun].
func RetryStep(ctx context.Context, db DB, id, step string) error {
	if err := valid.Text("the step", step); err != nil {
		return err
	}
	if step == "" {
		return valid.Option("the step is empty; RetryRun resumes a whole run")
	}
	doing := "retrying step " + step + " of"
	s, err := steer(ctx, db, id, doing, func(b Steerer) (Steered, error) { return b.RetryStep(ctx, id, step) })
	if errors.Is(err, ErrRunNotFound) {
		return fmt.Errorf("flowc: retrying step %s: %w: %s does not exist, or has no such step", step, ErrRunNotFound, id)
	}
	if err != nil || s.Done || s.Requested || s.Repeated { // as with RetryRun
		return err
	}
	return wrongStatus(doing, id, "it has not ended, or the step is skipped because of another")
}

// RescheduleRun moves the start of a scheduled run, by the database's clock. A time in the
// past means now; see [WithStartAt].
//
// Errors: [ErrInvalidRunID]; [ErrInvalidOption] for an invalid time; [ErrRunNotFound];
// [ErrWrongStatus] if the run is not scheduled.
func RescheduleRun(ctx context.Context, db DB, id string, at time.Time) error {
	at, err := startTime(at)
	if err != nil {
		return err
	}
	s, err := steer(ctx, db, id, "rescheduling", func(b Steerer) (Steered, error) { return b.RescheduleRun(ctx, id, at) })
	if err != nil || s.Done {
		return err
	}
	return wrongStatus("rescheduling", id, "it does not wait for its start")
}

// steer performs an action on a run that has to exist.
func steer(ctx context.Context, db DB, id, doing string, do func(Steerer) (Steered, error)) (Steered, error) {
	return steerWith(ctx, db, id, doing, do)
}

// steerWith is steer with another kind of backend.
func steerWith[B any](ctx context.Context, db DB, id, doing string, do func(B) (Steered, error)) (Steered, error) {
	if _, err := valid.RunID(id); err != nil {
		return Steered{}, err
	}
	s, err := onCapable(ctx, db, do)
	switch {
	case err != nil:
		return s, fmt.Errorf("flowc: %s run %s: %w", doing, id, err)
	case !s.Found:
		return s, fmt.Errorf("flowc: %s: %w: %s", doing, ErrRunNotFound, id)
	case s.Requested && !pgcall.InTx(db):
		return s, fmt.Errorf("flowc: %s run %s: %w", doing, id, ErrRequested)
	}
	return s, nil
}

func wrongStatus(doing, id, why string) error {
	return fmt.Errorf("flowc: %s run %s: %w: %s", doing, id, ErrWrongStatus, why)
}

// DeleteRun deletes a run that has ended, with everything that belongs to it; its
// idempotency key is free again. With [AllowDataLoss] it also deletes a run that has not
// ended, and drops the results of its handlers. It reports whether there was such a run.
//
// Errors: [ErrInvalidRunID]; [ErrWrongStatus] if the run has not ended, without
// [AllowDataLoss].
func DeleteRun(ctx context.Context, db DB, id string, opts ...DeleteOption) (bool, error) {
	if _, err := valid.RunID(id); err != nil {
		return false, err
	}
	o, err := deleteOptionsOf(opts)
	if err != nil {
		return false, err
	}
	s, err := onCapable(ctx, db, func(b Steerer) (Steered, error) { return b.DeleteRun(ctx, id, o) })
	switch {
	case err != nil:
		return false, fmt.Errorf("flowc: deleting run %s: %w", id, err)
	case s.Found && !s.Done:
		return false, wrongStatus("deleting", id, "it has not ended; let it end, or cancel it")
	}
	return s.Found, nil
}
