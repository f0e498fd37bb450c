package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/listen"
	"github.com/flowc-dev/flowc/runtime/internal/pgcall"
	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
	"github.com/flowc-dev/flowc/runtime/worker/internal/backend"
	"github.com/flowc-dev/flowc/runtime/worker/internal/dbconn"
)

const (
	// shortProofTime is how long a worker waits to learn whether notifications arrive
	// before it connects, and proofTime how long once it has.
	shortProofTime = 300 * time.Millisecond
	proofTime      = 3 * time.Second
)

var (
	detectCall = dbconn.Call{Name: "detect", Timeout: 3 * time.Second}
	checkCall  = dbconn.Call{Name: "check"}
)

// A connection is a worker's connection to a database that has been checked.
type connection struct {
	db           *dbconn.DB
	backend      backend.Backend
	recoverAfter time.Time // from when other workers may be presumed dead
}

// connect connects and checks, again and again while the database is unreachable.
//
// Until notifications have been seen to arrive, it does nothing that a pooler in
// transaction mode does not support. Once they have, there is none, and it reconnects
// with prepared statements.
func connect(ctx context.Context, s *settings, listener *listen.Listener, w *backend.Worker, observer dbconn.Observer) (c connection, _ error) {
	proved := func(wait time.Duration) bool {
		select {
		case <-listener.Proved():
		case <-ctx.Done():
		case <-time.After(wait):
		}
		return listener.Live() != 0
	}
	open := func(prepared bool) error {
		db, err := dbconn.Open(s.pool, prepared, observer, s.config.Logger)
		if err != nil {
			return fmt.Errorf("flowc: worker: %w", err)
		}
		c.db = db
		return nil
	}
	prepared := proved(shortProofTime)
	if err := open(prepared); err != nil {
		return c, err
	}
	var kind pgcall.Kind
	err := c.db.Retry(ctx, func() (err error) {
		kind, err = detect(ctx, c.db)
		switch {
		case err == nil && kind == pgcall.HasOtherPgflow:
			err = fmt.Errorf("flowc: worker: %w", runtime.ErrOtherPgflow)
		case err == nil:
			c.backend = newBackend(kind, c.db, w)
			err = s.check(ctx, c.backend)
		}
		if err == nil || pgerr.Transient(err) {
			c.db.Observe(checkCall, err)
		}
		if err != nil {
			c.recoverAfter = time.Now().Add(backend.DeadAfter) // the others were cut off, too
		}
		return err
	})
	if err != nil {
		c.db.Close()
		return c, err
	}
	if prepared || !proved(proofTime) {
		return c, nil
	}
	c.db.Close()
	if err := open(true); err != nil {
		return c, err
	}
	c.backend = newBackend(kind, c.db, w)
	return c, nil
}

// detect returns what is installed in the database.
func detect(ctx context.Context, db *dbconn.DB) (kind pgcall.Kind, err error) {
	err = db.Do(ctx, detectCall, func(ctx context.Context, pool *pgxpool.Pool) error {
		kind, err = pgcall.Detect(ctx, pool)
		return err
	})
	return kind, err
}

// newBackend returns the backend for what is installed in the database.
func newBackend(kind pgcall.Kind, db *dbconn.DB, w *backend.Worker) backend.Backend {
	if kind == pgcall.HasContract {
		return backend.NewPGFlow(db, w)
	}
	return backend.NewEngine(db, w)
}

// check refuses an engine and flows that are not what this program was built for. It
// looks at all flows before it returns.
func (s *settings) check(ctx context.Context, b backend.Backend) error {
	if err := b.Verify(ctx); err != nil {
		return err
	}
	var errs []error
	for _, slug := range s.slugs {
		for _, step := range s.services[slug].definition.Steps {
			if s.services[slug].steps[step.Slug].tx != "" && !b.SupportsTransactions() {
				return fmt.Errorf("flowc: worker: step %s of flow %s commits with its effects: %w", step.Slug, slug, runtime.ErrNeedsEngine)
			}
		}
		payload, err := s.services[slug].definition.Payload()
		if err != nil {
			return err
		}
		differences, found, err := b.CompareFlow(ctx, slug, payload)
		switch {
		case err != nil:
			return fmt.Errorf("flowc: worker: comparing flow %s: %w", slug, err)
		case !found:
			errs = append(errs, &runtime.FlowNotFoundError{Flow: slug})
		case len(differences) > 0:
			errs = append(errs, fmt.Errorf(
				"flowc: worker: flow %s in the database is not what this program was built for; give the new shape a slug of its own (tag version), or bring the database to it (program first, database second):\n\t%s",
				slug, strings.Join(differences, "\n\t")))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	return s.checkCrons(ctx, b)
}

// checkCrons warns of schedules that differ from those that this program declares. That
// is no error: they may be those of another version of it.
func (s *settings) checkCrons(ctx context.Context, b backend.Backend) error {
	stored, err := b.Crons(ctx)
	if err != nil {
		return fmt.Errorf("flowc: worker: reading schedules: %w", err)
	}
	for _, slug := range s.slugs {
		if declared := s.services[slug].definition.Cron; declared != stored[slug] {
			s.config.Logger.Warn("schedule in the database differs from this program's, call the flow's Upsert function to update it",
				"flow", slug, "declared", declared, "stored", stored[slug])
		}
	}
	return nil
}
