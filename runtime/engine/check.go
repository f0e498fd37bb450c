package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/pgcall"
)

// Check reports whether this program can work with the engine in a database. It
// needs no rights but those of a worker. Errors: [runtime.ErrEngineMissing],
// [runtime.ErrNeedsEngine] where another pgflow is installed, [runtime.ErrEngineOlder] and
// [runtime.ErrEngineNewer].
func Check(ctx context.Context, db runtime.DB) error {
	var version int
	err := db.QueryRow(ctx, `select flowc.version()`).Scan(&version)
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg) && (pg.Code == "3F000" || pg.Code == "42883"): // no such schema, no such function
		var upstream bool
		if err := db.QueryRow(ctx, `select to_regclass('pgflow.runs') is not null`).Scan(&upstream); err != nil {
			return fmt.Errorf("flowc: check of the engine: %w", err)
		}
		if upstream {
			return fmt.Errorf("flowc: %w", pgcall.ErrContractOnly)
		}
		return fmt.Errorf("flowc: %w", runtime.ErrEngineMissing)
	case err != nil:
		return fmt.Errorf("flowc: check of the engine: %w", err)
	case version < Version:
		return fmt.Errorf("flowc: %w (version %d, this program has %d)", runtime.ErrEngineOlder, version, Version)
	case version > Version:
		return fmt.Errorf("flowc: %w (version %d, this program has %d)", runtime.ErrEngineNewer, version, Version)
	}
	return nil
}
