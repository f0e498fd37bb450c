package shards_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/shards"
)

// moving returns an id that belongs to one shard, and to another when there are more.
func moving(before, after []int, from, to int) string {
	for {
		id := uuid.NewString()
		if shards.Rendezvous(id, before) == from && shards.Rendezvous(id, after) == to {
			return id
		}
	}
}

// with returns the number of the newest version of the map on a database.
func (s *system) version(name string) int {
	s.T.Helper()
	return one[int](s, name, `select coalesce((select version from flowc.shard), 0)`)
}

// A process that knows an old map is refused, reads the new one, and finds what others have
// started by it.
func TestOldMap(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b")
	s.pools["c"] = dbtest.Pool(t)
	old := s.open()
	s.NoError(s.db.Add(s.ctx, "c", s.pools["c"]))
	id := moving([]int{1, 2}, []int{1, 2, 3}, 1, 3)
	run, err := greet.Start(s.ctx, s.db, "ada", runtime.WithRunID(id))
	s.NoError(err)
	s.False(run.Existed())
	s.Equal("c", s.has(id))
	s.Len(old.Shards(), 2)
	run, err = greet.Start(s.ctx, old, "ada", runtime.WithRunID(id))
	s.NoError(err)
	s.True(run.Existed())
	s.Equal("c", s.has(id))
	s.Len(old.Shards(), 3)
}

// A process that has no pool for a new shard goes on without it, and says which it lacks.
func TestPoolOfNewShardLacks(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b")
	old := s.open()
	s.pools["c"] = dbtest.Pool(t)
	s.NoError(s.db.Add(s.ctx, "c", s.pools["c"]))
	_, err := greet.Start(s.ctx, old, "ada", runtime.WithRunID(moving([]int{1, 2}, []int{1, 2, 3}, 1, 3)))
	s.ErrorIs(err, shards.ErrNoPool)
	s.ErrorContains(err, "flowc: shard c: there is no pool for it")
	for range 6 {
		_, err = greet.Start(s.ctx, old, "ada")
		s.NoError(err)
	}
	_, err = greet.Start(s.ctx, old, "ada", runtime.WithRunID(moving([]int{1, 2}, []int{1, 2, 3}, 1, 1)))
	s.NoError(err)
	s.NoError(old.AddPool("c", s.pools["c"]))
	_, err = greet.Start(s.ctx, old, "ada", runtime.WithRunID(moving([]int{1, 2}, []int{1, 2, 3}, 1, 3)))
	s.NoError(err)
}

// waiting waits until a session waits for a lock on the map of a database.
func (s *system) waiting(name string) {
	s.T.Helper()
	s.eventually(func() bool {
		return one[int](s, name, `select count(*) from pg_locks where not granted and relation = 'flowc.shard'::regclass and database = (select oid from pg_database where datname = current_database())`) > 0
	}, "somebody waits for the map of "+name)
}

// begin begins a transaction on a database.
func (s *system) begin(name string) pgx.Tx {
	s.T.Helper()
	tx, err := s.pools[name].Begin(s.ctx)
	s.NoError(err)
	s.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return tx
}

// A start by an old map that has not committed keeps the new map from its shard, so that a
// start by the new map finds its run.
func TestStartBeforePublication(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b")
	s.pools["c"] = dbtest.Pool(t)
	id := moving([]int{1, 2}, []int{1, 2, 3}, 1, 3)
	tx := s.begin("a")
	_, err := tx.Exec(s.ctx, `select flowc.start('greet', array['"ada"'::jsonb], array[$1::uuid], map_version => 1)`, id)
	s.NoError(err)
	added := make(chan error, 1)
	go func() { added <- s.db.Add(s.ctx, "c", s.pools["c"]) }()
	s.waiting("a")
	s.Equal(1, s.version("a"))
	s.NoError(tx.Commit(s.ctx))
	s.NoError(<-added)
	run, err := greet.Start(s.ctx, s.db, "ada", runtime.WithRunID(id))
	s.NoError(err)
	s.True(run.Existed())
	s.Equal("a", s.has(id))
}

