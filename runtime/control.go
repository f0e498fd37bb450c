package runtime

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
)

// CancelRun ends a run that has not ended, scheduled ones included. The contexts
// of its running handlers end within seconds, with [handler.ErrTaskLost] as their cause, and
// whatever they give is dropped. reason may be empty; waiters get it as the
// message of a [RunFailedError].
//
// Errors: [ErrInvalidRunID]; [ErrInvalidOption] for a reason that is no text;
// [ErrRunNotFound]; [ErrWrongStatus] if the run has ended.
func CancelRun(ctx context.Context, db DB, id, reason string) error {
	if err := checkText("the reason", reason); err != nil {
		return err
	}
	done, again, err := steer(ctx, db, id, "cancelling", `SELECT flowc.cancel_run($1::text::uuid, nullif($2, ''))`, reason)
	if err != nil || done {
		return err
	}
	if again { // the try whose reply was lost may have done it
		if info, err := GetRun(ctx, db, id); err == nil && info.Status == RunCancelled {
			return nil
		}
	}
	return wrongStatus("cancelling", id, "it has ended")
}

// RetryRun resumes a failed or cancelled run where it stopped: the outputs of
// completed steps are kept, as are those of completed tasks of a map, and all
// other tasks get all their attempts again.
//
// Errors: [ErrInvalidRunID]; [ErrRunNotFound]; [ErrWrongStatus] if the run neither
// failed nor was cancelled.
func RetryRun(ctx context.Context, db DB, id string) error {
	done, again, err := steer(ctx, db, id, "retrying", `SELECT flowc.retry_run($1::text::uuid)`)
	if err != nil || done || again { // if it is not failed any more, the try whose reply was lost did it
		return err
	}
	return wrongStatus("retrying", id, "it neither failed nor was cancelled")
}

// RetryStep does a step of a run that has ended again, named as the constants of its
// generated package name it, and all that comes after it:
// what those gave is forgotten, what other steps gave is kept. In a run that
// failed or was cancelled, everything else that did not complete goes on as well.
// A step that was skipped because another was, with skip-cascade, stays skipped
// as long as that one does.
//
// Errors: [ErrInvalidRunID]; [ErrInvalidOption] for a step that is no text;
// [ErrRunNotFound], also if the run has no such step;
// [ErrWrongStatus] if the run has not ended, or the step stays skipped.
func RetryStep(ctx context.Context, db DB, id, step string) error {
	if err := checkText("the step", step); err != nil {
		return err
	}
	doing := "retrying step " + step + " of"
	done, again, err := steer(ctx, db, id, doing, `SELECT flowc.retry_step($1::text::uuid, $2)`, step)
	if err != nil || done || again { // as with RetryRun
		return err
	}
	return wrongStatus(doing, id, "it has not ended, or the step is skipped because of another")
}

// RescheduleRun moves the start of a scheduled run, by the database's clock. A
// time that is past means now; see [WithStartAt].
//
// Errors: [ErrInvalidRunID]; [ErrInvalidOption] for a time that cannot be; [ErrRunNotFound];
// [ErrWrongStatus] if the run does not wait for its start.
func RescheduleRun(ctx context.Context, db DB, id string, at time.Time) error {
	at, err := startTime(at)
	if err != nil {
		return err
	}
	done, _, err := steer(ctx, db, id, "rescheduling", `
		SELECT CASE WHEN flowc.reschedule_run($1::text::uuid, $2) THEN true
		            WHEN EXISTS (SELECT FROM flowc.get_run($1::text::uuid)) THEN false END`, at)
	if err != nil || done {
		return err
	}
	return wrongStatus("rescheduling", id, "it does not wait for its start")
}

// steer calls a function that answers with true, with false if the run is not in
// the right status, and with NULL if there is no such run. again is that of
// [collectAgain].
func steer(ctx context.Context, db DB, id, doing, sql string, args ...any) (done, again bool, err error) {
	parsed, err := parseRunID(id)
	if err != nil {
		return false, false, err
	}
	rows, again, err := collectAgain(ctx, db, pgx.RowTo[*bool], sql, append([]any{parsed.String()}, args...)...)
	switch {
	case err != nil:
		return false, again, fmt.Errorf("flowc: %s run %s: %w", doing, id, err)
	case rows[0] == nil:
		return false, again, fmt.Errorf("flowc: %s: %w: %s", doing, ErrRunNotFound, id)
	}
	return *rows[0], again, nil
}

func wrongStatus(doing, id, why string) error {
	return fmt.Errorf("flowc: %s run %s: %w: %s", doing, id, ErrWrongStatus, why)
}

// RunNow makes the waiting tasks of a run visible to workers at once: those with
// a start delay, and those between two attempts. step limits it to one step; empty
// means all. It returns how many tasks there were; a run that is not there has
// none. It does not affect scheduled runs; use
// [RescheduleRun].
//
// Errors: [ErrInvalidRunID]; [ErrInvalidOption] for a step that is no text.
func RunNow(ctx context.Context, db DB, id, step string) (int, error) {
	parsed, err := parseRunID(id)
	if err != nil {
		return 0, err
	}
	if err := checkText("the step", step); err != nil {
		return 0, err
	}
	shown, _, err := collectOne(ctx, db, pgx.RowTo[int],
		`SELECT flowc.run_now($1::text::uuid, nullif($2, ''))`, parsed.String(), step)
	if err != nil {
		return 0, fmt.Errorf("flowc: hurrying run %s: %w", id, err)
	}
	return shown, nil
}

