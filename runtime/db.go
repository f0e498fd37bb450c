package runtime

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime/internal/listen"
	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
	"github.com/flowc-dev/flowc/runtime/internal/upstream"
)

// DB is implemented by *pgxpool.Pool, *pgxpool.Conn, *pgx.Conn and pgx.Tx;
// package sqldb wraps a *sql.DB, *sql.Conn or *sql.Tx.
//
// Through a pool, a call is retried if its connection broke or its transaction
// lost to another: run ids are made by the client, so a start that was executed
// twice is one run. Other calls then report what their last attempt found or
// changed. Through anything else, the caller has to retry.
//
// Wrappers, such as tracing ones, may implement two more methods: IsPool() bool
// reports whether calls through it may be retried, and InTx() bool whether its
// statements are part of a transaction, in which a run cannot be waited for.
// Without them a wrapper is treated as a connection.
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
	rows, _, err := collectAgain(ctx, db, scan, sql, args...)
	return rows, err
}

// collectAgain is [collect] for statements that answer otherwise when they are
// executed twice; again reports whether that may have happened.
func collectAgain[T any](ctx context.Context, db DB, scan pgx.RowToFunc[T], sql string, args ...any) (_ []T, again bool, _ error) {
	if noDB(db) {
		return nil, false, ErrNoDB
	}
	kind := kindOf(ctx, db)
	began, pause := time.Now(), firstRepeat
	for {
		worded, err := wording(kind, sql)
		if err != nil {
			return nil, again, err
		}
		prepared := !unprepared(db)
		rows, err := collectOnce(ctx, db, scan, worded, args)
		if err == nil {
			return rows, again, nil
		}
		if prepared && unprepared(db) && pgerr.NoPreparedStatement(err) {
			continue // there is a pooler, as is known now
		}
		if kind == upstream.Unknown && noEngine(err) && !inTx(db) {
			switch kind = look(ctx, db); kind {
			case upstream.Contract:
				continue
			case upstream.Nothing:
				return nil, again, fmt.Errorf("%w (%w)", ErrEngineMissing, err)
			case upstream.Other:
				return nil, again, fmt.Errorf("%w (%w)", ErrOtherPgflow, err)
			}
		}
		if !pooled(db) || !pgerr.Transient(err) || ctx.Err() != nil || time.Since(began)+pause > repeatFor {
			return nil, again, engineError(err)
		}
		again = again || pgerr.MaybeDone(err)
		select {
		case <-ctx.Done():
			return nil, again, engineError(err)
		case <-time.After(pause):
		}
		pause *= 2
	}
}

func collectOnce[T any](ctx context.Context, db DB, scan pgx.RowToFunc[T], sql string, args []any) ([]T, error) {
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
	if pool, ok := db.(*pgxpool.Pool); ok && pgerr.NoPreparedStatement(err) {
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

// noEngine reports whether an error may say that the engine is not there, or not
// for this role.
func noEngine(err error) bool {
	switch pgerr.Code(err) {
	case "3F000", "42883", "42P01", "42501": // no such schema, function or table; no right to it
		return true
	}
	return false
}

// engineError turns the error of a call into one that says what to do if the
// engine, or one of its functions, is not there.
func engineError(err error) error {
	if noEngine(err) && pgerr.Code(err) != "42501" {
		return fmt.Errorf("%w (%w)", ErrEngineMissing, err)
	}
	return err
}

// noDB reports whether db is nil, or a nil pool or connection.
func noDB(db DB) bool {
	switch db := db.(type) {
	case nil:
		return true
	case *pgxpool.Pool:
		return db == nil
	case *pgxpool.Conn:
		return db == nil
	case *pgx.Conn:
		return db == nil
	}
	return false
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
	if noDB(db) {
		return false
	}
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