// A start by an old map that comes while the new one is being published waits for it, and
// goes to the new shard.
func TestStartDuringPublication(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b")
	s.pools["c"] = dbtest.Pool(t)
	old := s.open()
	id := moving([]int{1, 2}, []int{1, 2, 3}, 1, 3)
	tx := s.begin("a")
	_, err := tx.Exec(s.ctx, `lock table flowc.shard in exclusive mode`)
	s.NoError(err)
	started := make(chan error, 1)
	go func() {
		_, err := greet.Start(s.ctx, old, "ada", runtime.WithRunID(id))
		started <- err
	}()
	s.waiting("a")
	// What Add does, up to here: c is claimed and has the flows.
	s.publishAt("c", 0, s.maps("a"))
	_, err = greet.Upsert(s.ctx, s.pools["c"])
	s.NoError(err)
	_, err = tx.Exec(s.ctx, `select flowc.publish_map(map_id, 1, maps || jsonb_build_array(maps -> 0 || '[{"number": 3, "name": "c", "state": "active"}]')) from flowc.shard`)
	s.NoError(err)
	s.NoError(tx.Commit(s.ctx))
	s.NoError(<-started)
	s.Equal("c", s.has(id))
	s.Equal([]int{2, 2}, []int{s.version("a"), s.version("c")}, "the start completed the publication where it had to")
}

// A look for an earlier run is part of the fence: after it, nothing starts there by the old
// map.
func TestLookBeforeStart(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b")
	s.pools["c"] = dbtest.Pool(t)
	s.publishAt("c", 0, s.maps("a"))
	_, err := greet.Upsert(s.ctx, s.pools["c"])
	s.NoError(err)
	id := moving([]int{1, 2}, []int{1, 2, 3}, 1, 3)
	before := s.maps("a")
	next := append(before[:1:1], append(before[0][:2:2], entry{3, "c", "active"}))
	s.publishAt("c", 3, next) // a process died after that, and a and b have the old map
	db := s.open()
	tx := s.begin("a") // a start by the old map is in flight
	_, err = tx.Exec(s.ctx, `select flowc.start('greet', array['"ada"'::jsonb], array[$1::uuid], map_version => 1)`, id)
	s.NoError(err)
	started := make(chan bool, 1)
	go func() {
		run, err := greet.Start(s.ctx, db, "ada", runtime.WithRunID(id))
		if err != nil {
			t.Error(err)
		}
		started <- err == nil && run.Existed()
	}()
	s.waiting("a")
	s.NoError(tx.Commit(s.ctx))
	s.True(<-started)
	s.Equal("a", s.has(id))
	_, err = s.pools["a"].Exec(s.ctx, `select flowc.start('greet', array['"ada"'::jsonb], array[$1::uuid], map_version => 1)`, uuid.NewString())
	s.ErrorContains(err, "the map of shards has version 2 here, not 1")
}

type entry struct {
	Number int    `json:"number"`
	Name   string `json:"name"`
	State  string `json:"state"`
}

// maps returns the versions of the map that a database has.
func (s *system) maps(name string) (versions [][]entry) {
	s.T.Helper()
	s.NoError(json.Unmarshal([]byte(one[string](s, name, `select maps::text from flowc.shard`)), &versions))
	return versions
}

// publishAt publishes versions of the map of a to one database.
func (s *system) publishAt(name string, number int, versions [][]entry) {
	s.T.Helper()
	text, err := json.Marshal(versions)
	s.NoError(err)
	_, err = s.pools[name].Exec(s.ctx, `select flowc.publish_map($1, nullif($2, 0), $3::text::jsonb)`,
		one[string](s, "a", `select map_id::text from flowc.shard`), number, string(text))
	s.NoError(err)
}