// PauseFlow stops handing tasks of a flow to workers, in whatever language, until
// [ResumeFlow]. Runs can be started meanwhile, and what workers have in hand
// goes on. It reports whether the flow was not paused before. Who pauses it
// is recorded for those who ask why their runs do not move: the user of the database unless [PausedBy] is given.
//
// Errors: [ErrInvalidSlug]; [ErrFlowNotFound]; [ErrInvalidOption] for a name that is no text.
func PauseFlow(ctx context.Context, db DB, flow string, opts ...PauseOption) (bool, error) {
	var o pauseOptions
	for _, opt := range opts {
		if opt == nil {
			return false, optionError("an option is nil")
		}
		opt(&o)
	}
	if err := checkText("the name of PausedBy", o.by); err != nil {
		return false, err
	}
	return pause(ctx, db, flow, "pausing", `SELECT flowc.pause_flow($1, true, $2)`, o.by)
}

// A PauseOption configures [PauseFlow].
type PauseOption func(*pauseOptions)

type pauseOptions struct{ by string }

// PausedBy records who pauses a flow, as [Reason.By] and [FlowInfo.PausedBy] tell it.
func PausedBy(who string) PauseOption { return func(o *pauseOptions) { o.by = who } }

// ResumeFlow hands tasks of a flow to workers again. It reports whether the flow
// was paused.
//
// Errors: [ErrInvalidSlug]; [ErrFlowNotFound].
func ResumeFlow(ctx context.Context, db DB, flow string) (bool, error) {
	return pause(ctx, db, flow, "resuming", `SELECT flowc.pause_flow($1, false)`)
}

func pause(ctx context.Context, db DB, flow, doing, sql string, args ...any) (bool, error) {
	if err := checkFlowSlug(flow); err != nil {
		return false, err
	}
	changed, _, err := collectOne(ctx, db, pgx.RowTo[*bool], sql, append([]any{flow}, args...)...)
	switch {
	case err != nil:
		return false, fmt.Errorf("flowc: %s flow %s: %w", doing, flow, err)
	case changed == nil:
		return false, &FlowNotFoundError{Flow: flow}
	}
	return *changed, nil
}

// DeleteRun deletes a run that has ended with all that belongs to it; its idempotency
// key is free again. With [AllowDataLoss] it deletes one that has not ended, too, and
// whatever its handlers give is dropped. It reports whether there was such a run.
//
// Errors: [ErrInvalidRunID]; [ErrWrongStatus] if the run has not ended, without
// [AllowDataLoss].
func DeleteRun(ctx context.Context, db DB, id string, opts ...DeleteOption) (bool, error) {
	parsed, err := parseRunID(id)
	if err != nil {
		return false, err
	}
	o, err := upsertOptionsOf(opts)
	if err != nil {
		return false, err
	}
	deleted, _, err := collectOne(ctx, db, pgx.RowTo[*bool],
		`SELECT flowc.delete_run($1::text::uuid, $2)`, parsed.String(), o.allowDataLoss)
	switch {
	case err != nil:
		return false, fmt.Errorf("flowc: deleting run %s: %w", id, err)
	case deleted == nil:
		return false, nil
	case !*deleted:
		return false, wrongStatus("deleting", id, "it has not ended; let it end, or cancel it")
	}
	return true, nil
}

// PruneOptions configures [Prune].
type PruneOptions struct {
	// OlderThan is how long ago a run must have ended, by the database's clock.
	// It must be positive.
	OlderThan time.Duration
	// Flows limits it to runs of these flows. Empty means all.
	Flows []string
	// DryRun deletes nothing.
	DryRun bool
	// Progress, if set, is called after each batch with the number so far.
	Progress func(deleted int)
}

// pruneBatch is how many runs one statement of Prune deletes, so that none
// holds locks for long.
const pruneBatch = 1000

// Prune deletes runs that ended long ago, in batches, and the rows of workers
// that have been silent for as long. It returns how many runs it deleted, also if
// it ends with an error, or, in a dry run, would delete, of which it counts a
// million at most.
//
// Errors: [ErrInvalidOption].
func Prune(ctx context.Context, db DB, opts PruneOptions) (int, error) {
	if opts.OlderThan <= 0 {
		return 0, optionError("OlderThan of Prune must be positive, not %s", opts.OlderThan)
	}
	for _, flow := range opts.Flows {
		if err := checkText("a flow of Prune", flow); err != nil {
			return 0, err
		}
	}
	batch := pruneBatch
	if opts.DryRun {
		batch = 1_000_000
	}
	for total := 0; ; {
		deleted, _, err := collectOne(ctx, db, pgx.RowTo[int],
			`SELECT flowc.prune(clock_timestamp() - $1::interval, $2, $3, $4)`,
			opts.OlderThan, nilIfEmpty(opts.Flows), batch, opts.DryRun)
		if pgerr.Cancelled(err) && pooled(db) && batch > 1 && !opts.DryRun {
			batch /= 2 // it takes too long, as runs with many tasks may
			continue
		}
		if err != nil {
			return total, fmt.Errorf("flowc: pruning: %w", err)
		}
		if deleted == 0 { // fewer than a batch may only mean that somebody else prunes as well
			return total, nil
		}
		total += deleted
		if opts.Progress != nil {
			opts.Progress(total)
		}
		if opts.DryRun {
			return total, nil
		}
	}
}
