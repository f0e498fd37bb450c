package ops

import (
	"context"
	"fmt"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/pgcall"
	"github.com/flowc-dev/flowc/runtime/internal/valid"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/jackc/pgx/v5"
)

// GetDefinition reads a flow's definition from the database.
//
// Errors: [runtime.ErrFlowNotFound].
func GetDefinition(ctx context.Context, db runtime.DB, slug string) (spec.Flow, error) {
	if valid.FlowSlug(slug) != nil {
		return spec.Flow{}, &runtime.FlowNotFoundError{Flow: slug} // it cannot exist
	}
	if b, ok := backendOf[Definer](db); ok {
		return b.GetDefinition(ctx, slug)
	}
	doc, _, err := pgcall.EngineOne(ctx, db, pgx.RowTo[[]byte], `SELECT flowc.get_definition($1)`, slug)
	if err != nil {
		return spec.Flow{}, fmt.Errorf("flowc: reading flow %s: %w", slug, err)
	}
	if doc == nil {
		return spec.Flow{}, &runtime.FlowNotFoundError{Flow: slug}
	}
	return spec.Parse(slug, doc)
}
