package runtime

import (
	"context"
	"errors"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/valid"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// UpsertFlow adds a flow to the database, or updates the options of an existing one. If
// the flow exists with another shape, it is left as it is, unless [AllowDataLoss] is given:
// then it is deleted with all its runs first.
//
// A flow with [spec.Flow.Cron] is started on schedule from now on, one without no longer;
// see ops.ListSchedules.
//
// Errors: a [spec.InvalidFlowError] with everything that is wrong, before the first query,
// or if the database cannot parse Cron; a [MismatchError], with the result. Nothing is
// written then.
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
	result, err := onBackend(ctx, db, func(b Backend) (UpsertResult, error) { return b.UpsertFlow(ctx, flow, o) })
	if err == nil && result.Status == UpsertMismatch {
		err = &MismatchError{Flow: flow.Slug, Differences: result.Differences}
	}
	return result, doing(err, "upserting flow %s", flow.Slug)
}

// UpsertServed upserts the flows of all services, as their generated Upsert functions do:
// flows that exist with another shape are left as they are. It attempts all of them and
// joins the errors. A program calls it before it runs a worker for them.
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
