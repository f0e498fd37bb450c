package runtime

import (
	"context"
	"errors"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/valid"
	"github.com/flowc-dev/flowc/runtime/spec"
)

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
