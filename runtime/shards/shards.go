package shards

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/engine"
	"github.com/flowc-dev/flowc/runtime/internal/pgcall"
	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
)

const (
	// askTimeout bounds how long a shard may take to say what its map is.
	askTimeout = 5 * time.Second
	// retryDown is how soon a shard that is down is tried again.
	retryDown = time.Second
)

// A DB is several databases that are used like one: a [runtime.DB] for the functions of
// package runtime and of generated packages. It may be used concurrently.
type DB struct {
	runtime.NoTables

	mu      sync.Mutex // for members
	members []*member
	known   atomic.Pointer[shardMap]
	starts  atomic.Uint32 // counts runs without keys
}

var _ runtime.BackendDB = (*DB)(nil)

// A member is a database for which this process has a pool.
type member struct {
	name   string // that the caller gave it
	pool   *pgxpool.Pool
	number atomic.Int32              // of the shard, 0 until the database has confirmed it
	asked  atomic.Pointer[time.Time] // when it last said what its map is
	down   atomic.Pointer[outage]
}

// An outage is what the last call to a database that is down returned.
type outage struct {
	err   error
	retry time.Time
}

// A Shard is one of the databases.
type Shard struct {
	Number int    // from 1 to 65535, for ever
	Name   string // by which pools and people know it
	State  State
	// Pool is nil if this process has none for it.
	Pool *pgxpool.Pool
}

