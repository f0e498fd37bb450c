package shards

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/pgcall"
	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
)

const (
	// lockTimeout is how long starts wait behind a publication that waits for others.
	lockTimeout = 300 * time.Millisecond
	// publishFor is how long a publication on a shard is tried.
	publishFor = 30 * time.Second
)

// Init makes databases the first shards, numbered from 1 in the order of their names, and
// returns nil if they are already. Flows that one of them has are defined on the others.
// Keys that were used in one of the databases before are found there; so programs that
// start runs must use the shards from then on. All databases have to be reachable. It needs
// the role that owns the engine, and is repeated if it was interrupted.
//
// Errors: those of [Open]; an [ErrWrongPool] for a database that was given under two names,
// or is a shard of another set.
func Init(ctx context.Context, pools map[string]*pgxpool.Pool) error {
	db, err := newDB(pools)
	if err != nil {
		return err
	}
	for _, a := range db.ask(ctx, db.members) {
		if a.err != nil {
			return a.err
		}
	}
	if err := distinct(ctx, db.members); err != nil {
		return err
	}
	for _, m := range db.members {
		unlock, err := m.lock(ctx)
		if err != nil {
			return &Error{Shard: m.name, Err: err}
		}
		defer unlock()
	}
	answers := db.ask(ctx, db.members)
	if err := oneSet(answers); err != nil {
		return err
	}
	first, full := newMap(uuid.New(), nil), version{}
	for i, a := range answers {
		if a.err != nil {
			return a.err
		}
		if a.shards != nil && len(a.shards.versions) > len(first.versions) {
			first = a.shards // of an earlier call
		}
		full = append(full, entry{Number: i + 1, Name: a.member.name, State: Active})
	}
	if len(first.versions) == 0 {
		for i, a := range answers {
			if used, err := a.member.hasRuns(ctx); err != nil {
				return err
			} else if used {
				first = first.with(version{full[i]})
			}
		}
		first = first.with(full)
		// Every database is claimed before one has the map, so that an interrupted call can be
		// told from a database that was replaced by an empty one.
		for _, a := range answers {
			if err := a.member.publish(ctx, newMap(first.id, nil), 0, false); err != nil {
				return err
			}
		}
	}
	db.known.Store(first)
	if err := db.Refresh(ctx); err != nil {
		return err
	}
	for _, m := range db.members {
		if _, ok := first.named(m.name); !ok {
			return &Error{Shard: m.name, Err: fmt.Errorf("%w: the other databases are shards already, add it with Add", ErrUnknownShard)}
		}
	}
	if err := db.publish(ctx, first, publishing{}); err != nil {
		return err
	}
	return db.settle(ctx)
}

// distinct checks that no two pools are of the same database, whatever their addresses: each
// transaction takes an advisory lock of its own, which is seen in the same database only.
func distinct(ctx context.Context, members []*member) error {
	class := rand.Int32()
	for i, m := range members {
		if j := slices.IndexFunc(members[:i], func(other *member) bool { return other.pool == m.pool }); j >= 0 {
			return sameDatabase(members[j], m)
		}
		tx, err := m.pool.Begin(ctx)
		if err != nil {
			return &Error{Shard: m.name, Err: err}
		}
		defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
		var same *int
		err = tx.QueryRow(ctx, `select min(objid::bigint)::int from pg_locks
			where locktype = 'advisory' and objsubid = 2 and classid::bigint = $1
			and database = (select oid from pg_database where datname = current_database())`, int64(class)).Scan(&same)
		if err == nil && same != nil {
			return sameDatabase(members[*same], m)
		}
		if err == nil {
			_, err = tx.Exec(ctx, `select pg_advisory_xact_lock($1, $2)`, class, int32(i))
		}
		if err != nil {
			return &Error{Shard: m.name, Err: err}
		}
	}
	return nil
}

func sameDatabase(a, b *member) error {
	return &poolsError{fmt.Sprintf("flowc: shards: %s and %s are the same database", a.name, b.name)}
}

