package runtime

import (
	"context"
	"errors"
	"fmt"

	"github.com/flowc-dev/flowc/runtime/internal/pgcall"
)

// onBackend calls a function with the backend of a db.
func onBackend[T any](ctx context.Context, db DB, do func(Backend) (T, error)) (T, error) {
	if pgcall.IsNil(db) {
		return *new(T), ErrNoDB
	}
	if e, ok := db.(BackendDB); ok {
		return do(e.Backend())
	}
	if pgcall.KindOf(ctx, db) != pgcall.HasContract {
		v, err := do(engineBackend{db})
		if !errors.Is(err, ErrNeedsEngine) {
			return v, err
		} // the database turned out to have only pgflow
	}
	return do(pgflowBackend{db})
}

// doing adds the operation to an error that says there is no database; other errors name
// it already.
func doing(err error, format string, args ...any) error {
	if err == ErrNoDB {
		return fmt.Errorf("flowc: %s: %w", fmt.Sprintf(format, args...), err)
	}
	return err
}

// onCapable does what [onBackend] does, for operations that some backends do not support.
func onCapable[B, T any](ctx context.Context, db DB, do func(B) (T, error)) (T, error) {
	return onBackend(ctx, db, func(b Backend) (T, error) {
		if some, ok := b.(B); ok {
			return do(some)
		}
		if e, ok := db.(BackendDB); ok {
			return *new(T), e.Unsupported()
		}
		return *new(T), pgcall.ErrContractOnly
	})
}

// sendNow starts runs in a statement of their own.
func sendNow(ctx context.Context, db DB, r StartRequest) ([]StartedRun, error) {
	started, err := onBackend(ctx, db, func(b Backend) ([]StartedRun, error) { return b.Start(ctx, r) })
	if err != nil {
		err = doing(err, "starting flow %s", r.Flow)
	}
	return started, err
}

// capability returns the backend of a db that is no PostgreSQL as a B, if it is one.
func capability[B any](db DB) (b B, ok bool) {
	if e, has := db.(BackendDB); has && !pgcall.IsNil(db) {
		b, ok = e.Backend().(B)
	}
	return b, ok
}
