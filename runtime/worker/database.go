package worker

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
	"github.com/flowc-dev/flowc/runtime/internal/upstream"
)

const (
	connections = 8                     // that a worker has at most
	minBackoff  = 50 * time.Millisecond // after the first failed call
	maxBackoff  = 2 * time.Second
	awayTime    = 500 * time.Millisecond // how long calls have to fail for a line in the log
	slowEvery   = 10 * time.Second       // how often it is logged that calls are cancelled
)

// database is the worker's own connections. Each call has a deadline. That the
// database is unreachable is logged once, and so is that it is reachable again.
type database struct {
	*Worker
	*conns
	timeouts *timeouts

	mu     sync.Mutex
	since  time.Time       // of the first failed call after the last good one
	back   chan struct{}   // closed by the next good one
	away   string          // what was logged of that, if anything
	broken map[string]bool // calls that fail for another reason, which was logged
	slow   time.Time       // when it was logged last that calls are cancelled
}

// connect opens connections of the worker's own; see [openConns].
func (w *Worker) connect(prepared bool) (*database, error) {
	c, err := openConns(w.pool, prepared)
	if err != nil {
		return nil, err
	}
	return &database{Worker: w, conns: c, timeouts: newTimeouts(), broken: map[string]bool{}}, nil
}

// call runs fn with a deadline, which is after a time that is at least least.
func (d *database) call(ctx context.Context, name string, least time.Duration, fn func(context.Context, *pgxpool.Pool) error) error {
	limit := d.timeouts.of(name, least)
	limited, cancel := bounded(ctx, limit)
	defer cancel()
	began := time.Now()
	err := fn(limited, d.Pool)
	took := time.Since(began)
	d.config.Metrics.Called(name, took, err)
	if ctx.Err() != nil && err != nil {
		return err
	}
	if err != nil {
		err = d.suspect(limited, err)
	}
	d.timeouts.learn(name, took, limit, err)
	d.observe(name, err)
	return err
}

// send sends statements, which are one transaction and one round trip.
func (d *database) send(ctx context.Context, name string, least time.Duration, statements *pgx.Batch) error {
	all := statements
	if !d.prepared {
		all = new(pgx.Batch)
		all.Queue(noTimeouts, true)
		all.QueuedQueries = append(all.QueuedQueries, statements.QueuedQueries...)
	}
	return d.call(ctx, name, least, func(ctx context.Context, pool *pgxpool.Pool) error {
		return pool.SendBatch(ctx, all).Close()
	})
}

// transact runs fn in a transaction.
func (d *database) transact(ctx context.Context, name string, least time.Duration, fn func(context.Context, pgx.Tx) error) error {
	return d.call(ctx, name, least, func(ctx context.Context, pool *pgxpool.Pool) error {
		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			if !d.prepared {
				if _, err := tx.Exec(ctx, noTimeouts, true); err != nil {
					return err
				}
			}
			return fn(ctx, tx)
		})
	})
}

func (d *database) exec(ctx context.Context, name string, least time.Duration, sql string, args ...any) error {
	var b pgx.Batch
	b.Queue(sql, args...)
	return d.send(ctx, name, least, &b)
}

// row sends a statement and reads its row.
func (d *database) row(ctx context.Context, name string, least time.Duration, into []any, sql string, args ...any) error {
	var b pgx.Batch
	b.Queue(sql, args...).QueryRow(func(row pgx.Row) error { return row.Scan(into...) })
	return d.send(ctx, name, least, &b)
}

// rows sends a statement and reads its rows.
func rows[T any](ctx context.Context, d *database, name string, least time.Duration, scan pgx.RowToFunc[T], sql string, args ...any) (all []T, err error) {
	var b pgx.Batch
	b.Queue(sql, args...).Query(func(r pgx.Rows) (err error) {
		all, err = pgx.CollectRows(r, scan)
		return err
	})
	err = d.send(ctx, name, least, &b)
	return all, err
}

// look finds out what the database has.
func (d *database) look(ctx context.Context) (kind upstream.Kind, err error) {
	err = d.call(ctx, "look", shortCall, func(ctx context.Context, pool *pgxpool.Pool) error {
		kind, err = upstream.Look(ctx, pool)
		return err
	})
	return kind, err
}

// observe logs when the database becomes unreachable and when it is reachable again. A connection
// that broke and was replaced at once is not worth a line.
func (d *database) observe(name string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case err == nil:
		d.health.connected.Store(true)
		if d.away != "" {
			d.log.Info(over(d.away), "duration", time.Since(d.since).Round(time.Millisecond))
		}
		if !d.since.IsZero() {
			close(d.back)
		}
		d.since, d.away, d.back = time.Time{}, "", nil
		delete(d.broken, name)
	case pgerr.Unstorable(err), isRefused(err) && (name == "claim" || name == "claim_suspects" || name == "finish"):
		// The value's fault, not the call's: whoever made the call deals with it.
	case pgerr.Cancelled(err):
		d.stats.faults.Add(1)
		if time.Since(d.slow) > slowEvery {
			d.slow = time.Now()
			d.log.Error("database canceled a call, retrying", "call", name, "error", err.Error())
		}
	case !pgerr.Transient(err):
		d.stats.faults.Add(1)
		if !d.broken[name] {
			d.broken[name] = true
			d.log.Error("database rejected a call", "call", name, "error", err.Error())
		}
	default:
		d.health.connected.Store(false)
		d.stats.faults.Add(1)
		if d.since.IsZero() {
			d.since, d.back = time.Now(), make(chan struct{})
		}
		if d.away == "" && time.Since(d.since) > awayTime {
			d.away = trouble(err)
			d.log.Error(d.away+", retrying", "call", name, "error", err.Error())
		}
	}
}

// trouble says what keeps the database from doing what it is asked.
func trouble(err error) string {
	switch code := pgerr.Code(err); {
	case code == "53100":
		return "database disk full"
	case code == "53200":
		return "database out of memory"
	case code == "53300":
		return "database has no free connections"
	case pgerr.Class(err) == "53":
		return "database out of resources"
	}
	return unreachable
}

const unreachable = "database unreachable"

// over says that a trouble has ended.
func over(trouble string) string {
	if trouble == unreachable {
		return "database reachable again"
	}
	return "database working again"
}

// patiently retries fn while the database is unreachable.
func (d *database) patiently(ctx context.Context, fn func() error) error {
	var pause backoff
	for {
		err := fn()
		if err == nil || !isTransient(err) {
			return err
		}
		if !pause.wait(ctx, d) {
			return context.Cause(ctx)
		}
	}
}

// isBack is closed when a call succeeds after one that failed; it is nil if the
// last one did not fail.
func (d *database) isBack() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.back
}

// backoff is a wait that grows from try to try.
type backoff struct{ next time.Duration }

func (b *backoff) reset() { b.next = 0 }

// wait waits, though not for long once another call has found the database back.
// It reports whether ctx is still going on.
func (b *backoff) wait(ctx context.Context, d interface{ isBack() <-chan struct{} }) bool {
	b.next = min(max(2*b.next, minBackoff), maxBackoff)
	back := d.isBack()
	if !sleep(ctx, minBackoff, nil) {
		return false
	}
	return sleep(ctx, b.next-minBackoff, back)
}

// sleep waits, but not longer than until a channel is closed. It reports whether
// ctx is still going on.
func sleep(ctx context.Context, d time.Duration, until <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-until:
	}
	return true
}