// Open returns the database that consists of shards, which [Init] has made. pools has a pool
// for each shard by its name, and may have more, for shards that are added later. Shards
// that cannot be reached now may be down, but one has to answer. The caller closes the pools
// when it no longer uses the DB.
//
// Errors: [ErrNoMap]; [ErrWrongPool] with both names, if a pool is configured under the name
// of another shard; a [runtime.EngineError] if a database has no engine, or not that of this
// program.
func Open(ctx context.Context, pools map[string]*pgxpool.Pool) (*DB, error) {
	db, err := newDB(pools)
	if err != nil {
		return nil, err
	}
	answers := db.ask(ctx, db.all())
	var down, faults []error
	var newest *shardMap
	for _, a := range answers {
		switch {
		case a.err != nil && pgerr.Transient(a.err):
			down = append(down, a.err)
		case a.err != nil:
			faults = append(faults, a.err)
		case a.shards != nil && (newest == nil || len(a.shards.versions) > len(newest.versions)):
			newest = a.shards
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	if newest == nil || len(newest.versions) == 0 {
		if err := errors.Join(down...); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("flowc: %w", ErrNoMap)
	}
	if err := oneSet(answers); err != nil {
		return nil, err
	}
	db.known.Store(newest)
	for _, a := range answers {
		if a.err == nil {
			faults = append(faults, db.accept(a))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return db, nil
}

// oneSet checks that the databases that are shards belong to one set. It cannot know which of
// several is meant, so it names all of them.
func oneSet(answers []answer) error {
	var ids []uuid.UUID
	names := map[uuid.UUID][]string{}
	for _, a := range answers {
		if a.err != nil || a.shards == nil || len(a.shards.versions) == 0 {
			continue
		}
		if names[a.shards.id] == nil {
			ids = append(ids, a.shards.id)
		}
		names[a.shards.id] = append(names[a.shards.id], a.member.name)
	}
	if len(ids) < 2 {
		return nil
	}
	sets := make([]string, len(ids))
	for i, id := range ids {
		sets[i] = strings.Join(names[id], ", ")
	}
	return &poolsError{fmt.Sprintf("flowc: shards: the databases are of %d sets of shards: %s", len(sets), strings.Join(sets, "; "))}
}

// A poolsError is an [ErrWrongPool] about several pools.
type poolsError struct{ text string }

func (e *poolsError) Error() string { return e.text }
func (e *poolsError) Unwrap() error { return ErrWrongPool }

// newDB returns a DB that knows no map yet.
func newDB(pools map[string]*pgxpool.Pool) (*DB, error) {
	db := &DB{NoTables: runtime.NoTables{Instead: "the database consists of shards: use db.On(name) or the pool of one"}}
	for _, name := range slices.Sorted(maps.Keys(pools)) {
		if err := db.AddPool(name, pools[name]); err != nil {
			return nil, err
		}
	}
	if len(db.members) == 0 {
		return nil, errors.New("flowc: shards: there are no pools")
	}
	db.starts.Store(rand.Uint32()) // or the first run of every process would go to the same shard
	return db, nil
}

// AddPool gives the DB a pool for a shard that is added later, or was not given to [Open].
// The DB uses it as soon as the map has the shard.
func (db *DB) AddPool(name string, pool *pgxpool.Pool) error {
	if err := checkName(name); err != nil {
		return err
	}
	if pool == nil {
		return fmt.Errorf("flowc: shards: the pool of shard %s is nil", name)
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	if slices.ContainsFunc(db.members, func(m *member) bool { return m.name == name }) {
		return fmt.Errorf("flowc: shards: there are two pools for shard %s", name)
	}
	db.members = append(db.members, &member{name: name, pool: pool})
	return nil
}

func checkName(name string) error {
	if name == "" || len(name) > 63 || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == '/' || r == 0x7f }) {
		return fmt.Errorf("flowc: shards: %q cannot be the name of a shard: a name has 1 to 63 bytes, and no spaces or slashes", name)
	}
	return nil
}

// all returns the members.
func (db *DB) all() []*member {
	db.mu.Lock()
	defer db.mu.Unlock()
	return slices.Clone(db.members)
}

// Shards returns the shards in the newest map that this process knows, by number. It does
// not query them, see [DB.Refresh].
func (db *DB) Shards() (all []Shard) {
	m := db.known.Load()
	for _, e := range m.byNumber() {
		all = append(all, db.shard(e))
	}
	return all
}

func (db *DB) shard(e entry) Shard {
	s := Shard{Number: e.Number, Name: e.Name, State: e.State}
	if member := db.lookup(e); member != nil {
		s.Pool = member.pool
	}
	return s
}

// lookup returns the member for a shard, nil if there is none.
func (db *DB) lookup(e entry) *member {
	db.mu.Lock()
	defer db.mu.Unlock()
	for _, m := range db.members {
		if int(m.number.Load()) == e.Number {
			return m
		}
	}
	for _, m := range db.members {
		if m.number.Load() == 0 && m.name == e.Name {
			return m
		}
	}
	return nil
}

// member returns the member for a shard, once its database has confirmed that it is that.
func (db *DB) member(ctx context.Context, number int) (*member, error) {
	e, ok := db.known.Load().numbered(number)
	if !ok {
		return nil, fmt.Errorf("flowc: shard number %d: %w", number, ErrUnknownShard)
	}
	m := db.lookup(e)
	switch {
	case m == nil:
		return nil, &Error{Shard: e.Name, Err: ErrNoPool}
	case m.number.Load() == 0:
		if _, err := db.learn(ctx, m); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Each calls a function with each shard, with all at once, and returns their errors, joined,
// each an [Error] with the name of the shard. For a shard without a pool, the function is
// not called; the error is [ErrNoPool]. An error does not stop the others.
func (db *DB) Each(ctx context.Context, do func(context.Context, Shard) error) error {
	all := db.Shards()
	faults := make([]error, len(all))
	var calls sync.WaitGroup
	for i, s := range all {
		calls.Go(func() { faults[i] = db.call(ctx, s.Number, func(*member) error { return do(ctx, s) }) })
	}
	calls.Wait()
	return errors.Join(faults...)
}

// call calls a function with a shard, and adds the name of the shard to an error.
func (db *DB) call(ctx context.Context, number int, do func(*member) error) error {
	m, err := db.member(ctx, number)
	if err != nil {
		return err
	}
	err = do(m)
	m.note(err)
	if err == nil || errors.As(err, new(*Error)) {
		return err
	}
	return &Error{Shard: db.nameOf(number), Err: err}
}

// describe returns what the database with a number is.
func (db *DB) describe(number int) string {
	if e, ok := db.known.Load().numbered(number); ok {
		return "shard " + e.Name
	}
	return "a shard that was removed"
}

func (db *DB) nameOf(number int) string {
	e, _ := db.known.Load().numbered(number)
	return e.Name
}

// note notes whether a call shows that the database is down.
func (m *member) note(err error) {
	switch {
	case err == nil, errors.Is(err, runtime.ErrRunNotFound):
		m.down.Store(nil)
	case m.isOutage(err): // so that it was not called
	case pgerr.Transient(err) && (pgerr.Code(err) == "" || pgerr.Class(err) == "57" || pgerr.Class(err) == "08"):
		m.down.Store(&outage{err: err, retry: time.Now().Add(retryDown)})
	}
}

// isOutage reports whether an error is that of an earlier call.
func (m *member) isOutage(err error) bool {
	o := m.down.Load()
	return o != nil && o.err == err
}

// isDown reports whether the database was down the last time. From time to time it tries
// again, in the background.
func (m *member) isDown() bool {
	o := m.down.Load()
	if o == nil {
		return false
	}
	if time.Now().After(o.retry) && m.down.CompareAndSwap(o, &outage{err: o.err, retry: time.Now().Add(2 * retryDown)}) {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), retryDown)
			defer cancel()
			m.note(m.pool.Ping(ctx))
		}()
	}
	return true
}

// An answer is what a database says about the map of shards.
type answer struct {
	member *member
	number int       // of the shard, 0 if it is not in the map yet
	shards *shardMap // nil if it is not a shard
	err    error
}

// has reports whether the database has a map, and its place in it.
func (a answer) has(m *shardMap) bool {
	return a.number != 0 && a.shards != nil && len(a.shards.versions) >= len(m.versions)
}

// ask asks databases for their maps, all at once.
func (db *DB) ask(ctx context.Context, members []*member) []answer {
	answers := make([]answer, len(members))
	var calls sync.WaitGroup
	for i, m := range members {
		calls.Go(func() { answers[i] = m.ask(ctx) })
	}
	calls.Wait()
	return answers
}

func (m *member) ask(ctx context.Context) answer {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	a := answer{member: m}
	fail := func(err error) answer {
		m.note(err)
		a.err = &Error{Shard: m.name, Err: err}
		return a
	}
	if m.number.Load() == 0 {
		if err := engine.Check(ctx, m.pool); err != nil {
			return fail(err)
		}
	}
	type row struct{ id, maps string }
	r, found, err := pgcall.EngineOne(ctx, m.pool, func(rows pgx.CollectableRow) (r row, _ error) {
		return r, rows.Scan(&r.id, &a.number, &r.maps)
	}, `SELECT map_id::text, coalesce(number, 0), maps::text FROM flowc.get_shard()`)
	if err != nil {
		return fail(err)
	}
	m.note(nil)
	now := time.Now()
	m.asked.Store(&now)
	if !found {
		return a
	}
	id, err := uuid.Parse(r.id)
	if err != nil {
		return fail(err)
	}
	var versions []version
	if err := json.Unmarshal([]byte(r.maps), &versions); err != nil {
		return fail(err)
	}
	a.shards = newMap(id, versions)
	return a
}

// accept checks that a database is the shard that its name says, and notes its number.
func (db *DB) accept(a answer) error {
	known := db.known.Load()
	named, isNamed := known.named(a.member.name)
	switch {
	case a.shards == nil && isNamed:
		return &Error{Shard: a.member.name, Err: fmt.Errorf("%w: one that is not a shard", ErrWrongPool)}
	case a.shards == nil: // it will be added
		return nil
	case !known.continues(a.shards) && !a.shards.continues(known):
		return &Error{Shard: a.member.name, Err: fmt.Errorf("%w: one of another set of shards", ErrWrongPool)}
	case a.number == 0 && !isNamed: // adding it was not completed
		return nil
	case a.number != 0 && int(a.member.number.Load()) == a.number: // whatever its name is by now
		return nil
	case a.number == 0: // the change that puts it into the map has not come there yet
		a.number = named.Number
	case !isNamed || named.Number != a.number:
		if _, there := known.numbered(a.number); there || isNamed {
			return &Error{Shard: a.member.name, Err: fmt.Errorf("%w: %s", ErrWrongPool, db.describe(a.number))}
		}
		return nil
	}
	a.member.number.Store(int32(a.number))
	return nil
}

// learn asks a database for its map, and adopts it if it is newer than the known one.
func (db *DB) learn(ctx context.Context, m *member) (answer, error) {
	a := m.ask(ctx)
	if a.err != nil {
		return a, a.err
	}
	db.adopt(a.shards)
	return a, db.accept(a)
}

// adopt makes a map the known one, if it is a later state of that.
func (db *DB) adopt(newer *shardMap) {
	for newer != nil {
		known := db.known.Load()
		if len(newer.versions) <= len(known.versions) || !newer.continues(known) || db.known.CompareAndSwap(known, newer) {
			return
		}
	}
}

// Refresh reads the map from all shards. A program does not need to call it before it
// starts runs or looks for them; it is for [DB.Shards]. Errors: an [Error] for each shard
// that did not answer; the newest map of the others is known then.
func (db *DB) Refresh(ctx context.Context) error {
	_, err := db.refresh(ctx)
	return err
}

// refresh does what [DB.Refresh] does, and returns what the databases said.
func (db *DB) refresh(ctx context.Context) ([]answer, error) {
	answers := db.ask(ctx, db.all())
	for _, a := range answers {
		if a.err == nil {
			db.adopt(a.shards)
		}
	}
	var faults []error
	for _, a := range answers {
		if a.err == nil {
			a.err = db.accept(a)
		}
		faults = append(faults, a.err)
	}
	return answers, errors.Join(faults...)
}

// String returns the names of the shards.
func (db *DB) String() string {
	var names []string
	for _, e := range db.known.Load().version {
		names = append(names, e.Name)
	}
	return "shards " + strings.Join(names, ", ")
}
