// Package listen receives notifications for the users of a connection pool.
//
// A pool has at most one [Listener], with one connection of its own that is not
// taken from the pool. It exists while it has users and for [linger] longer.
//
// A notification is a hint and never more: connections break, and behind a
// pooler in transaction mode LISTEN is accepted and nothing ever arrives. So a
// listener has a notification sent to itself first, wakes everybody whenever
// it may have missed something, and says with [Listener.Live] whether to rely on it.
package listen

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime/internal/hosts"
	"github.com/flowc-dev/flowc/runtime/internal/perpool"
)

// The channels that the engine notifies.
const (
	// Work has the slug of a flow that has work as its payload.
	Work = "flowc_work"
	// Done has what [DoneKey] makes of the id of a run that ended as its payload.
	Done = "flowc_done"
)

// DoneKey returns the key of a run in notifications, which anybody who may connect can
// receive: the id would let them read the run.
func DoneKey(run uuid.UUID) string {
	hash := sha256.Sum256(run[:])
	return hex.EncodeToString(hash[:])
}

const (
	linger      = 10 * time.Second       // how long a listener outlives its last user
	lingerCheck = 100 * time.Millisecond // how often it is looked at meanwhile
	echoWait    = time.Second            // how long the proof may take
	proofWait   = 10 * time.Second       // how long the statements of the proof may take
	quietWait   = 2 * time.Second        // how long nothing may arrive before a ping
	pingWait    = time.Second            // how long the ping may take
	minBackoff  = 50 * time.Millisecond  // the wait before the second attempt to connect
	maxBackoff  = 2 * time.Second        // the longest wait between two attempts
	poolerRetry = time.Minute            // how long a pooler is believed to be one
)

var errPooler = errors.New("no notification arrives: there is a pooler in transaction mode")

// A slot holds the listener of a pool, if there is one.
type slot struct {
	mu       sync.Mutex
	listener *Listener
}

// A Listener receives notifications for the users of one pool.
type Listener struct {
	pool   *pgxpool.Pool
	slot   *slot
	cancel context.CancelFunc
	live   atomic.Uint64
	proved chan struct{} // closed when the first proof succeeded, or found a pooler
	once   sync.Once

	// Under the mu of the pool's slot.
	users  int
	unused time.Time   // since when it has no users
	idle   *time.Timer // until the next look at whether to end

	subsMu sync.Mutex
	subs   map[key]map[*Subscription]struct{}
}

type key struct{ channel, payload string }

// Acquire returns the listener of a pool and starts it if there is none. Its
// [Listener.Release] must be called once.
func Acquire(pool *pgxpool.Pool) *Listener {
	slot := perpool.Of[slot](pool)
	slot.mu.Lock()
	defer slot.mu.Unlock()
	l := slot.listener
	if l == nil {
		ctx, cancel := context.WithCancel(context.Background())
		l = &Listener{
			pool: pool, slot: slot, cancel: cancel,
			proved: make(chan struct{}),
			subs:   map[key]map[*Subscription]struct{}{},
		}
		slot.listener = l
		go l.run(ctx)
	}
	l.users++
	return l
}

// Release returns the listener.
func (l *Listener) Release() {
	l.slot.mu.Lock()
	defer l.slot.mu.Unlock()
	if l.users--; l.users == 0 {
		l.unused = time.Now()
		l.idle = time.AfterFunc(lingerCheck, l.closeIfUnused)
	}
}

// closeIfUnused ends the listener when nobody has used it for a while, or the
// pool has no connections: then it is closed, or nobody uses that either.
func (l *Listener) closeIfUnused() {
	l.slot.mu.Lock()
	defer l.slot.mu.Unlock()
	if l.users > 0 {
		return
	}
	if time.Since(l.unused) < linger && l.pool.Stat().TotalConns() > 0 {
		l.idle.Reset(lingerCheck)
		return
	}
	if l.slot.listener == l {
		l.slot.listener = nil
		l.cancel()
	}
}

// Live returns 0 while notifications cannot be relied on. Otherwise it identifies the
// connection: if it changes, notifications may have been missed, and what was requested
// of the database for this connection has to be requested again. Subscribers are woken at
// each change.
func (l *Listener) Live() uint64 { return l.live.Load() }

// Proved returns a channel that is closed once it is known whether notifications arrive,
// which it is not while the database is unreachable.
func (l *Listener) Proved() <-chan struct{} { return l.proved }

// A Subscription is signalled when something arrived that it is for.
type Subscription struct {
	// C holds at most one signal, however many notifications it stands for.
	C    <-chan struct{}
	c    chan struct{}
	l    *Listener
	keys []key

	// Under the subsMu of the listener: what arrived since Arrived was called.
	payloads map[string]bool
	missed   bool
}

