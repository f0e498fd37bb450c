package worker

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime/internal/hosts"
	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
)

const (
	idleTime     = time.Second // after which a connection is tried before it is used
	pingTimeout  = time.Second // for that
	closeTimeout = time.Second // for a connection that is given up

	// turns is how many calls besides reports and claims have their turn at once.
	turns = 2
	// turnTime is after how long a call gives its turn on: the database is slow, or
	// waits for something, and others need not wait for it, too.
	turnTime = 50 * time.Millisecond
	// gatherTime is how long a call waits for others soon after one for several.
	gatherTime = time.Millisecond
	// farAway is from what time of a round trip on there are no turns: calls are
	// mostly on their way then, and not in the database.
	farAway = 4 * time.Millisecond
)

// conns are the connections of all workers of one pool in this process, which are
// not the pool's, so that handlers which use that up cannot make a worker look dead.
//
// Workers make their reports and claims together, and take turns with all other calls.
// Left alone, each would open connections of its own, of which every one costs the
// database as much as a hundred calls before it is of use, and all would make many
// small calls at once, instead of few that carry what has come together meanwhile.
type conns struct {
	key   connsKey
	own   *pgxpool.Pool
	turns chan struct{}
	// Where reports and claims of several workers are put together.
	reporting [reporters]counter
	claiming  counter

	trip atomic.Int64 // the fastest round trip, ns; 0 if not known

	trusted atomic.Int64 // connections that were made before this time are not used again; see now

	strict atomic.Bool // whether the pool's own transactions are stricter than read committed

	users int // under connsMu
}

type connsKey struct {
	pool     *pgxpool.Pool
	prepared bool
}

var (
	connsMu  sync.Mutex
	allConns = map[connsKey]*conns{}
)

// acquireConns is the connections of a pool's workers. Unless prepared, they have
// nothing that outlasts a transaction: behind a pooler it would be the next client's.
func acquireConns(pool *pgxpool.Pool, prepared bool) (*conns, error) {
	connsMu.Lock()
	defer connsMu.Unlock()
	key := connsKey{pool, prepared}
	c := allConns[key]
	if c == nil {
		c = &conns{key: key, turns: make(chan struct{}, turns)}
		c.claiming = c.newCounter()
		for i := range c.reporting {
			c.reporting[i] = c.newCounter()
		}
		if err := c.open(); err != nil {
			return nil, err
		}
		allConns[key] = c
	}
	c.users++
	return c, nil
}

func (c *conns) newCounter() counter {
	return counter{call: c.callTogether, turn: turnTime, gather: gatherTime}
}

// open prepares to connect as the workers' pool does.
func (c *conns) open() (err error) {
	config := c.key.pool.Config()
	// What bounds them is how many calls each worker makes at once.
	config.MaxConns, config.MinConns, config.MinIdleConns = 1<<15, 0, 0
	config.ShouldPing = c.isDoubtful
	hosts.Bound(config.ConnConfig)
	dial := config.ConnConfig.DialFunc
	config.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		return brief{conn}, err
	}
	if !c.key.prepared {
		config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
	after := config.AfterConnect
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		if after != nil {
			if err := after(ctx, conn); err != nil {
				return err
			}
		}
		if c.key.prepared {
			tag, err := conn.Exec(ctx, readCommitted)
			if err != nil {
				return err
			}
			c.strict.Store(tag.RowsAffected() > 0)
			if err := c.measure(ctx, conn); err != nil {
				return err
			}
		}
		conn.PgConn().CustomData()[madeKey] = now()
		return nil
	}
	c.own, err = pgxpool.NewWithConfig(context.Background(), config)
	return err
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

// readCommitted is for databases whose transactions are stricter unless they say
// otherwise. The engine holds locks instead: stricter ones would only fail each
// other.
const readCommitted = `
SELECT set_config('default_transaction_isolation', 'read committed', false)
WHERE current_setting('default_transaction_isolation') <> 'read committed'`

// suspect takes the other connections for as dead as one whose call ended so. A call
// that got none says nothing about them.
func (c *conns) suspect(limited context.Context, err error) {
	got, _ := limited.Value(gotKey{}).(*int64)
	if got == nil || *got == 0 {
		return
	}
	if limited.Err() != nil || pgerr.Transient(err) && pgerr.Code(err) == "" || pgerr.Class(err) == "57" {
		c.distrust(*got)
	}
}

// isFar reports whether calls are mostly on their way.
func (c *conns) isFar() bool { return c.trip.Load() > int64(farAway) }

// measure learns how far away the database is.
func (c *conns) measure(ctx context.Context, conn *pgx.Conn) error {
	began := time.Now()
	if err := conn.Ping(ctx); err != nil {
		return err
	}
	took := int64(time.Since(began))
	for known := c.trip.Load(); known == 0 || took < known; known = c.trip.Load() {
		if c.trip.CompareAndSwap(known, took) {
			break
		}
	}
	return nil
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

// close closes the connections when no worker uses them any more. Those whose
// other end is gone take their time, which nobody has to wait for.
func (c *conns) close() {
	connsMu.Lock()
	c.users--
	last := c.users == 0
	if last {
		delete(allConns, c.key)
	}
	connsMu.Unlock()
	if !last {
		return
	}
	closed := make(chan struct{})
	go func() {
		c.own.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(pingTimeout):
	}
}

// turnKey is the key of contexts that have their turn.
type turnKey struct{}

// inTurn waits for a turn, which lasts until done is called, but no longer than
// turnTime. Calls with the context that it returns are part of it.
func (c *conns) inTurn(ctx context.Context) (_ context.Context, done func()) {
	if ctx.Value(turnKey{}) != nil || c.isFar() {
		return ctx, func() {}
	}
	select {
	case c.turns <- struct{}{}:
	case <-ctx.Done():
		return ctx, func() {}
	}
	var over atomic.Bool
	end := func() {
		if over.CompareAndSwap(false, true) {
			<-c.turns
		}
	}
	timer := time.AfterFunc(turnTime, end)
	return context.WithValue(ctx, turnKey{}, true), func() {
		timer.Stop()
		end()
	}
}