// Add makes a database a shard, or a draining one active again, while work goes on. pool may
// be nil if the DB has one of that name. The flows are defined on it first. Processes that
// have no pool of that name go on, except with keys that belong there: give it to all of
// them first. It needs the role that owns the engine on all shards, all of which have to be
// reachable through pools of at least two connections, and is repeated if it was interrupted.
// If the shard is active already, nothing changes.
//
// Errors: [ErrWrongPool] if the database is another shard; an [Error] for a shard that is
// down.
func (db *DB) Add(ctx context.Context, name string, pool *pgxpool.Pool) error {
	if pool != nil && !slices.ContainsFunc(db.all(), func(m *member) bool { return m.name == name && m.pool == pool }) {
		if err := db.AddPool(name, pool); err != nil {
			return err
		}
	}
	return db.change(ctx, publishing{}, func(known *shardMap) ([]version, error) {
		next := slices.Clone(known.version)
		if i := slices.IndexFunc(next, func(e entry) bool { return e.Name == name }); i >= 0 {
			if next[i].State == Active {
				return nil, nil
			}
			next[i].State = Active
			return []version{next}, nil
		}
		i := slices.IndexFunc(db.all(), func(m *member) bool { return m.name == name })
		if i < 0 {
			return nil, &Error{Shard: name, Err: ErrNoPool}
		}
		m := db.all()[i]
		a := m.ask(ctx)
		if a.err != nil {
			return nil, a.err
		}
		if err := db.accept(a); err != nil {
			return nil, err
		}
		var versions []version
		if a.number == 0 { // else it was a shard before
			for _, v := range known.versions {
				for _, e := range v {
					a.number = max(a.number, e.Number)
				}
			}
			if a.number++; a.number > maxNumber {
				return nil, fmt.Errorf("flowc: shards: all %d numbers for shards have been used", maxNumber)
			}
			// It is claimed, and gets the flows, before it gets runs; it has no part in
			// schedules until then.
			if err := m.publish(ctx, known, 0, false); err != nil {
				return nil, err
			}
			used, err := m.hasRuns(ctx)
			if err != nil {
				return nil, err
			}
			if used {
				versions = append(versions, version{{Number: a.number, Name: name, State: Active}})
			}
		}
		if err := db.copyFlows(ctx, known, m); err != nil {
			return nil, err
		}
		return append(versions, append(next, entry{Number: a.number, Name: name, State: Active})), nil
	})
}

// Drain stops new runs on a shard. Those that it has go on, and so do schedules, on other
// shards. What it needs, and its errors, are those of [DB.Add]; the last active shard cannot
// be drained.
func (db *DB) Drain(ctx context.Context, name string) error {
	return db.change(ctx, publishing{}, func(known *shardMap) ([]version, error) {
		next := slices.Clone(known.version)
		i := slices.IndexFunc(next, func(e entry) bool { return e.Name == name })
		switch {
		case i < 0:
			return nil, unknown(name)
		case next[i].State == Draining:
			return nil, nil
		case len(known.activeNow) == 1:
			return nil, &Error{Shard: name, Err: errors.New("it is the only active shard")}
		}
		next[i].State = Draining
		return []version{next}, nil
	})
}

// Remove takes a shard out of the map when it has no runs any more, in which case it was
// drained before as a rule. With [runtime.AllowDataLoss] its runs are lost, and it may even
// be down, then for good. Its number is not used again, except if the same database is
// added again. What it needs, and its errors, are those of [DB.Drain], and [ErrHasRuns].
func (db *DB) Remove(ctx context.Context, name string, opts ...runtime.DataLossOption) error {
	_ = db.Refresh(ctx) // the change reads all maps again
	p := publishing{}
	e, ok := db.known.Load().named(name)
	if ok && len(opts) > 0 {
		p.mayLose = e.Number
	} else if ok {
		p.mustBeEmpty = e.Number
	}
	return db.change(ctx, p, func(known *shardMap) ([]version, error) {
		e, ok := known.named(name)
		switch {
		case !ok && known.had(0, name): // by an earlier call
			return nil, nil
		case !ok:
			return nil, unknown(name)
		case len(known.activeNow) == 1 && e.State == Active:
			return nil, &Error{Shard: name, Err: errors.New("it is the only active shard")}
		}
		return []version{slices.DeleteFunc(slices.Clone(known.version), func(other entry) bool { return other.Name == name })}, nil
	})
}

