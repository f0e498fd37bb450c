package runtime

import (
	"context"
	"fmt"

	"github.com/flowc-dev/flowc/runtime/internal/valid"
)

// ExplainRun returns what a run waits for, the most important reason first: that it is
// scheduled, that its flow is paused, that no worker serves it, then, step by step, which
// tasks wait for what. For a run that does not exist it returns nothing, and for one that has
// ended only what was requested of it, such as a retry that waits for its turn.
//
// Errors: [ErrInvalidRunID]; [ErrNeedsEngine].
func ExplainRun(ctx context.Context, db DB, id string) ([]Reason, error) {
	parsed, err := valid.RunID(id)
	if err != nil {
		return nil, err
	}
	reasons, err := onCapable(ctx, db, func(b Explainer) ([]Reason, error) { return b.ExplainRun(ctx, parsed.String()) })
	if err != nil {
		return nil, fmt.Errorf("flowc: explaining run %s: %w", id, err)
	}
	return reasons, nil
}
