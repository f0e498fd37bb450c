package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/engine"
)

// check refuses to work with an engine, or on flows, that are not what this
// program was built for. All flows are looked at before it returns.
func (w *Worker) check(ctx context.Context, db *database) error {
	if err := engine.Check(ctx, db.pool); err != nil {
		return err
	}
	var faults []error
	for _, slug := range w.slugs {
		payload, err := w.services[slug].definition.Payload()
		if err != nil {
			return err
		}
		differences, found, err := db.compare(ctx, slug, payload)
		switch {
		case err != nil:
			return fmt.Errorf("flowc: worker: comparing flow %s: %w", slug, err)
		case !found:
			faults = append(faults, &runtime.FlowNotFoundError{Flow: slug})
		case len(differences) > 0:
			faults = append(faults, fmt.Errorf(
				"flowc: worker: flow %s in the database is not what this program was built for; give the new shape a slug of its own (tag version), or bring the database to it (program first, database second):\n\t%s",
				slug, strings.Join(differences, "\n\t")))
		}
	}
	return errors.Join(faults...)
}