// Rename gives a shard another name. Pools have to be given under the new name from then on;
// processes that have it under the old one go on until they end. What it needs, and its
// errors, are those of [DB.Add].
func (db *DB) Rename(ctx context.Context, from, to string) error {
	if err := checkName(to); err != nil {
		return err
	}
	return db.change(ctx, publishing{}, func(known *shardMap) ([]version, error) {
		next := slices.Clone(known.version)
		i := slices.IndexFunc(next, func(e entry) bool { return e.Name == from })
		other, taken := known.named(to)
		switch {
		case i < 0 && taken && known.had(other.Number, from): // by an earlier call
			return nil, nil
		case i < 0:
			return nil, unknown(from)
		case taken:
			return nil, &Error{Shard: from, Err: fmt.Errorf("there is another shard %s", to)}
		}
		next[i].Name = to
		return []version{next}, nil
	})
}

func unknown(name string) error { return &Error{Shard: name, Err: ErrUnknownShard} }

// A publishing says how a map is published.
type publishing struct {
	lenient     bool // shards that do not answer are left out
	until       int  // one that must have it, after which it ends; others are left out
	mayLose     int  // the shard that may be down, and may have runs
	mustBeEmpty int  // the shard that must have no runs
}

// mayMiss reports whether a shard that does not answer is left out. One that was removed has
// learned it first, or is lost.
func (p publishing) mayMiss(number int, stays bool) bool {
	if p.until != 0 {
		return number != p.until
	}
	return p.lenient || number == p.mayLose || !stays && number != p.mustBeEmpty
}

// change changes the map: it completes a change that was interrupted, computes the next
// version, and publishes it. Only one process at a time does that.
func (db *DB) change(ctx context.Context, p publishing, edit func(known *shardMap) ([]version, error)) error {
	for {
		before := db.known.Load()
		unlock, err := db.lock(ctx, p)
		if err != nil {
			return err
		}
		known, err := db.readAll(ctx, p)
		if err == nil && known != before { // there may be shards that are not locked
			unlock()
			continue
		}
		defer unlock()
		if err != nil {
			return err
		}
		if err := db.publish(ctx, known, publishing{mayLose: p.mayLose}); err != nil {
			return err
		}
		next, err := edit(known)
		if err != nil {
			return err
		}
		if len(next) > 0 {
			if err := db.publish(ctx, known.with(next...), p); err != nil {
				return err
			}
		}
		return db.settle(ctx)
	}
}

// lock waits until no other process changes the map, and keeps them from it until unlock.
// Migrations wait as well.
func (db *DB) lock(ctx context.Context, p publishing) (unlock func(), _ error) {
	var unlocks []func()
	unlock = func() {
		for _, u := range slices.Backward(unlocks) {
			u()
		}
	}
	for _, e := range db.known.Load().byNumber() {
		err := db.call(ctx, e.Number, func(m *member) error {
			u, err := m.lock(ctx)
			if err == nil {
				unlocks = append(unlocks, u)
			}
			return err
		})
		if err != nil && e.Number != p.mayLose {
			unlock()
			return nil, err
		}
	}
	return unlock, nil
}

func (m *member) lock(ctx context.Context) (unlock func(), _ error) {
	tx, err := m.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite})
	if err != nil {
		return nil, err
	}
	unlock = func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }
	if _, err := tx.Exec(ctx, `set local idle_in_transaction_session_timeout = 0`); err != nil {
		unlock()
		return nil, err
	}
	if _, err := tx.Exec(ctx, `lock table flowc.installation in share row exclusive mode`); err != nil {
		unlock()
		if pgerr.Code(err) == "42501" {
			err = fmt.Errorf("changing the shards needs the role that owns the engine: %w", err)
		}
		return nil, err
	}
	return unlock, nil
}

