// Package sqldb lets programs that use database/sql call package runtime:
//
//	err = inTx(ctx, db, func(tx *sql.Tx) error {
//		if _, err := tx.ExecContext(ctx, `INSERT INTO orders …`); err != nil {
//			return err
//		}
//		_, err := processorder.StartProcessOrder(ctx, sqldb.Wrap(tx), order)
//		return err
//	})
//
// The run starts when the *sql.Tx commits, and never if it does not.
//
// It works with every driver for PostgreSQL whose placeholders are $1, $2 …: that of pgx
// (github.com/jackc/pgx/v5/stdlib), lib/pq and those that wrap them. It imports no driver.
//
// Notifications do not pass through database/sql, so waiting polls. Programs that wait for
// many runs are better off with a *pgxpool.Pool beside their *sql.DB.
package sqldb

import (
	"context"
	"database/sql"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/pgcall"
)

// Querier is implemented by *sql.DB, *sql.Conn and *sql.Tx, and by types that embed them.
type Querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

var (
	_ Querier = (*sql.DB)(nil)
	_ Querier = (*sql.Conn)(nil)
	_ Querier = (*sql.Tx)(nil)
)

// Wrap returns a [runtime.DB] for a pool, a connection or a transaction of
// database/sql.
//
// As with a *pgxpool.Pool, a call through a *sql.DB is retried if the connection broke or
// the transaction was rolled back in favour of another. A run cannot be waited for
// through a *sql.Tx, see [runtime.ErrWaitInTx].
func Wrap(q Querier) runtime.DB {
	if q == nil {
		return nil
	}
	return &db{q: q}
}

type db struct {
	q      Querier
	memory pgcall.Memory
}

// Memory caches what the database was found to have.
func (d *db) Memory() *pgcall.Memory { return &d.memory }

// IsPool reports whether each statement gets a working connection: a type that has
// statistics of its connections is a pool.
func (d *db) IsPool() bool {
	_, ok := d.q.(interface{ Stats() sql.DBStats })
	return ok
}

// InTx reports whether statements are part of a transaction. One that was begun
// with BEGIN on a *sql.Conn is seen only with pgx's driver.
func (d *db) InTx() bool {
	switch q := d.q.(type) {
	case interface {
		Commit() error
		Rollback() error
	}:
		return true
	case interface {
		Raw(func(driverConn any) error) error
	}:
		begun := false
		_ = q.Raw(func(driverConn any) error {
			if c, ok := driverConn.(interface{ Conn() *pgx.Conn }); ok {
				begun = c.Conn().PgConn().TxStatus() != 'I'
			}
			return nil
		})
		return begun
	}
	return false
}

func (d *db) Exec(ctx context.Context, query string, args ...any) (pgconn.CommandTag, error) {
	result, err := d.q.ExecContext(ctx, query, values(args)...)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	n, err := result.RowsAffected()
	return tag(n), err
}

func (d *db) Query(ctx context.Context, query string, args ...any) (pgx.Rows, error) {
	r, err := d.q.QueryContext(ctx, query, values(args)...)
	if err != nil {
		return nil, err
	}
	return newRows(r)
}

func (d *db) QueryRow(ctx context.Context, query string, args ...any) pgx.Row {
	r, err := d.Query(ctx, query, args...)
	return row{r, err}
}
