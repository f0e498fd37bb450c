package runtime

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/flowc-dev/flowc/runtime/internal/pgcall"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A pgflowBackend is a PostgreSQL with pgflow alone: another implementation of pgflow was
// installed there, or the role may not use the schema flowc. It uses the functions of
// pgflow's contract, and supports what they do.
type pgflowBackend struct{ db DB }

// Start drops the headers of a tracer. A run with a chosen id that is started twice at
// the same time would be a violation, so those are locked.
func (b pgflowBackend) Start(ctx context.Context, r StartRequest) ([]StartedRun, error) {
	if r.Priority != "" {
		return nil, startError(r, pgcall.ErrContractOnly)
	}
	sql := pgflowStartSQL
	if r.WithoutUnique {
		return nil, startError(r, pgcall.ErrContractOnly)
	}
	for _, run := range r.Runs {
		if run.Headers != nil && !run.Traced {
			return nil, startError(r, pgcall.ErrContractOnly)
		}
		if run.Chosen {
			sql = pgflowStartChosenSQL
		}
	}
	args := r.args()
	if sql == pgflowStartChosenSQL && pgcall.InTx(b.db) {
		if _, err := pgcall.Pgflow(ctx, b.db, pgx.RowTo[bool], pgflowLockSQL, args[2]); err != nil {
			return nil, startError(r, err)
		}
	}
	rows, err := pgcall.Pgflow(ctx, b.db, scanStarted, sql, args...)
	if isTaken(err) && pgcall.Pooled(b.db) {
		rows, err = pgcall.Pgflow(ctx, b.db, scanStarted, sql, args...)
	}
	if err == nil && len(rows) == 0 {
		err = pgcall.ErrContractOnly // the contract has no later start
	}
	if err != nil {
		return nil, startError(r, err)
	}
	return r.started(rows)
}

func (b pgflowBackend) Run(ctx context.Context, id string, detail RunDetail) (*RunInfo, error) {
	info, err := foundRun(id)(pgcall.PgflowOne(ctx, b.db, scanRun, pgflowGetRunSQL, id, detail.States))
	if err == nil && !detail.Payloads {
		info.Input, info.Output = nil, nil
		for i := range info.States {
			info.States[i].Output = nil
		}
	}
	return info, err
}

func (b pgflowBackend) Outcome(ctx context.Context, id string, want Want) (Outcome, error) {
	o, found, err := pgcall.PgflowOne(ctx, b.db, scanOutcome, pgflowOutcomeSQL, id, want.steps(), want.Input)
	return readOutcome(ctx, b, id, want, o, found, err)
}

// UpsertFlow leaves the options of an existing flow unchanged.
func (b pgflowBackend) UpsertFlow(ctx context.Context, flow spec.Flow, o UpsertOptions) (UpsertResult, error) {
	payload, err := flow.Payload()
	if err != nil {
		return UpsertResult{}, err
	}
	if flow.Cron != "" || flow.NeedsEngine() || flow.HasPriorities() {
		return readUpsert(flow, nil, pgcall.ErrContractOnly)
	}
	row, _, err := pgcall.PgflowOne(ctx, b.db, pgx.RowTo[[]byte], pgflowUpsertSQL, flow.Slug, string(payload), o.AllowDataLoss)
	return readUpsert(flow, row, err)
}

func (b pgflowBackend) DeleteFlow(ctx context.Context, slug string, o DeleteOptions) (Deleted, error) {
	row, _, err := pgcall.PgflowOne(ctx, b.db, pgx.RowTo[[]byte], pgflowDeleteSQL, slug, o.AllowDataLoss)
	return readDelete(slug, row, err)
}

func (b pgflowBackend) FlowExists(ctx context.Context, slug string) (bool, error) {
	exists, _, err := pgcall.PgflowOne(ctx, b.db, pgx.RowTo[bool], pgflowExistsSQL, slug)
	return exists, err
}
