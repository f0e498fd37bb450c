package sqldb_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// plainConnector makes connections that can no more than database/sql asks of
// a driver: arguments are of its own few types, texts come as bytes, and errors
// are of a type that is not pgx's. lib/pq is such a driver.
type plainConnector struct{ url string }

func (c plainConnector) Connect(context.Context) (driver.Conn, error) {
	conn, err := stdlib.GetDefaultDriver().Open(c.url)
	if err != nil {
		return nil, plainly(err)
	}
	return plainConn{conn.(*stdlib.Conn)}, nil
}

func (c plainConnector) Driver() driver.Driver { return nil }

// plainConn hides that pgx's connection is one.
type plainConn struct{ pgx *stdlib.Conn }

func (c plainConn) Prepare(query string) (driver.Stmt, error) { return c.pgx.Prepare(query) }
func (c plainConn) Close() error                              { return c.pgx.Close() }

func (c plainConn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}

func (c plainConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	return c.pgx.BeginTx(ctx, opts)
}

func (c plainConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	result, err := c.pgx.ExecContext(ctx, query, args)
	return result, plainly(err)
}

func (c plainConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	for _, arg := range args {
		if !driver.IsValue(arg.Value) {
			return nil, fmt.Errorf("a %T is no argument", arg.Value)
		}
	}
	rows, err := c.pgx.QueryContext(ctx, query, args)
	if err != nil {
		return nil, plainly(err)
	}
	return plainRows{rows}, nil
}

type plainRows struct{ driver.Rows }

func (r plainRows) Next(dest []driver.Value) error {
	if err := r.Rows.Next(dest); err != nil {
		return plainly(err)
	}
	for i, v := range dest {
		if text, ok := v.(string); ok {
			dest[i] = []byte(text)
		}
	}
	return nil
}

type plainError struct{ pg *pgconn.PgError }

func (e plainError) Error() string    { return e.pg.Message }
func (e plainError) SQLState() string { return e.pg.Code }

func (e plainError) Get(field byte) string {
	if field == 'n' {
		return e.pg.ConstraintName
	}
	return ""
}

func plainly(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return plainError{pg}
	}
	return err
}