// In whatever a database's transactions are by default, a start by an old map is refused.
func TestIsolation(t *testing.T) {
	t.Parallel()
	for _, isolation := range []string{"repeatable read", "serializable"} {
		t.Run(isolation, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, "a", "b")
			next := s.maps("a")
			next = append(next, next[0])
			tx, err := s.pools["a"].BeginTx(s.ctx, pgx.TxOptions{IsoLevel: pgx.TxIsoLevel(isolation)})
			s.NoError(err)
			defer func() { _ = tx.Rollback(s.ctx) }()
			_, err = tx.Exec(s.ctx, `select 1 from pgflow.runs`) // its snapshot is from now
			s.NoError(err)
			s.publishAt("a", 1, next)
			_, err = tx.Exec(s.ctx, `select flowc.start('greet', array['"ada"'::jsonb], array[$1::uuid], map_version => 1)`, uuid.NewString())
			s.ErrorContains(err, "could not serialize access")
			pools := map[string]*pgxpool.Pool{}
			for name, pool := range s.pools {
				pools[name] = dbtest.With(t, pool, map[string]string{"default_transaction_isolation": isolation})
			}
			db, err := shards.Open(s.ctx, pools)
			s.NoError(err)
			_, err = greet.Start(s.ctx, db, "ada")
			s.NoError(err)
		})
	}
}

// A change that was interrupted is completed by the next, and by whoever meets it, wherever
// it stopped.
func TestInterruptedAdd(t *testing.T) {
	t.Parallel()
	for stopped := range 4 {
		s := newSystem(t, "a", "b")
		s.pools["c"] = dbtest.Pool(t)
		before := s.maps("a")
		next := append(before[:1:1], append(before[0][:2:2], entry{3, "c", "active"}))
		s.publishAt("c", 0, before)
		for i, name := range []string{"a", "b"} {
			if i < stopped {
				s.publishAt(name, i+1, next)
			}
		}
		db := s.open()
		id := moving([]int{1, 2}, []int{1, 2, 3}, 2, 3)
		if stopped == 3 { // it is left to a start to complete it
			_, err := greet.Start(s.ctx, db, "ada", runtime.WithRunID(id))
			s.NoError(err)
			s.Equal("c", s.has(id))
		} else {
			s.NoError(db.Add(s.ctx, "c", nil))
		}
		s.Equal([]int{2, 2, 2}, []int{s.version("a"), s.version("b"), s.version("c")})
		s.NoError(db.Add(s.ctx, "c", nil), "again")
		s.Equal(2, s.version("a"))
		s.Len(s.spread(db, 20), 20)
	}
}

// An interrupted Init is repeated, and until then nothing is there to be opened by mistake.
func TestInterruptedInit(t *testing.T) {
	t.Parallel()
	s := newDatabases(t, "a", "b")
	id := uuid.NewString()
	for _, name := range []string{"a", "b"} {
		_, err := s.pools[name].Exec(s.ctx, `select flowc.publish_map($1, null, '[]')`, id)
		s.NoError(err)
	}
	_, err := shards.Open(s.ctx, s.pools)
	s.ErrorIs(err, shards.ErrNoMap)
	_, err = s.pools["a"].Exec(s.ctx, `select flowc.publish_map($1, 1, '[[{"number": 1, "name": "a", "state": "active"}, {"number": 2, "name": "b", "state": "active"}]]')`, id)
	s.NoError(err)
	s.NoError(shards.Init(s.ctx, s.pools))
	s.Equal([]int{1, 1}, []int{s.version("a"), s.version("b")})
	s.Equal(2, one[int](s, "b", `select number from flowc.shard`))
	s.open()
}

