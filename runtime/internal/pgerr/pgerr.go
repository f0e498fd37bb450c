// Package pgerr classifies errors of the database.
package pgerr

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
)

// Code returns the SQLSTATE of an error, empty if it has none. Drivers of database/sql
// have error types of their own, with the same method.
func Code(err error) string {
	if err == nil {
		return ""
	}
	var pg interface{ SQLState() string }
	if errors.As(err, &pg) {
		return pg.SQLState()
	}
	return ""
}

// Constraint returns the name of the constraint that an error is about.
func Constraint(err error) string {
	var pg *pgconn.PgError
	var pq interface{ Get(field byte) string } // by the letter of the field in the protocol
	switch {
	case errors.As(err, &pg):
		return pg.ConstraintName
	case errors.As(err, &pq):
		return pq.Get('n')
	}
	return ""
}

// Detail returns the detail of an error, empty if it has none.
func Detail(err error) string {
	var pg *pgconn.PgError
	var pq interface{ Get(field byte) string } // by the letter of the field in the protocol
	switch {
	case errors.As(err, &pg):
		return pg.Detail
	case errors.As(err, &pq):
		return pq.Get('D')
	}
	return ""
}

// Class returns the first two characters of an error's SQLSTATE.
func Class(err error) string {
	if c := Code(err); len(c) == 5 {
		return c[:2]
	}
	return ""
}

// Transient reports whether an error may be gone when the call is repeated: the
// connection broke, the server starts, stops or is full, the transaction lost
// against another or was cancelled, or a prepared statement was not there.
func Transient(err error) bool {
	switch Code(err) {
	case "":
		return broken(err)
	case "40001", "40P01", // serialization_failure, deadlock_detected
		"25006": // read_only_sql_transaction, as during a failover
		return true
	}
	switch Class(err) {
	case "08", "53", "57", "58": // connection, resources, operator intervention, errors of the system
		return true
	}
	return Cancelled(err) || NoPreparedStatement(err)
}

// Cancelled reports whether the server ended a statement or its transaction because it
// took or waited too long, or because somebody asked it to.
func Cancelled(err error) bool {
	switch Code(err) {
	case "57014", // query_canceled: by statement_timeout, or by pg_cancel_backend
		"55P03", // lock_not_available: by lock_timeout
		"25P03", // idle_in_transaction_session_timeout
		"25P04": // transaction_timeout
		return true
	}
	return false
}

// MaybeDone reports whether the statement that ended with an error may have been
// executed: it was sent, and no answer came.
func MaybeDone(err error) bool {
	var connect *pgconn.ConnectError
	return err != nil && Code(err) == "" && !pgconn.SafeToRetry(err) && !errors.As(err, &connect)
}

// NoPreparedStatement reports whether an error says that prepared statements do
// not stay with their connection, as behind a pooler in transaction mode.
func NoPreparedStatement(err error) bool {
	switch Code(err) {
	case "42P05", "26000": // duplicate_prepared_statement, invalid_sql_statement_name
		return true
	}
	return false
}

// Unstorable reports whether an error is about a value that was to be stored:
// it is not what its type can hold, or it is too large or too deep.
func Unstorable(err error) bool {
	switch Class(err) {
	case "22", "54": // data_exception, program_limit_exceeded
		return true
	}
	return false
}

// broken reports whether an error that is not the server's is the connection's.
func broken(err error) bool {
	var network net.Error
	var connect *pgconn.ConnectError
	switch {
	case errors.Is(err, context.Canceled):
		return false
	case errors.As(err, &network), errors.As(err, &connect), pgconn.SafeToRetry(err):
		return true
	}
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// InvalidCron reports whether the database could not read a cron expression.
func InvalidCron(err error) bool { return Constraint(err) == "schedules_cron_check" }

// CronProblem returns what is wrong with a cron expression that the database could not
// read.
func CronProblem(cron string, err error) string {
	return fmt.Sprintf("cron %q: %s", cron, Detail(err))
}
