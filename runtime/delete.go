package runtime

import (
	"context"
	"fmt"

	"github.com/flowc-dev/flowc/runtime/internal/valid"
)

// DeleteFlow removes a flow with all its runs. While some have not ended (scheduled
// ones included), it is left as it is, unless [AllowDataLoss] is given. Deleting
// a flow that does not exist is not an error.
//
// Errors: [ErrInvalidSlug]; an [ActiveRunsError] if there are runs that have not ended,
// without [AllowDataLoss]. Nothing is removed then.
func DeleteFlow(ctx context.Context, db DB, slug string, opts ...DeleteOption) (Deleted, error) {
	if err := valid.FlowSlug(slug); err != nil {
		return Deleted{}, err
	}
	o, err := deleteOptionsOf(opts)
	if err != nil {
		return Deleted{}, err
	}
	deleted, err := onBackend(ctx, db, func(b Backend) (Deleted, error) { return b.DeleteFlow(ctx, slug, o) })
	return deleted, doing(err, "deleting flow %s", slug)
}

// FlowExists reports whether the database has a flow. Slugs are case-sensitive. For a slug
// that no flow can have, it returns an [ErrInvalidSlug].
func FlowExists(ctx context.Context, db DB, slug string) (bool, error) {
	if err := valid.FlowSlug(slug); err != nil {
		return false, err
	}
	exists, err := onBackend(ctx, db, func(b Backend) (bool, error) { return b.FlowExists(ctx, slug) })
	if err != nil {
		return false, fmt.Errorf("flowc: looking for flow %s: %w", slug, err)
	}
	return exists, nil
}
