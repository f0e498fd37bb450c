package ops

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/pgcall"
	"github.com/flowc-dev/flowc/runtime/internal/valid"
)

// A WaitCount says how many runs of a flow wait for an answer in one of its steps.
// [runtime.ListWaiting] lists them.
type WaitCount struct {
	Flow string `json:"flow"`
	Step string `json:"step"`
	// Waiting is how many there are, at least 1.
	Waiting int `json:"waiting"`
	// Oldest is since when the first of them waits.
	Oldest time.Time `json:"oldest"`
	// Endless is how many of them have no time at which they give up, and OldestEndless
	// since when the first of those waits; zero if there is none.
	Endless       int       `json:"endless"`
	OldestEndless time.Time `json:"oldest_endless,omitzero"`
}

// CountWaits counts the steps that wait for an answer, by flow and step. It reads all of
// them.
func CountWaits(ctx context.Context, db runtime.DB) ([]WaitCount, error) {
	if b, ok := backendOf[WaitLister](db); ok {
		return b.CountWaits(ctx)
	}
	counts, err := pgcall.Engine(ctx, db, scanWaitCount, `
		SELECT flow_slug, step_slug, waiting, oldest, endless, oldest_endless FROM flowc.count_waits()`)
	if err != nil {
		return nil, fmt.Errorf("flowc: counting the steps that wait: %w", err)
	}
	return counts, nil
}

func scanWaitCount(row pgx.CollectableRow) (c WaitCount, err error) {
	var endless *time.Time
	err = row.Scan(&c.Flow, &c.Step, &c.Waiting, &c.Oldest, &c.Endless, &endless)
	c.OldestEndless = pgcall.OrZero(endless)
	return c, err
}

// A Request is something that was asked of a run in a transaction, or while somebody else
// held the run, and that is not done yet: see [runtime.CancelRun].
type Request struct {
	RunID string `json:"run_id"`
	Flow  string `json:"flow"`
	// Action is cancel, retry, retry_step or run_now.
	Action string `json:"action"`
	// Argument is the reason to cancel the run, or the step.
	Argument string    `json:"argument,omitempty"`
	At       time.Time `json:"at"`
	// Error is why it could not be done; it is not tried again.
	Error string `json:"error,omitempty"`
	// Shard is the database of the run, if there are several.
	Shard string `json:"shard,omitempty"`
}

// ListRequests returns up to limit requests that are older than a time and were not applied,
// and those that could not be, the oldest first. A worker that serves the flow applies a
// request at once.
//
// Errors: [runtime.ErrInvalidOption].
func ListRequests(ctx context.Context, db runtime.DB, before time.Time, limit int) ([]Request, error) {
	if err := valid.Time("before", before); err != nil {
		return nil, err
	}
	if limit < 1 {
		return nil, valid.Option("limit is %d, it must be positive", limit)
	}
	if b, ok := backendOf[WaitLister](db); ok {
		return b.ListRequests(ctx, before, limit)
	}
	requests, err := pgcall.Engine(ctx, db, scanRequest, `
		SELECT run_id::text, flow_slug, action, argument, requested_at, error FROM flowc.list_requests($1, $2)`, before, asInt4(limit))
	if err != nil {
		return nil, fmt.Errorf("flowc: listing requests: %w", err)
	}
	return requests, nil
}

func scanRequest(row pgx.CollectableRow) (r Request, err error) {
	var argument, fault *string
	err = row.Scan(&r.RunID, &r.Flow, &r.Action, &argument, &r.At, &fault)
	r.Argument, r.Error = pgcall.OrZero(argument), pgcall.OrZero(fault)
	return r, err
}
