package runtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime/internal/listen"
	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
)

// DB is what every call needs. *pgxpool.Pool, *pgxpool.Conn, *pgx.Conn and
// pgx.Tx are all one; package sqldb makes one of a *sql.DB, *sql.Conn or *sql.Tx.
//
// Through a pool, a call is repeated if the connection broke or the transaction
// lost against another: run ids are made by the client, so that a start which
// was done twice is one run. Through anything else, the caller has to.
//
// A DB of another make, one that traces for example, can say what it is with two
// methods: IsPool() bool reports whether calls may be repeated through it, and
// InTx() bool whether its statements are part of a transaction, in which a run
// cannot be waited for. Without them it is taken for a connection.
type DB interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

var _ DB = (*pgxpool.Pool)(nil)

// How long, and how soon, a call through a pool is tried again. Each of the
// pool's idle connections may be found broken first.
const (
	repeatFor   = 2 * time.Second
	firstRepeat = 5 * time.Millisecond
)

// collect runs one statement of the engine and reads its rows.
func collect[T any](ctx context.Context, db DB, scan pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	if db == nil {
		return nil, errors.New("flowc: db is nil")
	}
	pool, _ := db.(*pgxpool.Pool)
	began, pause := time.Now(), firstRepeat
	for {
		rows, err := collectOnce(ctx, db, pool, scan, sql, args)
		if err == nil {
			return rows, nil
		}
		if !pooled(db) || !pgerr.Transient(err) || ctx.Err() != nil || time.Since(began)+pause > repeatFor {
			return nil, engineError(ctx, db, err)
		}
		select {
		case <-ctx.Done():
			return nil, engineError(ctx, db, err)
		case <-time.After(pause):
		}
		pause *= 2
	}
}

func collectOnce[T any](ctx context.Context, db DB, pool *pgxpool.Pool, scan pgx.RowToFunc[T], sql string, args []any) ([]T, error) {
	if unprepared(db) {
		args = append([]any{pgx.QueryExecModeExec}, args...)
	}
	rows, err := db.Query(ctx, sql, args...)
	if err == nil {
		var all []T
		if all, err = pgx.CollectRows(rows, scan); err == nil {
			return all, nil
		}
	}
	if pool != nil && pgerr.NoPreparedStatement(err) {
		listen.FoundPooler(pool)
	}
	return nil, err
}

// unprepared reports whether statements are to be executed without preparing
// them under a name. There may be a pooler that lends the server's connection to
// somebody else after each transaction, where the name is not there yet, or is
// there already. Through a pool that is found out, and the call repeated; in a
// transaction it would be the end of that.
func unprepared(db DB) bool {
	switch db := db.(type) {
	case *pgxpool.Pool:
		return listen.BehindPooler(db)
	case pgx.Tx, *pgx.Conn, *pgxpool.Conn:
		return true
	}
	return false
}

// collectOne is [collect] for a statement that gives one row; ok is false if it
// gives none.
func collectOne[T any](ctx context.Context, db DB, scan pgx.RowToFunc[T], sql string, args ...any) (row T, ok bool, err error) {
	rows, err := collect(ctx, db, scan, sql, args...)
	if err != nil || len(rows) == 0 {
		return row, false, err
	}
	return rows[0], true, nil
}

// engineError turns the error of a call into one that says what to do if the
// engine, or one of its functions, is not there.
func engineError(ctx context.Context, db DB, err error) error {
	switch pgerr.Code(err) {
	case "3F000", "42883", "42P01": // invalid_schema_name, undefined_function, undefined_table
	default:
		return err
	}
	// In a transaction, which is aborted now, this cannot be found out.
	var foreign bool
	q := `SELECT to_regclass('pgflow.runs') IS NOT NULL AND to_regnamespace('flowc') IS NULL`
	if db.QueryRow(ctx, q).Scan(&foreign) == nil && foreign {
		return fmt.Errorf("flowc: %w", ErrNeedsEngine)
	}
	return fmt.Errorf("flowc: %w (%w)", ErrEngineMissing, err)
}

// pooled reports whether each statement of db gets a connection that works.
func pooled(db DB) bool {
	switch db := db.(type) {
	case *pgxpool.Pool:
		return true
	case interface{ IsPool() bool }:
		return db.IsPool()
	}
	return false
}

// inTx reports whether statements of db are part of a transaction.
func inTx(db DB) bool {
	switch db := db.(type) {
	case interface{ InTx() bool }:
		return db.InTx()
	case pgx.Tx:
		return true
	case *pgx.Conn:
		return db.PgConn().TxStatus() != 'I'
	case *pgxpool.Conn:
		return db.Conn().PgConn().TxStatus() != 'I'
	}
	return false
}
