// Package dbconn is how a worker talks to the database: connections of its own, so that
// handlers that use up the program's pool cannot make it look dead; a deadline for each
// call, which grows when it must; and the log of outages. It knows nothing of tasks.
package dbconn

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A DB makes calls on a worker's own connections.
type DB struct {
	conns    *conns
	observer Observer
	timeouts *timeouts
	outages  outages
}

// Open returns a DB that connects as a pool does, but apart from it. Unless prepared is
// set, it does nothing that a pooler in transaction mode would not support.
func Open(pool *pgxpool.Pool, prepared bool, observer Observer, log *slog.Logger) (*DB, error) {
	c, err := openConns(pool, prepared)
	if err != nil {
		return nil, err
	}
	return &DB{
		conns: c, observer: observer, timeouts: newTimeouts(),
		outages: outages{observer: observer, log: log, rejected: map[string]bool{}},
	}, nil
}

// Close closes the connections.
func (d *DB) Close() { d.conns.close() }

// Pool returns the connections.
func (d *DB) Pool() *pgxpool.Pool { return d.conns.Pool }

// Prepared reports whether statements are prepared, that is whether there is no pooler
// in transaction mode in between.
func (d *DB) Prepared() bool { return d.conns.prepared }

// Strict reports whether the database's default isolation is stricter than read committed.
func (d *DB) Strict() bool { return d.conns.strict.Load() }

// Do makes a call, which is fn, with a deadline.
func (d *DB) Do(ctx context.Context, call Call, fn func(context.Context, *pgxpool.Pool) error) error {
	limit := d.timeouts.of(call)
	limited, cancel := withLimit(ctx, limit)
	defer cancel()
	began := time.Now()
	err := fn(limited, d.conns.Pool)
	took := time.Since(began)
	d.observer.Called(call.Name, took, err)
	if ctx.Err() != nil && err != nil {
		return err
	}
	if err != nil {
		err = d.conns.explain(limited, err)
	}
	d.timeouts.learn(call.Name, took, limit, err)
	d.outages.observe(call, err)
	return err
}

// Observe is for a call that was not made with [DB.Do]: it logs and counts its error.
func (d *DB) Observe(call Call, err error) { d.outages.observe(call, err) }

// Called counts a call that was made on another connection.
func (d *DB) Called(name string, took time.Duration, err error) { d.observer.Called(name, took, err) }

// Recovered returns a channel that is closed when a call succeeds after one that failed.
// It is nil if the last one did not fail.
func (d *DB) Recovered() <-chan struct{} { return d.outages.recovered() }

// Send sends statements, in one transaction and one round trip.
func (d *DB) Send(ctx context.Context, call Call, statements *pgx.Batch) error {
	all := statements
	if !d.conns.prepared {
		all = new(pgx.Batch)
		all.Queue(disableTimeoutsSQL, true)
		all.QueuedQueries = append(all.QueuedQueries, statements.QueuedQueries...)
	}
	return d.Do(ctx, call, func(ctx context.Context, pool *pgxpool.Pool) error {
		return pool.SendBatch(ctx, all).Close()
	})
}

// Transact runs fn in a transaction.
func (d *DB) Transact(ctx context.Context, call Call, fn func(context.Context, pgx.Tx) error) error {
	return d.Do(ctx, call, func(ctx context.Context, pool *pgxpool.Pool) error {
		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			if !d.conns.prepared {
				if _, err := tx.Exec(ctx, disableTimeoutsSQL, true); err != nil {
					return err
				}
			}
			return fn(ctx, tx)
		})
	})
}

// Exec sends a statement.
func (d *DB) Exec(ctx context.Context, call Call, sql string, args ...any) error {
	var b pgx.Batch
	b.Queue(sql, args...)
	return d.Send(ctx, call, &b)
}

// QueryRow sends a statement and scans its row into dest.
func (d *DB) QueryRow(ctx context.Context, call Call, dest []any, sql string, args ...any) error {
	var b pgx.Batch
	b.Queue(sql, args...).QueryRow(func(row pgx.Row) error { return row.Scan(dest...) })
	return d.Send(ctx, call, &b)
}

// Query sends a statement and returns its rows, whose columns are the fields of T.
func Query[T any](ctx context.Context, d *DB, call Call, sql string, args ...any) (all []T, err error) {
	var b pgx.Batch
	b.Queue(sql, args...).Query(func(rows pgx.Rows) (err error) {
		all, err = pgx.CollectRows(rows, pgx.RowToStructByPos[T])
		return err
	})
	err = d.Send(ctx, call, &b)
	return all, err
}

// Retry calls fn until it succeeds, fails with an error that is not transient, or ctx
// ends.
func (d *DB) Retry(ctx context.Context, fn func() error) error {
	var pause Backoff
	for {
		err := fn()
		if err == nil || !IsTransient(err) {
			return err
		}
		if !pause.Wait(ctx, d.Recovered()) {
			return context.Cause(ctx)
		}
	}
}
