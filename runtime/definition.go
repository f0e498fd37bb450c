package runtime

import (
	"context"
	"fmt"

	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/jackc/pgx/v5"
)

// GetDefinition reads a flow's definition from the database.
//
// Errors: [ErrFlowNotFound].
func GetDefinition(ctx context.Context, db DB, slug string) (spec.Flow, error) {
	if checkFlowSlug(slug) != nil {
		return spec.Flow{}, &FlowNotFoundError{Flow: slug} // for it cannot be there
	}
	doc, _, err := collectOne(ctx, db, pgx.RowTo[[]byte], `SELECT flowc.get_definition($1)`, slug)
	if err != nil {
		return spec.Flow{}, fmt.Errorf("flowc: reading flow %s: %w", slug, err)
	}
	if doc == nil {
		return spec.Flow{}, &FlowNotFoundError{Flow: slug}
	}
	return spec.Parse(slug, doc)
}
