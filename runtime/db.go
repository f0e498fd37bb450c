package runtime

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// DB is implemented by *pgxpool.Pool, *pgxpool.Conn, *pgx.Conn and pgx.Tx;
// package sqldb wraps a *sql.DB, *sql.Conn or *sql.Tx.
//
// Through a pool, a call is retried if its connection broke or its transaction was rolled
// back in favour of another: the client generates run ids, so a start that was executed
// twice is one run. Other calls then report what their last attempt found or changed.
// Through anything else, the caller has to retry.
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
