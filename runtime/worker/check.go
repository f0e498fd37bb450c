package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/listen"
	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
	"github.com/flowc-dev/flowc/runtime/internal/upstream"
)

const (
	// proofWait is how long a worker waits to learn whether notifications arrive,
	// once the database is there.
	proofWait = 3 * time.Second
	// soonProved is how long it waits for that first.
	soonProved = 300 * time.Millisecond
)

// open connects and checks, while the database is away again and again. judges is
// from when on the worker may take others for dead.
//
// Until notifications have been seen to arrive, it does nothing that a pooler in
// transaction mode would take amiss. Then there is none, and it connects anew and
// has statements prepared.
func (w *Worker) open(ctx context.Context, listener *listen.Listener) (db calls, judges time.Time, _ error) {
	proved := func(wait time.Duration) bool {
		select {
		case <-listener.Proved():
		case <-ctx.Done():
		case <-time.After(wait):
		}
		return listener.Live() != 0
	}
	trusting := proved(soonProved)
	first, err := w.connect(trusting)
	if err != nil {
		return nil, judges, fmt.Errorf("flowc: worker: %w", err)
	}
	var kind upstream.Kind
	err = first.patiently(ctx, func() (err error) {
		kind, err = first.look(ctx)
		switch {
		case err == nil && kind == upstream.Other:
			err = fmt.Errorf("flowc: worker: %w", runtime.ErrOtherPgflow)
		case err == nil:
			db = w.callsOf(kind, first)
			err = w.check(ctx, db)
		}
		if err == nil || pgerr.Transient(err) {
			first.observe("check", err)
		}
		if err != nil {
			judges = time.Now().Add(deadAfter) // the others have been cut off, too
		}
		return err
	})
	if err != nil {
		first.close()
		return nil, judges, err
	}
	if trusting || !proved(proofWait) {
		return db, judges, nil
	}
	first.close()
	second, err := w.connect(true)
	if err != nil {
		return nil, judges, fmt.Errorf("flowc: worker: %w", err)
	}
	return w.callsOf(kind, second), judges, nil
}

// callsOf are the calls for a database that has what kind says.
func (w *Worker) callsOf(kind upstream.Kind, d *database) calls {
	if kind == upstream.Contract {
		return &contractCalls{database: d, services: w.services, retains: w.config.Retention > 0}
	}
	return &engineCalls{database: d}
}

// check refuses to work with an engine, or on flows, that are not what this
// program was built for. All flows are looked at before it returns.
func (w *Worker) check(ctx context.Context, db calls) error {
	if err := db.verify(ctx); err != nil {
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
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	return w.checkCrons(ctx, db)
}

// checkCrons warns of schedules that are not what this program declares. It works
// nevertheless: another version of it may have had the last word.
func (w *Worker) checkCrons(ctx context.Context, db calls) error {
	stored, err := db.crons(ctx, w.slugs)
	if err != nil {
		return fmt.Errorf("flowc: worker: reading schedules: %w", err)
	}
	for _, slug := range w.slugs {
		if declared := w.services[slug].definition.Cron; declared != stored[slug] {
			w.log.Warn("schedule in the database differs from this program's, call the flow's Upsert function to update it",
				"flow", slug, "declared", declared, "stored", stored[slug])
		}
	}
	return nil
}