// readAll reads the map from all shards, each of which has to answer.
func (db *DB) readAll(ctx context.Context, p publishing) (*shardMap, error) {
	for _, e := range db.known.Load().version {
		if err := db.call(ctx, e.Number, func(m *member) error { _, err := db.learn(ctx, m); return err }); err != nil && e.Number != p.mayLose {
			return nil, err
		}
	}
	return db.known.Load(), nil
}

// publish stores a map on all shards: first on those that lose keys and schedules by it,
// last on those that get them. What has it already is left alone.
func (db *DB) publish(ctx context.Context, next *shardMap, p publishing) error {
	targets := next.version
	if n := len(next.versions); n > 1 {
		for _, e := range next.versions[n-2] { // a shard that is removed learns it as well
			if _, there := next.numbered(e.Number); !there {
				targets = append(version{e}, targets...)
			}
		}
	}
	type target struct {
		entry
		member *member
		shift  int // -1 if it loses, 1 if it gets
	}
	var order []target
	for _, e := range targets {
		t := target{entry: e, member: db.lookup(e)}
		a := answer{err: &Error{Shard: e.Name, Err: ErrNoPool}}
		if t.member != nil {
			a = t.member.ask(ctx)
		}
		_, stays := next.numbered(e.Number)
		switch {
		case a.err != nil && p.mayMiss(e.Number, stays):
			continue
		case a.err != nil:
			return a.err
		case a.shards == nil:
			return &Error{Shard: e.Name, Err: fmt.Errorf("%w: one that is not a shard", ErrWrongPool)}
		case a.has(next):
			if e.Number == p.until {
				return nil
			}
			continue
		}
		was, is := slices.Contains(a.shards.activeNow, e.Number), slices.Contains(next.activeNow, e.Number)
		switch {
		case was && !is:
			t.shift = -1
		case !was && is:
			t.shift = 1
		}
		order = append(order, t)
	}
	slices.SortStableFunc(order, func(a, b target) int { return a.shift - b.shift })
	for _, t := range order {
		if t.shift > 0 {
			if err := db.copyFlows(ctx, next, t.member); err != nil {
				return err
			}
		}
		if err := t.member.publish(ctx, next, t.Number, t.Number == p.mustBeEmpty); err != nil {
			return err
		}
		t.member.number.Store(int32(t.Number))
		db.adopt(next)
		if t.Number == p.until {
			return nil
		}
	}
	return nil
}

// publish stores a map on a database, which has the number there; 0 if it is not in the map.
func (m *member) publish(ctx context.Context, next *shardMap, number int, mustBeEmpty bool) error {
	versions := next.versions
	if versions == nil {
		versions = []version{}
	}
	text, err := json.Marshal(versions)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, publishFor)
	defer cancel()
	for {
		err := pgx.BeginTxFunc(ctx, m.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `select set_config('lock_timeout', $1, true)`, fmt.Sprint(lockTimeout.Milliseconds())); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, `select flowc.publish_map($1, nullif($2, 0), $3::text::jsonb, $4)`, next.id.String(), number, string(text), mustBeEmpty)
			return err
		})
		m.note(err)
		switch {
		case err == nil:
			return nil
		case pgerr.Code(err) == "FC004":
			err = ErrHasRuns
		case pgerr.Code(err) == "FC003":
			err = fmt.Errorf("%w: %w", ErrWrongPool, err)
		case pgerr.Code(err) == "42501":
			err = fmt.Errorf("%w with the role that owns the engine (%w)", ErrUnfinished, err)
		case pgerr.Transient(err) && pgerr.Code(err) != "":
			select {
			case <-ctx.Done(): // the error says what it waited for
			case <-time.After(lockTimeout): // so that starts go on meanwhile
				continue
			}
		}
		return &Error{Shard: m.name, Err: fmt.Errorf("publishing the map of shards: %w", err)}
	}
}

func (m *member) hasRuns(ctx context.Context) (has bool, _ error) {
	err := m.pool.QueryRow(ctx, `select exists (select from pgflow.runs)`).Scan(&has)
	if err != nil {
		return false, &Error{Shard: m.name, Err: err}
	}
	return has, nil
}

