package worker

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime/internal/hosts"
	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
)

const (
	idleTime     = time.Second // after which a connection is tried before it is used
	pingTimeout  = time.Second // for that
	closeTimeout = time.Second // for a connection that is given up
)

// conns are a worker's own connections, which are not the pool's, so that handlers
// which use that up cannot make the worker look dead. They are opened when they are
// needed; a busy worker has about four.
type conns struct {
	*pgxpool.Pool
	prepared bool         // whether statements are prepared, and settings outlast a transaction
	strict   atomic.Bool  // whether the pool's own transactions are stricter than read committed
	trusted  atomic.Int64 // connections that were made before this time are not used again; see now
}

// openConns prepares to connect as a pool does. Unless prepared, the connections have
// nothing that outlasts a transaction: behind a pooler it would be the next client's.
func openConns(pool *pgxpool.Pool, prepared bool) (_ *conns, err error) {
	c := &conns{prepared: prepared}
	config := pool.Config()
	config.MaxConns, config.MinConns, config.MinIdleConns = connections, 0, 0
	config.ShouldPing = c.isDoubtful
	hosts.Bound(config.ConnConfig)
	dial := config.ConnConfig.DialFunc
	config.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		return brief{conn}, err
	}
	if !prepared {
		config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
	after := config.AfterConnect
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		if after != nil {
			if err := after(ctx, conn); err != nil {
				return err
			}
		}
		if prepared {
			var settings pgx.Batch
			settings.Queue(noTimeouts, false)
			settings.Queue(readCommitted).Exec(func(tag pgconn.CommandTag) error {
				c.strict.Store(tag.RowsAffected() > 0)
				return nil
			})
			if err := conn.SendBatch(ctx, &settings).Close(); err != nil {
				return err
			}
		}
		conn.PgConn().CustomData()[madeKey] = now()
		return nil
	}
	c.Pool, err = pgxpool.NewWithConfig(context.Background(), config)
	return c, err
}

// madeKey is where a connection says when it was made.
const madeKey = "flowc made"

var epoch = time.Now()

// now is a time that only grows.
func now() int64 { return int64(time.Since(epoch)) }

// gotKey is the key of contexts in which a call notes when it got its connection.
type gotKey struct{}

// bounded bounds a call. What it returns is to be given to [conns.suspect] if the call
// fails.
func bounded(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithValue(ctx, gotKey{}, new(int64)), limit)
}

// isDoubtful tries a connection that was idle before it is used. If it is dead, the
// others that are idle are too, and each would take as long to be found so.
func (c *conns) isDoubtful(ctx context.Context, idle pgxpool.ShouldPingParams) bool {
	began := now()
	made, _ := idle.Conn.PgConn().CustomData()[madeKey].(int64)
	if made < c.trusted.Load() {
		over, cancel := context.WithCancel(ctx)
		cancel()
		_ = idle.Conn.Close(over) // so that it fails at once
		return true
	}
	if idle.IdleDuration >= idleTime {
		ctx, cancel := context.WithTimeout(ctx, pingTimeout)
		defer cancel()
		if idle.Conn.Ping(ctx) != nil { // which closes it
			c.distrust(began)
			return true
		}
	}
	if got, ok := ctx.Value(gotKey{}).(*int64); ok {
		*got = began
	}
	return false
}

// distrust takes all connections for dead that were made before a time. Those that
// are only being made meanwhile are not: they may well be to another server.
func (c *conns) distrust(before int64) {
	for known := c.trusted.Load(); known < before; known = c.trusted.Load() {
		if c.trusted.CompareAndSwap(known, before) {
			return
		}
	}
}

// noTimeouts is for roles and databases whose statements and transactions end after a
// time, or give up waiting for a lock: the worker's calls have deadlines of their own,
// which grow when they have to. With true it lasts for the transaction.
const noTimeouts = `
SELECT set_config(name, '0', $1::boolean)
FROM unnest('{statement_timeout, lock_timeout, idle_in_transaction_session_timeout, idle_session_timeout, transaction_timeout}'::text[]) name
WHERE current_setting(name, true) <> '0'`

// readCommitted is for databases whose transactions are stricter unless they say
// otherwise. The engine holds locks instead: stricter ones would only fail each
// other.
const readCommitted = `
SELECT set_config('default_transaction_isolation', 'read committed', false)
WHERE current_setting('default_transaction_isolation') <> 'read committed'`

// suspect takes the other connections for as dead as one whose call ended so. A call
// that got none says nothing about them. It returns the call's error, which says whether
// the database was busy with it.
func (c *conns) suspect(limited context.Context, err error) error {
	if pgerr.Cancelled(err) {
		return slowError{err}
	}
	got, _ := limited.Value(gotKey{}).(*int64)
	if got == nil || *got == 0 {
		return err
	}
	if limited.Err() != nil || pgerr.Transient(err) && pgerr.Code(err) == "" || pgerr.Class(err) == "57" {
		c.distrust(*got)
	}
	if limited.Err() != nil {
		return slowError{err}
	}
	return err
}

// A brief connection is soon gone once it is given up. pgx would wait for its
// other end for 15 seconds, and it would have its place in the pool that long.
type brief struct{ net.Conn }

// SetDeadline is called with a time to come only by what closes the connection.
func (b brief) SetDeadline(at time.Time) error {
	if soon := time.Now().Add(closeTimeout); at.After(soon) {
		at = soon
	}
	return b.Conn.SetDeadline(at)
}

// close closes the connections. Those whose other end is gone take their time, which
// nobody has to wait for.
func (c *conns) close() {
	closed := make(chan struct{})
	go func() {
		c.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(pingTimeout):
	}
}