// A draining shard gets no runs; those that it has go on. It is removed when it has none.
func TestDrainAndRemove(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b", "c")
	old := s.open()
	var olds []*shards.DB
	for range 6 {
		olds = append(olds, s.open())
	}
	at := s.spread(s.db, 40)
	s.NoError(s.db.Drain(s.ctx, "b"))
	s.NoError(s.db.Drain(s.ctx, "b"), "again")
	s.Equal(2, s.version("b"))
	had := s.count("b")
	for _, db := range olds {
		runs, err := greet.StartMany(s.ctx, db, make([]string, 10))
		s.NoError(err)
		for _, run := range runs {
			s.Equal(s.has(runs[0].ID()), s.has(run.ID()), "all or none are on one shard")
		}
	}
	for range 6 {
		_, err := greet.Start(s.ctx, old, "ada")
		s.NoError(err)
	}
	for key, where := range at {
		run := s.start(old, key)
		s.True(run.Existed(), "a key of a draining shard finds its run")
		s.Equal(where, s.has(run.ID()))
	}
	for key, where := range s.spread(old, 80) {
		if at[key] == "" {
			s.NotEqual("b", where)
			at[key] = where
		}
	}
	s.Equal(had, s.count("b"))
	_, err := greet.Start(s.ctx, s.open().On("b"), "ada")
	s.ErrorIs(err, shards.ErrDraining)
	s.ErrorContains(err, "flowc: shard b: it is draining and gets no new runs")
	tx := s.begin("b")
	_, err = greet.Start(s.ctx, old.In("b", tx), "ada")
	s.ErrorIs(err, shards.ErrDraining)

	s.ErrorIs(s.db.Remove(s.ctx, "b"), shards.ErrHasRuns)
	s.Equal(2, s.version("a"), "nothing was published")
	s.work(service())
	s.eventually(func() bool {
		return one[int](s, "b", `select count(*) from pgflow.runs where status <> 'completed'`) == 0
	}, "the runs of the draining shard end")
	_, err = s.pools["b"].Exec(s.ctx, `select flowc.delete_run(run_id, true) from pgflow.runs`)
	s.NoError(err)
	s.NoError(s.db.Remove(s.ctx, "b"))
	s.Len(s.db.Shards(), 2)
	s.NoError(s.db.Remove(s.ctx, "b"), "again")
	s.ErrorIs(s.db.Remove(s.ctx, "x"), shards.ErrUnknownShard)
	for key, where := range at {
		s.Equal(where != "b", s.start(old, key).Existed())
	}
	s.NoError(s.db.Drain(s.ctx, "c"))
	s.ErrorContains(s.db.Drain(s.ctx, "a"), "it is the only active shard")
	s.NoError(s.db.Add(s.ctx, "b", nil))
	s.Equal(2, one[int](s, "b", `select number from flowc.shard`), "it has its number again")
}

// A transaction that is open may start a run on a shard that is being removed.
func TestRemoveWaitsForTransactions(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b")
	s.NoError(s.db.Drain(s.ctx, "b"))
	tx := s.begin("b")
	_, err := greet.Start(s.ctx, tx, "ada")
	s.NoError(err)
	removed := make(chan error, 1)
	go func() { removed <- s.db.Remove(s.ctx, "b") }()
	s.eventually(func() bool {
		return one[int](s, "b", `select count(*) from pg_locks where not granted and relation = 'pgflow.runs'::regclass and database = (select oid from pg_database where datname = current_database())`) > 0
	}, "the removal waits")
	s.NoError(tx.Commit(s.ctx))
	s.ErrorIs(<-removed, shards.ErrHasRuns)
	s.NoError(s.db.Remove(s.ctx, "b", runtime.AllowDataLoss()))
	s.Len(s.open().Shards(), 1)
}