// copyFlows defines on a new shard the flows that another one has.
func (db *DB) copyFlows(ctx context.Context, known *shardMap, to *member) error {
	for _, e := range known.version {
		from := db.lookup(e)
		if from == nil || from == to {
			continue
		}
		type flow struct {
			slug, definition, by string
			paused               bool
		}
		flows, err := pgcall.Engine(ctx, from.pool, func(rows pgx.CollectableRow) (f flow, _ error) {
			return f, rows.Scan(&f.slug, &f.definition, &f.paused, &f.by)
		}, `select flow_slug, definition::text, paused, coalesce(paused_by, '') from flowc.export_flows()`)
		if err != nil {
			return &Error{Shard: e.Name, Err: fmt.Errorf("reading its flows: %w", err)}
		}
		for _, f := range flows {
			status, _, err := pgcall.EngineOne(ctx, to.pool, pgx.RowTo[string], `select flowc.upsert_flow($1, $2::text::jsonb) ->> 'status'`, f.slug, f.definition)
			if err == nil && status == string(runtime.UpsertMismatch) {
				err = errors.New("it has another shape there: delete it there, or give it a slug of its own")
			}
			if err == nil && f.paused {
				_, _, err = pgcall.EngineOne(ctx, to.pool, pgx.RowTo[*bool], `select flowc.pause_flow($1, true, $2)`, f.slug, f.by)
			}
			if err != nil {
				return &Error{Shard: to.name, Err: fmt.Errorf("defining flow %s: %w", f.slug, err)}
			}
		}
		return nil
	}
	return nil
}

// settle gives each schedule that a change moved to its new shard, with its next tick, from
// the shard that had it last, which may be itself. For that, all shards have to answer.
func (db *DB) settle(ctx context.Context) error {
	known := db.known.Load()
	var faults []error
	for _, e := range known.version {
		ctx, cancel := context.WithTimeout(ctx, publishFor)
		err := db.call(ctx, e.Number, func(to *member) error {
			slugs, err := pgcall.Engine(ctx, to.pool, pgx.RowTo[string], `select flowc.schedules_to_take()`)
			if err != nil || len(slugs) == 0 {
				return err
			}
			last := map[string]schedule{}
			for _, other := range known.version {
				if err := db.call(ctx, other.Number, func(m *member) error { return m.givenUp(ctx, slugs, last) }); err != nil {
					return err
				}
			}
			for _, slug := range slugs {
				s := last[slug] // none if no shard has had it
				_, err := pgcall.Engine(ctx, to.pool, pgx.RowTo[string], `select flowc.take_schedule($1, $2, $3, $4, $5, $6)::text`,
					slug, s.next, s.paused, s.reason, s.last, s.run)
				if err != nil {
					return fmt.Errorf("taking the schedule of flow %s: %w", slug, err)
				}
			}
			return nil
		})
		cancel()
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// A schedule is what one shard leaves to another.
type schedule struct {
	slug               string
	by                 int // the higher, the later the shard had it
	next, paused, last *time.Time
	reason, run        *string
}

// givenUp reads the schedules of flows on a shard, and notes those that it had later than
// others.
func (m *member) givenUp(ctx context.Context, slugs []string, latest map[string]schedule) error {
	rows, err := pgcall.Engine(ctx, m.pool, func(row pgx.CollectableRow) (s schedule, _ error) {
		return s, row.Scan(&s.slug, &s.by, &s.next, &s.paused, &s.reason, &s.last, &s.run)
	}, `select flow_slug, suspended_by, next_at, paused_at, pause_reason, last_at, last_run_id::text from flowc.schedules_given_up($1)`, slugs)
	for _, s := range rows {
		if s.by > latest[s.slug].by {
			latest[s.slug] = s
		}
	}
	return err
}

// tend learns of changes of the map, and completes those that were interrupted, as far as
// shards answer.
func (db *DB) tend(ctx context.Context) error {
	answers, err := db.refresh(ctx)
	faults, known := []error{err}, db.known.Load()
	if slices.ContainsFunc(answers, func(a answer) bool { return a.shards != nil && !a.has(known) }) {
		faults = append(faults, db.publish(ctx, known, publishing{lenient: true}))
	}
	return errors.Join(append(faults, db.settle(ctx))...)
}
