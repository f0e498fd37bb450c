package runtime

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/flowc-dev/flowc/runtime/internal/valid"
)

// RunSchedule starts a run of a flow now, as its schedule would, with the time of the call
// as its tick. It also works if the schedule is paused, and does not affect the next tick.
//
// Errors: [ErrInvalidSlug]; [ErrNoSchedule]; a [DuplicateRunError] if the flow is unique and
// has a run that has not ended.
func RunSchedule(ctx context.Context, db DB, slug string) (*Run[json.RawMessage], error) {
	if err := valid.FlowSlug(slug); err != nil {
		return nil, err
	}
	ids, err := new(startOptions).runIDs(db, slug, 1)
	if err != nil {
		return nil, err
	}
	id := ids[0]
	ok, err := onCapable(ctx, db, func(b Scheduler) (bool, error) { return b.RunSchedule(ctx, slug, id.String()) })
	switch {
	case err != nil:
		return nil, fmt.Errorf("flowc: running the schedule of flow %s: %w", slug, err)
	case !ok:
		return nil, fmt.Errorf("flowc: running the schedule of flow %s: %w", slug, ErrNoSchedule)
	}
	return &Run[json.RawMessage]{db: db, id: id, flow: slug, output: untypedOutput}, nil
}