func TestRename(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b")
	at := s.spread(s.db, 20)
	other := s.open()
	s.NoError(s.db.Rename(s.ctx, "b", "beta"))
	s.NoError(s.db.Rename(s.ctx, "b", "beta"), "again")
	s.Equal("shards a, beta", s.db.String())
	for key := range at {
		s.True(s.start(s.db, key).Existed())
		s.True(s.start(other, key).Existed(), "of a process that has the pool under the old name")
	}
	s.Equal("shards a, beta", other.String())
	_, err := shards.Open(s.ctx, s.pools)
	s.ErrorContains(err, "flowc: shard b: the pool or transaction belongs to another database: shard beta")
	_, err = shards.Open(s.ctx, map[string]*pgxpool.Pool{"a": s.pools["a"], "beta": s.pools["b"]})
	s.NoError(err)
	s.ErrorContains(s.db.Rename(s.ctx, "a", "beta"), "there is another shard beta")
	s.ErrorIs(s.db.Rename(s.ctx, "x", "y"), shards.ErrUnknownShard)
	s.ErrorIs(s.db.Rename(s.ctx, "x", "a"), shards.ErrUnknownShard)
}

// Two processes that change the shards at once do it one after the other.
func TestChangesAtOnce(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b")
	s.pools["c"], s.pools["d"] = dbtest.Pool(t), dbtest.Pool(t)
	one, two := s.open(), s.open()
	s.NoError(s.db.AddPool("c", s.pools["c"]))
	s.NoError(s.db.AddPool("d", s.pools["d"]))
	done := make(chan error, 3)
	go func() { done <- one.Add(s.ctx, "c", nil) }()
	go func() { done <- two.Add(s.ctx, "d", nil) }()
	go func() { done <- s.db.Drain(s.ctx, "b") }()
	for range 3 {
		s.NoError(<-done)
	}
	for _, name := range []string{"a", "b", "c", "d"} {
		s.Equal(4, s.version(name))
	}
	s.Equal(s.maps("a"), s.maps("d"))
	s.Len(s.spread(s.db, 40), 40)
	s.Zero(s.count("b"))
}

// The database and this package agree on the owners of keys.
func TestRendezvous(t *testing.T) {
	t.Parallel()
	s := newDatabases(t, "a")
	counts := map[int]int{}
	moved := 0
	for i := range 300 {
		key := uuid.NewString()
		three := shards.Rendezvous(key, []int{1, 2, 3})
		counts[three]++
		if i < 50 {
			s.Equal(one[int](s, "a", `select flowc.rendezvous($1, '{1,2,3}')`, key), three)
		}
		if four := shards.Rendezvous(key, []int{1, 2, 3, 4}); four != three {
			s.Equal(4, four, "keys move to the new shard only")
			moved++
		}
	}
	s.InDelta(75, moved, 40)
	for number := 1; number <= 3; number++ {
		s.InDelta(100, counts[number], 45)
	}
	s.Zero(shards.Rendezvous("x", nil))
}

// While shards come and go, and processes learn of it late, no key has two runs.
func TestKeysWhileShardsChange(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b", "c")
	s.pools["d"] = dbtest.Pool(t)
	const keys = 400
	var starts sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		db := s.open()
		for range 2 {
			starts.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					key := fmt.Sprint("key ", rand.IntN(keys))
					if _, err := greet.Start(s.ctx, db, key, runtime.WithIdempotencyKey(key)); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	s.db = s.open()
	for range 2 {
		s.NoError(s.db.Add(s.ctx, "d", nil))
		s.NoError(s.db.Drain(s.ctx, "a"))
		s.NoError(s.db.Drain(s.ctx, "c"))
		s.NoError(s.db.Add(s.ctx, "a", nil))
		s.NoError(s.db.Drain(s.ctx, "d"))
		s.NoError(s.db.Add(s.ctx, "c", nil))
	}
	close(stop)
	starts.Wait()
	at := map[string]string{}
	for i := range keys {
		key := fmt.Sprint("key ", i)
		run := s.start(s.db, key)
		at[key] = s.has(run.ID())
		s.Len(at[key], 1, "the databases that have a run of %s: %s", key, at[key])
	}
	total := 0
	for name := range s.pools {
		total += s.count(name)
	}
	s.Equal(keys, total)
}