// Subscribe asks for a signal whenever the channel carries one of the payloads.
func (l *Listener) Subscribe(channel string, payloads ...string) *Subscription {
	c := make(chan struct{}, 1)
	s := &Subscription{C: c, c: c, l: l, payloads: map[string]bool{}}
	l.subsMu.Lock()
	defer l.subsMu.Unlock()
	for _, p := range payloads {
		k := key{channel, p}
		s.keys = append(s.keys, k)
		if l.subs[k] == nil {
			l.subs[k] = map[*Subscription]struct{}{}
		}
		l.subs[k][s] = struct{}{}
	}
	return s
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.l.subsMu.Lock()
	defer s.l.subsMu.Unlock()
	for _, k := range s.keys {
		delete(s.l.subs[k], s)
		if len(s.l.subs[k]) == 0 {
			delete(s.l.subs, k)
		}
	}
}

// Arrived returns the payloads that arrived since it was last called, and whether others may
// have been missed.
func (s *Subscription) Arrived() (payloads []string, missed bool) {
	s.l.subsMu.Lock()
	defer s.l.subsMu.Unlock()
	payloads, missed = slices.Collect(maps.Keys(s.payloads)), s.missed
	clear(s.payloads)
	s.missed = false
	return payloads, missed
}

func (s *Subscription) signal() {
	select {
	case s.c <- struct{}{}:
	default:
	}
}

func (l *Listener) wake(k key) {
	l.subsMu.Lock()
	defer l.subsMu.Unlock()
	for s := range l.subs[k] {
		s.payloads[k.payload] = true
		s.signal()
	}
}

func (l *Listener) wakeAll() {
	l.subsMu.Lock()
	defer l.subsMu.Unlock()
	for _, subs := range l.subs {
		for s := range subs {
			s.missed = true
			s.signal()
		}
	}
}

// run keeps a proven connection until ctx ends.
func (l *Listener) run(ctx context.Context) {
	backoff := minBackoff
	for n := uint64(1); ctx.Err() == nil; n++ {
		err := l.session(ctx, n)
		if l.live.Swap(0) != 0 {
			backoff = minBackoff
			l.wakeAll()
		}
		wait := backoff
		if errors.Is(err, errPooler) {
			FoundPooler(l.pool)
			wait = poolerRetry
			l.once.Do(func() { close(l.proved) })
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// session connects, proves that notifications arrive, and hands them on until
// the connection breaks.
func (l *Listener) session(ctx context.Context, n uint64) error {
	conn, err := l.connect(ctx)
	if err != nil {
		return err
	}
	defer disconnect(conn)
	if err := l.prove(ctx, conn); err != nil {
		return err
	}
	foundNone(l.pool)
	l.live.Store(n)
	l.once.Do(func() { close(l.proved) })
	l.wakeAll()
	for {
		note, err := next(ctx, conn)
		if err != nil {
			return err
		}
		if note != nil {
			l.wake(*note)
		}
	}
}

// connect opens a connection as the pool would.
func (l *Listener) connect(ctx context.Context) (*pgx.Conn, error) {
	config := l.pool.Config()
	hosts.Bound(config.ConnConfig)
	ctx, cancel := context.WithTimeout(ctx, hosts.All(config.ConnConfig))
	defer cancel()
	if config.BeforeConnect != nil {
		if err := config.BeforeConnect(ctx, config.ConnConfig); err != nil {
			return nil, err
		}
	}
	return pgx.ConnectConfig(ctx, config.ConnConfig)
}

func disconnect(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), pingWait)
	defer cancel()
	_ = conn.Close(ctx)
}

// prove listens, and has another connection send a notification on a channel
// that nobody else uses. Sent by the connection itself it would arrive even
// through a pooler, as part of the statement's result.
func (l *Listener) prove(ctx context.Context, conn *pgx.Conn) error {
	sender, err := l.connect(ctx)
	if err != nil {
		return err
	}
	defer disconnect(sender)
	ctx, cancel := context.WithTimeout(ctx, proofWait)
	defer cancel()
	echo := "flowc_echo_" + uuid.NewString()
	for _, channel := range []string{Work, Done, echo} {
		statement := "LISTEN " + pgx.Identifier{channel}.Sanitize()
		if _, err := conn.Exec(ctx, statement, pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
	}
	if _, err := sender.Exec(ctx, `SELECT pg_notify($1, '')`, pgx.QueryExecModeExec, echo); err != nil {
		return err
	}
	wait, stop := context.WithTimeout(ctx, echoWait)
	defer stop()
	for {
		note, err := conn.WaitForNotification(wait)
		if err != nil {
			if wait.Err() != nil && ctx.Err() == nil {
				return errPooler
			}
			return err
		}
		if note.Channel == echo {
			return nil
		}
	}
}

// next returns the next notification, or nil if none came for a while and the connection
// still responds: a connection whose other end is gone would be silent for ever.
func next(ctx context.Context, conn *pgx.Conn) (*key, error) {
	quiet, cancel := context.WithTimeout(ctx, quietWait)
	defer cancel()
	note, err := conn.WaitForNotification(quiet)
	if err == nil {
		return &key{note.Channel, note.Payload}, nil
	}
	if quiet.Err() == nil || ctx.Err() != nil {
		return nil, err
	}
	ping, stop := context.WithTimeout(ctx, pingWait)
	defer stop()
	return nil, conn.Ping(ping)
}
