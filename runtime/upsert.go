package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// An UpsertStatus is what [UpsertFlow] did to a flow.
type UpsertStatus string

// What UpsertFlow may have done.
const (
	// FlowCompiled says that the flow was not there and is now.
	FlowCompiled UpsertStatus = "compiled"
	// FlowVerified says that the flow was there as it should be.
	FlowVerified UpsertStatus = "verified"
	// FlowOptionsUpdated says that attempts, delays, timeouts or the schedule were changed.
	FlowOptionsUpdated UpsertStatus = "options_updated"
	// FlowRecompiled says that the flow had another shape: it was deleted with
	// all its runs, and is there anew.
	FlowRecompiled UpsertStatus = "recompiled"
	// FlowMismatch says that the flow has another shape and was left as it is.
	FlowMismatch UpsertStatus = "mismatch"
)

// UpsertResult reports what [UpsertFlow] did.
type UpsertResult struct {
	Status UpsertStatus `json:"status"`
	// Differences are those of the given shape, called first, and the one that
	// was stored, for [FlowRecompiled] and [FlowMismatch].
	Differences []string `json:"differences"`
	// DeletedRuns is how many runs were deleted by [FlowRecompiled].
	DeletedRuns int `json:"deleted_runs"`
}

// An UpsertOption says what happens if the database has another shape of a flow:
// there is [AllowDataLoss].
type UpsertOption func(*upsertOptions)

type upsertOptions struct{ allowDataLoss bool }

// AllowDataLoss allows what loses runs, and nothing else does: [UpsertFlow] deletes a
// flow of another shape with all its runs and puts the new one in its place, and
// [DeleteFlow] and [DeleteRun] delete runs that have not ended, too. This is what the
// reference implementation of pgflow does in development, and when a flow is deleted.
func AllowDataLoss() UpsertOption { return func(o *upsertOptions) { o.allowDataLoss = true } }

func upsertOptionsOf(opts []UpsertOption) (upsertOptions, error) {
	var o upsertOptions
	for _, opt := range opts {
		if opt == nil {
			return o, optionError("an option is nil")
		}
		opt(&o)
	}
	return o, nil
}

const upsertSQL = `SELECT flowc.upsert_flow($1, $2::text::jsonb, $3)`

// upsertScheduledSQL is the same for a definition that has a schedule, which
// pgflow's contract does not know.
const upsertScheduledSQL = upsertSQL + ` AS scheduled`

// UpsertFlow puts a flow into the database. Options are changed in place. If the
// flow is there with another shape, it is left as it is, unless [AllowDataLoss] is
// given: then it is deleted with all its runs first.
//
// A flow with [spec.Flow.Cron] is started by the clock from now on, one without
// is not any more; see [ListSchedules].
//
// Errors: an [spec.InvalidFlowError] with everything that is wrong, before the
// database is touched, or after the database could not read Cron; a
// [MismatchError], with the result. Nothing was written then.
func UpsertFlow(ctx context.Context, db DB, flow spec.Flow, opts ...UpsertOption) (UpsertResult, error) {
	o, err := upsertOptionsOf(opts)
	if err != nil {
		return UpsertResult{}, err
	}
	payload, err := flow.Payload()
	if err != nil {
		return UpsertResult{}, err
	}
	sql := upsertSQL
	if flow.Cron != "" {
		sql = upsertScheduledSQL
	}
	row, _, err := collectOne(ctx, db, pgx.RowTo[[]byte], sql, flow.Slug, string(payload), o.allowDataLoss)
	switch {
	case isCronError(err):
		return UpsertResult{}, &spec.InvalidFlowError{Flow: flow.Slug, Faults: []spec.Fault{{Problem: cronProblem(flow.Cron, err)}}}
	case pgerr.Unstorable(err):
		return UpsertResult{}, &spec.InvalidFlowError{Flow: flow.Slug, Faults: []spec.Fault{{Problem: fmt.Sprintf("the database cannot store it: %v", err)}}}
	case err != nil:
		return UpsertResult{}, fmt.Errorf("flowc: upserting flow %s: %w", flow.Slug, err)
	}
	var result UpsertResult
	if err := json.Unmarshal(row, &result); err != nil {
		return UpsertResult{}, fmt.Errorf("flowc: upserting flow %s: what the database answered: %w", flow.Slug, err)
	}
	if result.Status == FlowMismatch {
		return result, &MismatchError{Flow: flow.Slug, Differences: result.Differences}
	}
	return result, nil
}

// UpsertServed puts the flows of all services into the database, as their generated
// Upsert functions do: what is there with other steps is left as it is. All are tried;
// the errors are joined. It is what a program does before it runs a worker for them.
//
// Errors: those of [UpsertFlow], a [MismatchError] among them; [ErrNoDB].
func UpsertServed(ctx context.Context, db DB, services ...handler.Service) error {
	var faults []error
	for _, s := range services {
		if _, err := UpsertFlow(ctx, db, s.Definition()); err != nil {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}
