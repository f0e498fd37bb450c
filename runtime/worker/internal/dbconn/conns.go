package dbconn

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
	maxConns     = 8           // that a worker has; a busy one has about four
	idleTime     = time.Second // after which a connection is pinged before it is used
	pingTimeout  = time.Second // for that
	closeTimeout = time.Second // for a connection that is given up
)

// conns are a worker's own connections, opened when they are needed.
type conns struct {
	*pgxpool.Pool
	prepared bool         // whether statements are prepared, and settings outlast a transaction
	strict   atomic.Bool  // whether the default isolation is stricter than read committed
	trusted  atomic.Int64 // connections made before this time are not used again; see now
}

// openConns prepares to connect as a pool does. Unless prepared is set, connections are
// left with nothing that outlasts a transaction: behind a pooler in transaction mode it
// would leak to the next client.
func openConns(pool *pgxpool.Pool, prepared bool) (_ *conns, err error) {
	c := &conns{prepared: prepared}
	config := pool.Config()
	config.MaxConns, config.MinConns, config.MinIdleConns = maxConns, 0, 0
	config.ShouldPing = c.checkIdle
	hosts.Bound(config.ConnConfig)
	dial := config.ConnConfig.DialFunc
	config.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		return closeCapConn{conn}, err
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
			settings.Queue(disableTimeoutsSQL, false)
			settings.Queue(readCommittedSQL).Exec(func(tag pgconn.CommandTag) error {
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

// madeKey is the key under which a connection keeps when it was made.
const madeKey = "flowc made"

var epoch = time.Now()

// now returns a monotonic time.
func now() int64 { return int64(time.Since(epoch)) }

// acquiredKey is the context key under which a call notes when it got its connection.
type acquiredKey struct{}

// withLimit returns a context for a call. If the call fails, it is passed to
// [conns.explain].
func withLimit(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithValue(ctx, acquiredKey{}, new(int64)), limit)
}

// checkIdle pings a connection that has been idle before it is used. If it is dead, the
// other idle ones are as well, and each would take as long to be found out.
func (c *conns) checkIdle(ctx context.Context, idle pgxpool.ShouldPingParams) (ping bool) {
	began := now()
	made, _ := idle.Conn.PgConn().CustomData()[madeKey].(int64)
	if made < c.trusted.Load() {
		ended, cancel := context.WithCancel(ctx)
		cancel()
		_ = idle.Conn.Close(ended) // so that the ping fails at once
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
	if acquired, ok := ctx.Value(acquiredKey{}).(*int64); ok {
		*acquired = began
	}
	return false
}

// distrust presumes all connections dead that were made before a time. Those that are
// being made meanwhile are not: they may well be to another server.
func (c *conns) distrust(before int64) {
	for known := c.trusted.Load(); known < before; known = c.trusted.Load() {
		if c.trusted.CompareAndSwap(known, before) {
			return
		}
	}
}

// disableTimeoutsSQL switches off the timeouts that roles and databases may have for
// statements, locks and transactions: a worker's calls have deadlines of their own, which
// grow when they must. With true it lasts for the transaction.
const disableTimeoutsSQL = `
SELECT set_config(name, '0', $1::boolean)
FROM unnest('{statement_timeout, lock_timeout, idle_in_transaction_session_timeout, idle_session_timeout, transaction_timeout}'::text[]) name
WHERE current_setting(name, true) <> '0'`

// readCommittedSQL is for databases with a stricter default isolation. The engine locks
// rows instead; stricter transactions would only fail each other.
const readCommittedSQL = `
SELECT set_config('default_transaction_isolation', 'read committed', false)
WHERE current_setting('default_transaction_isolation') <> 'read committed'`

// explain returns the error of a call as a [slowError] if the database was busy with it.
// If the call's connection was dead, all others are presumed dead as well. A call that
// got no connection says nothing about them.
func (c *conns) explain(limited context.Context, err error) error {
	if pgerr.Cancelled(err) {
		return slowError{err}
	}
	acquired, _ := limited.Value(acquiredKey{}).(*int64)
	if acquired == nil || *acquired == 0 {
		return err
	}
	if limited.Err() != nil || pgerr.Transient(err) && pgerr.Code(err) == "" || pgerr.Class(err) == "57" {
		c.distrust(*acquired)
	}
	if limited.Err() != nil {
		return slowError{err}
	}
	return err
}

// closeCapConn caps how long closing it may take. pgx would wait 15 seconds for the other
// end, and the connection would count against the pool that long.
type closeCapConn struct{ net.Conn }

// SetDeadline sets a deadline. Only what closes the connection sets one in the future.
func (c closeCapConn) SetDeadline(at time.Time) error {
	if latest := time.Now().Add(closeTimeout); at.After(latest) {
		at = latest
	}
	return c.Conn.SetDeadline(at)
}

// close closes the connections, without waiting long for those whose other end is gone.
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
