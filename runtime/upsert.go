package runtime

import (
	"context"
	"errors"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/valid"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// An UpsertStatus is what [UpsertFlow] did to a flow.
type UpsertStatus string

// What UpsertFlow may have done.
const (
	// UpsertCompiled says that the flow was not there and is now.
	UpsertCompiled UpsertStatus = "compiled"
	// UpsertVerified says that the flow was there as it should be.
	UpsertVerified UpsertStatus = "verified"
	// UpsertOptionsUpdated says that attempts, delays, timeouts or the schedule were changed.
	UpsertOptionsUpdated UpsertStatus = "options_updated"
	// UpsertRecompiled says that the flow had another shape: it was deleted with
	// all its runs, and is there anew.
	UpsertRecompiled UpsertStatus = "recompiled"
	// UpsertMismatch says that the flow has another shape and was left as it is.
	UpsertMismatch UpsertStatus = "mismatch"
)

// UpsertResult reports what [UpsertFlow] did.
type UpsertResult struct {
	Status UpsertStatus `json:"status"`
	// Differences are those of the given shape, called first, and the one that
	// was stored, for [UpsertRecompiled] and [UpsertMismatch].
	Differences []string `json:"differences"`
	// DeletedRuns is how many runs were deleted by [UpsertRecompiled].
	DeletedRuns int `json:"deleted_runs"`
}

// An UpsertOption configures [UpsertFlow]: there is [AllowDataLoss].
type UpsertOption interface{ applyUpsert(*UpsertOptions) }

// A DeleteOption configures [DeleteFlow] and [DeleteRun]: there is [AllowDataLoss].
type DeleteOption interface{ applyDelete(*DeleteOptions) }

// A DataLossOption goes with all functions that may lose runs.
type DataLossOption interface {
	UpsertOption
	DeleteOption
}

// UpsertOptions are what a [Backend] is told of the options of [UpsertFlow].
type UpsertOptions struct{ AllowDataLoss bool }

// DeleteOptions are what a [Backend] is told of the options of [DeleteFlow] and [DeleteRun].
type DeleteOptions struct{ AllowDataLoss bool }

type allowDataLoss struct{}

func (allowDataLoss) applyUpsert(o *UpsertOptions) { o.AllowDataLoss = true }
func (allowDataLoss) applyDelete(o *DeleteOptions) { o.AllowDataLoss = true }

// AllowDataLoss allows what loses runs, and nothing else does: [UpsertFlow] deletes a
// flow of another shape with all its runs and puts the new one in its place, and
// [DeleteFlow] and [DeleteRun] delete runs that have not ended, too. This is what the
// reference implementation of pgflow does in development, and when a flow is deleted.
func AllowDataLoss() DataLossOption { return allowDataLoss{} }

func deleteOptionsOf(opts []DeleteOption) (o DeleteOptions, _ error) {
	for _, opt := range opts {
		if opt == nil {
			return o, valid.Option("an option is nil")
		}
		opt.applyDelete(&o)
	}
	return o, nil
}

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
	var o UpsertOptions
	for _, opt := range opts {
		if opt == nil {
			return UpsertResult{}, valid.Option("an option is nil")
		}
		opt.applyUpsert(&o)
	}
	if err := flow.Validate(); err != nil {
		return UpsertResult{}, err
	}
	result, err := with(ctx, db, func(b Backend) (UpsertResult, error) { return b.UpsertFlow(ctx, flow, o) })
	if err == nil && result.Status == UpsertMismatch {
		err = &MismatchError{Flow: flow.Slug, Differences: result.Differences}
	}
	return result, doing(err, "upserting flow %s", flow.Slug)
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
