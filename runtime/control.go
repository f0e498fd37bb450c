package runtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// ErrWrongStatus says that a run is not in a status in which it could be
// cancelled, retried or rescheduled.
var ErrWrongStatus = errors.New("run is not in the right status for this")

// CancelRun ends a run that has not ended, scheduled ones included. The contexts
// of its running handlers end within seconds, with [ErrTaskLost] as their cause, and
// whatever they give is dropped. reason may be empty; waiters get it as the
// message of a [RunFailedError].
//
// Errors: [ErrInvalidRunID]; [ErrRunNotFound]; [ErrWrongStatus] if the run has ended.
func CancelRun(ctx context.Context, db DB, id, reason string) error {
	return steer(ctx, db, id, "cancelling", "it has ended",
		`SELECT flowc.cancel_run($1::text::uuid, nullif($2, ''))`, reason)
}

// RetryRun takes up a run that failed or was cancelled where it stopped: the
// outputs of steps that completed are kept, as are those of the tasks of a map
// that did, and all other tasks get all their tries again.
//
// Errors: [ErrInvalidRunID]; [ErrRunNotFound]; [ErrWrongStatus] if the run neither
// failed nor was cancelled.
func RetryRun(ctx context.Context, db DB, id string) error {
	return steer(ctx, db, id, "retrying", "it neither failed nor was cancelled", `SELECT flowc.retry_run($1::text::uuid)`)
}

// RescheduleRun moves the start of a scheduled run, by the database's clock. A
// time that is past means now.
//
// Errors: [ErrInvalidRunID]; [ErrInvalidOption] for the zero time; [ErrWrongStatus]
// if the run is not waiting for its start, or not there.
func RescheduleRun(ctx context.Context, db DB, id string, at time.Time) error {
	if at.IsZero() {
		return optionError("the time to start at is the zero time")
	}
	return steer(ctx, db, id, "rescheduling", "it does not wait for its start",
		`SELECT flowc.reschedule_run($1::text::uuid, $2)`, at)
}

// steer calls a function that answers with true, with false if the run is not in
// the right status, and with NULL if there is no such run.
func steer(ctx context.Context, db DB, id, doing, otherwise, sql string, args ...any) error {
	parsed, err := parseRunID(id)
	if err != nil {
		return err
	}
	done, _, err := collectOne(ctx, db, pgx.RowTo[*bool], sql, append([]any{parsed.String()}, args...)...)
	switch {
	case err != nil:
		return fmt.Errorf("flowc: %s run %s: %w", doing, id, err)
	case done == nil:
		return fmt.Errorf("flowc: %s: %w: %s", doing, ErrRunNotFound, id)
	case !*done:
		return fmt.Errorf("flowc: %s run %s: %w: %s", doing, id, ErrWrongStatus, otherwise)
	}
	return nil
}

// RunNow makes what waits in a run visible to workers at once: tasks behind a
// start delay, and tasks between two tries. step limits it to one step; empty
// means all. It returns how many tasks there were.
//
// Errors: [ErrInvalidRunID].
func RunNow(ctx context.Context, db DB, id, step string) (int, error) {
	parsed, err := parseRunID(id)
	if err != nil {
		return 0, err
	}
	shown, _, err := collectOne(ctx, db, pgx.RowTo[int],
		`SELECT flowc.run_now($1::text::uuid, nullif($2, ''))`, parsed.String(), step)
	if err != nil {
		return 0, fmt.Errorf("flowc: hurrying run %s: %w", id, err)
	}
	return shown, nil
}

// DeleteRun deletes a run, whatever its status, with all that belongs to it; its
// idempotency key is free again. It reports whether there was such a run.
//
// Errors: [ErrInvalidRunID].
func DeleteRun(ctx context.Context, db DB, id string) (bool, error) {
	parsed, err := parseRunID(id)
	if err != nil {
		return false, err
	}
	deleted, err := deleteRuns(ctx, db, []uuid.UUID{parsed})
	return deleted > 0, err
}

func deleteRuns(ctx context.Context, db DB, ids []uuid.UUID) (int, error) {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = id.String()
	}
	deleted, _, err := collectOne(ctx, db, pgx.RowTo[int], `SELECT flowc.delete_runs($1::text[]::uuid[])`, texts)
	if err != nil {
		return 0, fmt.Errorf("flowc: deleting runs: %w", err)
	}
	return deleted, nil
}

// PruneOptions say what [Prune] deletes.
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
// that have been silent for as long. It returns how many runs it deleted or, in a
// dry run, would delete, of which it counts a million at most.
func Prune(ctx context.Context, db DB, opts PruneOptions) (int, error) {
	if opts.OlderThan <= 0 {
		return 0, optionError("OlderThan of Prune must be positive, not %s", opts.OlderThan)
	}
	batch := pruneBatch
	if opts.DryRun {
		batch = 1_000_000
	}
	for total := 0; ; {
		deleted, _, err := collectOne(ctx, db, pgx.RowTo[int],
			`SELECT flowc.prune(clock_timestamp() - $1::interval, $2, $3, $4)`, opts.OlderThan, opts.Flows, batch, opts.DryRun)
		if err != nil {
			return total, fmt.Errorf("flowc: pruning: %w", err)
		}
		total += deleted
		if opts.Progress != nil {
			opts.Progress(total)
		}
		if deleted < batch || opts.DryRun {
			return total, nil
		}
	}
}
