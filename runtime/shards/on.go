package shards

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/pgcall"
)

// On returns the database that consists of one shard: runs start there, and only runs that
// are there are found. Their ids say so, and the DB finds them as well. A key names one run
// of its flow among those that On and In start on that shard; the same key on another shard,
// or without On, names another run. It also serves the functions of package ops.
//
// If there is no such shard, or no pool for it, calls return an [ErrUnknownShard] or an
// [ErrNoPool]; starts on a shard that is draining return an [ErrDraining].
func (db *DB) On(name string) runtime.DB {
	m, err := db.byName(name)
	if err != nil {
		return &oneShard{DB: nowhere{err}, db: db, name: name}
	}
	return &oneShard{DB: m.pool, db: db, name: name, pooled: true}
}

// In returns the database that consists of one shard in a transaction on its pool, of those
// that [DB.Shards] returns: runs start when it commits. Otherwise it is like [DB.On]. Starts
// in a transaction on another database return an [ErrWrongPool], and the transaction can go
// on.
func (db *DB) In(name string, tx pgx.Tx) runtime.DB {
	if _, err := db.byName(name); err != nil {
		return &oneShard{DB: nowhere{err}, db: db, name: name, inTx: true}
	}
	return &oneShard{DB: tx, db: db, name: name, inTx: true}
}

// byName returns the member for a shard.
func (db *DB) byName(name string) (*member, error) {
	e, ok := db.known.Load().named(name)
	if !ok {
		return nil, unknown(name)
	}
	m := db.lookup(e)
	if m == nil {
		return nil, &Error{Shard: name, Err: ErrNoPool}
	}
	return m, nil
}

// A oneShard is one of the shards: its pool, or a transaction.
type oneShard struct {
	runtime.DB
	db           *DB
	name         string
	pooled, inTx bool
	checked      atomic.Bool // that the transaction is on the shard
}

var (
	_ runtime.BackendDB     = (*oneShard)(nil)
	_ runtime.EngineBackend = oneBackend{}
	_ runtime.Namer         = oneBackend{}
	_ runtime.Router        = oneBackend{}
)

// Backend returns the backend for package runtime.
func (s *oneShard) Backend() runtime.Backend { return oneBackend{runtime.BackendOf(s.DB), s} }

// Unsupported returns an [runtime.ErrNeedsEngine].
func (s *oneShard) Unsupported() error { return runtime.ErrNeedsEngine }

// InTx reports whether it is a transaction, for package runtime.
func (s *oneShard) InTx() bool { return s.inTx }

// IsPool reports whether each statement gets a connection that works, for package runtime.
func (s *oneShard) IsPool() bool { return s.pooled }

// String returns the name of the shard.
func (s *oneShard) String() string { return "shard " + s.name }

// A oneBackend is the backend of one shard.
type oneBackend struct {
	runtime.EngineBackend
	shard *oneShard
}

// NewRunIDs returns ids that name the shard.
func (b oneBackend) NewRunIDs(n int) ([]uuid.UUID, error) {
	e, ok := b.shard.db.known.Load().named(b.shard.name)
	if !ok {
		return nil, unknown(b.shard.name)
	}
	return newIDs(n, e.Number)
}

// KeyedRunID returns an id that names the shard.
func (b oneBackend) KeyedRunID(id uuid.UUID) (uuid.UUID, error) {
	e, ok := b.shard.db.known.Load().named(b.shard.name)
	if !ok {
		return id, unknown(b.shard.name)
	}
	return keyedID(id, e.Number), nil
}

// DBOf returns the pool, so that package runtime uses it as such.
func (b oneBackend) DBOf(context.Context, string) (runtime.DB, error) { return b.shard.DB, nil }

// Start starts runs on the shard, unless it is draining. In a transaction, which an error of
// the database would end, a map that was read within a second decides that.
func (b oneBackend) Start(ctx context.Context, r runtime.StartRequest) ([]runtime.StartedRun, error) {
	db, began := b.shard.db, time.Now()
	m, err := db.byName(b.shard.name)
	if err != nil {
		return nil, err
	}
	if asked := m.asked.Load(); b.shard.inTx && (asked == nil || time.Since(*asked) > time.Second) {
		if _, err := db.learn(ctx, m); err != nil {
			return nil, err
		}
	}
	if err := b.shard.check(ctx); err != nil {
		return nil, err
	}
	for {
		known := db.known.Load()
		e, ok := known.named(b.shard.name)
		switch {
		case !ok:
			return nil, unknown(b.shard.name)
		case e.State != Active:
			return nil, &Error{Shard: e.Name, Err: ErrDraining}
		case !b.shard.inTx:
			r.MapVersion = len(known.versions)
		}
		var started []runtime.StartedRun
		err := db.call(ctx, e.Number, func(*member) (err error) {
			started, err = b.EngineBackend.Start(ctx, r)
			return err
		})
		if !isOtherVersion(err) {
			return started, err
		}
		if err := db.agree(ctx, e.Number, time.Since(began) < settleFor); err != nil {
			return nil, err
		}
	}
}

// RunSchedule starts a run on the shard.
func (b oneBackend) RunSchedule(ctx context.Context, flow, id string) (bool, error) {
	if err := b.shard.check(ctx); err != nil {
		return false, err
	}
	return b.EngineBackend.RunSchedule(ctx, flow, id)
}

// check checks that a transaction is on the shard. That of another database can go on.
func (s *oneShard) check(ctx context.Context) error {
	if !s.inTx || s.checked.Load() {
		return nil
	}
	known := s.db.known.Load()
	e, ok := known.named(s.name)
	if !ok {
		return unknown(s.name)
	}
	type place struct {
		mapID  string
		number int
	}
	here, found, err := pgcall.EngineOne(ctx, s.DB, func(row pgx.CollectableRow) (p place, _ error) {
		return p, row.Scan(&p.mapID, &p.number)
	}, `SELECT map_id::text, coalesce(number, 0) FROM flowc.get_shard()`)
	other := "one of another set of shards"
	switch {
	case err != nil:
		return &Error{Shard: s.name, Err: err}
	case !found || here.mapID == known.id.String() && here.number == 0:
		other = "one that is not a shard"
	case here.mapID == known.id.String() && here.number == e.Number:
		s.checked.Store(true)
		return nil
	case here.mapID == known.id.String():
		other = s.db.describe(here.number)
	}
	return &Error{Shard: s.name, Err: fmt.Errorf("%w: %s", ErrWrongPool, other)}
}

// A nowhere is the database of a shard that cannot be used.
type nowhere struct{ err error }

func (n nowhere) Exec(context.Context, string, ...any) (pgconn.CommandTag, error) {
	return pgconn.CommandTag{}, n.err
}

func (n nowhere) Query(context.Context, string, ...any) (pgx.Rows, error) { return nil, n.err }

func (n nowhere) QueryRow(context.Context, string, ...any) pgx.Row { return n }

func (n nowhere) Scan(...any) error { return n.err }
