// Package faultnet makes connections to PostgreSQL that fail when a test says so.
package faultnet

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A Network is what the connections of pools go through.
type Network struct {
	mu       sync.Mutex
	cut      []byte
	after    int
	drop     []byte
	drops    int
	sent     int
	frozen   atomic.Int64 // the last connection that is frozen
	dialled  atomic.Int64
	cuts     atomic.Int64
	noListen bool
}

// Through returns a pool whose connections go through the network. Statements are not
// prepared, so that each is sent with its text.
func (n *Network) Through(pool *pgxpool.Pool) (*pgxpool.Pool, error) {
	config := pool.Config()
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	n.Apply(config)
	return pgxpool.NewWithConfig(context.Background(), config)
}

// Apply routes the connections of a configuration through the network.
func (n *Network) Apply(config *pgxpool.Config) {
	dial := config.ConnConfig.DialFunc
	config.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &connection{Conn: conn, network: n, number: n.dialled.Add(1)}, nil
	}
}

// CutReplies cuts connections after the server has answered a statement that
// contains a text, before the answer arrives: so often.
func (n *Network) CutReplies(text string, times int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut, n.after = []byte(text), times
}

// CutRequests cuts connections when they are to send a statement that contains a text,
// before it is sent: so often.
func (n *Network) CutRequests(text string, times int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.drop, n.drops = []byte(text), times
}

// Sent returns how many messages the pools have sent.
func (n *Network) Sent() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sent
}

// Cuts returns how many replies and requests were cut.
func (n *Network) Cuts() int { return int(n.cuts.Load()) }

// Freeze makes the existing connections half-open: nothing is refused, and nothing
// arrives any more. New connections are not affected.
func (n *Network) Freeze() { n.frozen.Store(n.dialled.Load()) }

// SwallowListen disables LISTEN, as a pooler in transaction mode does. It must be called
// before the first connection is made.
func (n *Network) SwallowListen() { n.noListen = true }

type connection struct {
	net.Conn
	network *Network
	number  int64
	doomed  atomic.Bool
}

func (c *connection) isFrozen() bool { return c.number <= c.network.frozen.Load() }

// SetDeadline ignores deadlines in the future that are set when a connection closes: pgx
// would wait 15 seconds for the other end of a frozen one, and tests for pgx.
func (c *connection) SetDeadline(at time.Time) error {
	if soon := time.Now().Add(time.Second); c.isFrozen() && at.After(soon) {
		at = soon
	}
	return c.Conn.SetDeadline(at)
}

func (c *connection) Write(p []byte) (int, error) {
	if c.isFrozen() {
		return len(p), nil
	}
	n := c.network
	n.mu.Lock()
	n.sent++
	if n.after > 0 && bytes.Contains(p, n.cut) {
		n.after--
		c.doomed.Store(true)
	}
	drop := n.drops > 0 && bytes.Contains(p, n.drop)
	if drop {
		n.drops--
	}
	n.mu.Unlock()
	if drop {
		n.cuts.Add(1)
		_ = c.Conn.Close()
		return 0, net.ErrClosed
	}
	if n.noListen && bytes.Contains(p, []byte(`LISTEN "`)) {
		// As long, as valid, and of no effect on the connection.
		p = bytes.Replace(p, []byte(`LISTEN "`), []byte(`NOTIFY "`), 1)
	}
	return c.Conn.Write(p)
}

func (c *connection) Read(p []byte) (int, error) {
	for {
		read, err := c.Conn.Read(p)
		switch {
		case err != nil:
			return read, err
		case c.isFrozen():
			continue
		case c.doomed.Load():
			c.network.cuts.Add(1)
			_ = c.Conn.Close()
			return 0, io.ErrUnexpectedEOF
		}
		return read, nil
	}
}
