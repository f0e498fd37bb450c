package ops

import (
	"context"
	"fmt"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/pgcall"
	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
	"github.com/flowc-dev/flowc/runtime/internal/valid"
	"github.com/jackc/pgx/v5"
)

// RunNow makes the waiting tasks of a run visible to workers at once: those with a start
// delay, and those between two attempts. step limits it to one step; empty means all. It
// returns how many tasks there were; for a run that does not exist, 0. It does not affect
// scheduled runs; use [runtime.RescheduleRun].
//
// In a transaction it is requested, as with [runtime.CancelRun], and the result is 0.
//
// Errors: [runtime.ErrInvalidRunID]; [runtime.ErrInvalidOption] for a step that is no
// text; [runtime.ErrRequested].
func RunNow(ctx context.Context, db runtime.DB, id, step string) (int, error) {
	parsed, err := valid.RunID(id)
	if err != nil {
		return 0, err
	}
	if err := valid.Text("the step", step); err != nil {
		return 0, err
	}
	if r, ok := backendOf[runtime.Router](db); ok {
		return route(ctx, r, id, func(db runtime.DB) (int, error) { return RunNow(ctx, db, id, step) })
	}
	if b, ok := backendOf[Inspector](db); ok {
		return b.RunNow(ctx, parsed.String(), step)
	}
	inTx := pgcall.InTx(db)
	row, _, err := pgcall.EngineOne(ctx, db, pgx.RowToStructByPos[struct {
		Requested bool
		Tasks     int
	}], `SELECT requested, coalesce(affected, 0) FROM flowc.request($1::text::uuid, 'run_now', nullif($2, ''), $3)`, parsed.String(), step, !inTx)
	if err == nil && row.Requested && !inTx {
		err = runtime.ErrRequested
	}
	if err != nil {
		return 0, fmt.Errorf("flowc: running the delayed tasks of run %s now: %w", id, err)
	}
	return row.Tasks, nil
}

// PauseFlow stops handing tasks of a flow to workers, in whatever language, until
// [ResumeFlow]. Runs can still be started, and tasks in flight continue. It reports
// whether the flow was not paused before. by names who pauses it, for those whose runs
// wait; empty means the user of the database.
//
// Errors: [runtime.ErrInvalidSlug]; [runtime.ErrFlowNotFound]; [runtime.ErrInvalidOption]
// for a name that is no text.
func PauseFlow(ctx context.Context, db runtime.DB, flow, by string) (bool, error) {
	if err := valid.Text("the name of who pauses", by); err != nil {
		return false, err
	}
	if err := valid.FlowSlug(flow); err != nil {
		return false, err
	}
	if b, ok := backendOf[Operator](db); ok {
		return b.PauseFlow(ctx, flow, by)
	}
	return pause(ctx, db, flow, "pausing", `SELECT flowc.pause_flow($1, true, $2)`, by)
}

// ResumeFlow hands tasks of a flow to workers again. It reports whether the flow
// was paused.
//
// Errors: [runtime.ErrInvalidSlug]; [runtime.ErrFlowNotFound].
func ResumeFlow(ctx context.Context, db runtime.DB, flow string) (bool, error) {
	if err := valid.FlowSlug(flow); err != nil {
		return false, err
	}
	if b, ok := backendOf[Operator](db); ok {
		return b.ResumeFlow(ctx, flow)
	}
	return pause(ctx, db, flow, "resuming", `SELECT flowc.pause_flow($1, false)`)
}

func pause(ctx context.Context, db runtime.DB, flow, doing, sql string, args ...any) (bool, error) {
	changed, _, err := pgcall.EngineOne(ctx, db, pgx.RowTo[*bool], sql, append([]any{flow}, args...)...)
	switch {
	case err != nil:
		return false, fmt.Errorf("flowc: %s flow %s: %w", doing, flow, err)
	case changed == nil:
		return false, &runtime.FlowNotFoundError{Flow: flow}
	}
	return *changed, nil
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
	// Progress, if set, is called after each batch with the number of runs so far.
	Progress func(deleted int)
}

// pruneBatch is how many runs one statement of Prune deletes, so that none holds locks for
// long.
const pruneBatch = 1000

// Prune deletes runs that ended long ago, in batches, and the rows of workers that were last
// seen before that. It returns how many runs it deleted, also with an error; in a dry run,
// how many it would delete, counting a million at most.
//
// Errors: [runtime.ErrInvalidOption].
func Prune(ctx context.Context, db runtime.DB, opts PruneOptions) (int, error) {
	if opts.OlderThan <= 0 {
		return 0, valid.Option("OlderThan of Prune must be positive, not %s", opts.OlderThan)
	}
	for _, flow := range opts.Flows {
		if err := valid.Text("a flow of Prune", flow); err != nil {
			return 0, err
		}
	}
	if b, ok := backendOf[Operator](db); ok {
		return b.Prune(ctx, opts)
	}
	batch := pruneBatch
	if opts.DryRun {
		batch = 1_000_000
	}
	for total := 0; ; {
		deleted, _, err := pgcall.EngineOne(ctx, db, pgx.RowTo[int],
			`SELECT flowc.prune(clock_timestamp() - $1::interval, $2, $3, $4)`,
			opts.OlderThan, pgcall.NilIfEmpty(opts.Flows), batch, opts.DryRun)
		if pgerr.Cancelled(err) && pgcall.Pooled(db) && batch > 1 && !opts.DryRun {
			batch /= 2 // it takes too long, as runs with many tasks may
			continue
		}
		if err != nil {
			return total, fmt.Errorf("flowc: pruning: %w", err)
		}
		if deleted == 0 { // fewer than a batch may mean that somebody else prunes as well
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
