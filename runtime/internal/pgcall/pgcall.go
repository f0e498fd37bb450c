// Package pgcall executes statements of the client on a PostgreSQL: through a pool, a
// connection or a transaction. It retries what a lost connection or a lost race undid,
// copes with poolers, and reports what is wrong with a database that has no engine.
package pgcall

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

// DB is that of package runtime.
type DB interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// An EngineError says that a call cannot use a database. Package runtime exports and
// documents it.
type EngineError string

func (e EngineError) Error() string { return string(e) }

// The errors of calls.
const (
	ErrEngineMissing EngineError = "the database has no flowc engine, or an older one: run `flowc migrate up`"
	ErrNeedsEngine   EngineError = "this needs flowc's engine on PostgreSQL"
	ErrOtherPgflow   EngineError = "the database has a pgflow whose functions are not those of version 0.14: bring it to that version, or use a database of its own and run `flowc migrate up` there"
)

// ErrContractOnly is the [ErrNeedsEngine] of a database that has only pgflow's contract.
var ErrContractOnly = fmt.Errorf("%w, and the database has only the functions of pgflow (or this role may not use the schema flowc): use a database of its own and run `flowc migrate up` there", ErrNeedsEngine)

// ErrNoDB says that a call got no [DB].
var ErrNoDB = errors.New("there is no database: db is nil")

// How long, and how soon, a call through a pool is repeated. Each of the pool's idle
// connections may be found broken first.
const (
	repeatFor   = 2 * time.Second
	firstRepeat = 5 * time.Millisecond
)

// Engine executes one statement for the engine and reads its rows.
func Engine[T any](ctx context.Context, db DB, scan pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	rows, _, err := EngineAgain(ctx, db, scan, sql, args...)
	return rows, err
}

// EngineOne does what [Engine] does for a statement that returns one row; ok is false if it
// returns none.
func EngineOne[T any](ctx context.Context, db DB, scan pgx.RowToFunc[T], sql string, args ...any) (row T, ok bool, err error) {
	return one(Engine(ctx, db, scan, sql, args...))
}

// EngineAgain does what [Engine] does for statements that return something else when they
// are executed twice; again reports whether that may have happened.
func EngineAgain[T any](ctx context.Context, db DB, scan pgx.RowToFunc[T], sql string, args ...any) (rows []T, again bool, err error) {
	if IsNil(db) {
		return nil, false, ErrNoDB
	}
	kind := KindOf(ctx, db)
	if err := unfit(kind); err != nil {
		return nil, false, err
	}
	rows, again, err = collect(ctx, db, scan, sql, args...)
	switch {
	case err == nil:
		return rows, again, nil
	case kind == Unknown && noEngine(err) && !InTx(db):
		if unfit := unfit(detect(ctx, db)); unfit != nil {
			return nil, again, fmt.Errorf("%w (%w)", unfit, err)
		}
	}
	if noEngine(err) && pgerr.Code(err) != "42501" {
		err = fmt.Errorf("%w (%w)", ErrEngineMissing, err)
	}
	return nil, again, err
}

// unfit returns why a database cannot execute a statement for the engine.
func unfit(kind Kind) error {
	switch kind {
	case HasContract:
		return ErrContractOnly
	case HasNothing:
		return ErrEngineMissing
	case HasOtherPgflow:
		return ErrOtherPgflow
	}
	return nil
}

// Pgflow executes one statement for pgflow's contract and reads its rows.
func Pgflow[T any](ctx context.Context, db DB, scan pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	rows, _, err := collect(ctx, db, scan, sql, args...)
	return rows, err
}

// PgflowOne does what [Pgflow] does for a statement that returns one row; ok is false if it
// returns none.
func PgflowOne[T any](ctx context.Context, db DB, scan pgx.RowToFunc[T], sql string, args ...any) (row T, ok bool, err error) {
	return one(Pgflow(ctx, db, scan, sql, args...))
}

func one[T any](rows []T, err error) (row T, ok bool, _ error) {
	if err != nil || len(rows) == 0 {
		return row, false, err
	}
	return rows[0], true, nil
}

// collect executes a statement, and through a pool retries it if its connection broke or its
// transaction was rolled back in favour of another.
func collect[T any](ctx context.Context, db DB, scan pgx.RowToFunc[T], sql string, args ...any) (_ []T, again bool, _ error) {
	began, pause := time.Now(), firstRepeat
	for {
		prepared := !unprepared(db)
		rows, err := collectOnce(ctx, db, scan, sql, args)
		if err == nil {
			return rows, again, nil
		}
		if prepared && unprepared(db) && pgerr.NoPreparedStatement(err) {
			continue // there is a pooler, as is known now
		}
		if !Pooled(db) || !pgerr.Transient(err) || ctx.Err() != nil || time.Since(began)+pause > repeatFor {
			return nil, again, err
		}
		again = again || pgerr.MaybeDone(err)
		select {
		case <-ctx.Done():
			return nil, again, err
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

// noEngine reports whether an error may say that the engine is not there, or not
// for this role.
func noEngine(err error) bool {
	switch pgerr.Code(err) {
	case "3F000", "42883", "42P01", "42501": // no such schema, function or table; no right to it
		return true
	}
	return false
}

// IsNil reports whether db is nil, or a nil pool or connection.
func IsNil(db DB) bool {
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

// Pooled reports whether each statement of db gets a connection that works.
func Pooled(db DB) bool {
	switch db := db.(type) {
	case *pgxpool.Pool:
		return true
	case interface{ IsPool() bool }:
		return db.IsPool()
	}
	return false
}

// InTx reports whether statements of db are part of a transaction.
func InTx(db DB) bool {
	if IsNil(db) {
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
