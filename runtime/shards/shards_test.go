package shards_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/shards"
)

// Runs without keys are spread evenly, and their ids say where they are.
func TestPlacement(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b", "c")
	s.work(service())
	for range 30 {
		run, err := greet.Start(s.ctx, s.db, "ada")
		s.NoError(err)
		s.Equal([]string{"", "a", "b", "c"}[number(run.ID())], s.has(run.ID()))
		out, err := run.Wait(s.ctx, runtime.WithPollInterval(time.Hour)) // its shard notifies
		s.NoError(err)
		s.Equal("hello ada", out)
		on, err := s.db.ShardOf(s.ctx, run.ID())
		s.NoError(err)
		s.Equal(s.has(run.ID()), on.Name)
	}
	s.Equal([]int{10, 10, 10}, []int{s.count("a"), s.count("b"), s.count("c")})
	runs, err := greet.StartMany(s.ctx, s.db, make([]string, 50))
	s.NoError(err)
	for _, run := range runs {
		s.Equal(s.has(runs[0].ID()), s.has(run.ID()), "all or none are on one shard")
	}
}

// Keys belong to shards, for all processes the same.
func TestKeys(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b", "c")
	at := s.spread(s.db, 60)
	for _, name := range []string{"a", "b", "c"} {
		s.Greater(s.count(name), 8, "of 60 on three")
	}
	other := s.open()
	for key, where := range at {
		run := s.start(other, key)
		s.True(run.Existed())
		s.Equal(where, s.has(run.ID()))
		got, err := greet.Get(s.ctx, other, run.ID())
		s.NoError(err)
		s.Equal(run.ID(), got.ID())
	}
	s.Equal(60, s.count("a")+s.count("b")+s.count("c"))
}

// A key that was used before a shard was added finds its run after that: from before there
// were shards to a third one.
func TestKeysBeforeAdd(t *testing.T) {
	t.Parallel()
	s := newDatabases(t, "a", "b", "c")
	all := s.pools
	_, err := greet.Upsert(s.ctx, all["a"])
	s.NoError(err)
	at := s.spread(all["a"], 40)
	again := func(db runtime.DB) {
		t.Helper()
		for key, where := range at {
			run := s.start(db, key)
			s.True(run.Existed(), key)
			s.Equal(where, s.has(run.ID()))
			info, err := runtime.GetRun(s.ctx, db, run.ID())
			s.NoError(err)
			s.Equal("greet", info.Flow)
		}
	}
	s.NoError(shards.Init(s.ctx, map[string]*pgxpool.Pool{"a": all["a"]}))
	s.db = s.open()
	again(s.db)
	s.NoError(s.db.Add(s.ctx, "b", nil))
	again(s.db)
	for key, where := range s.spread(s.db, 80) {
		at[key] = where
	}
	s.Greater(s.count("b"), 8)
	s.NoError(s.db.Add(s.ctx, "c", nil))
	again(s.db)
	for key, where := range s.spread(s.db, 120) {
		at[key] = where
	}
	s.Greater(s.count("c"), 4)
	again(s.open())
	s.Equal(120, s.count("a")+s.count("b")+s.count("c"), "no key has two runs")
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	s := newDatabases(t, "a", "b")
	_, err := shards.Open(s.ctx, s.pools)
	s.ErrorIs(err, shards.ErrNoMap)
	s.NoError(shards.Init(s.ctx, s.pools))
	s.NoError(shards.Init(s.ctx, s.pools), "it is done")
	_, err = shards.Open(s.ctx, map[string]*pgxpool.Pool{"a": s.pools["b"], "b": s.pools["a"]})
	s.ErrorIs(err, shards.ErrWrongPool)
	s.ErrorContains(err, "flowc: shard a: the pool or transaction belongs to another database: shard b")
	_, err = shards.Open(s.ctx, map[string]*pgxpool.Pool{"a": s.pools["a"], "b": dbtest.Pool(t)})
	s.ErrorIs(err, shards.ErrWrongPool)
	s.ErrorContains(err, "shard b")
	_, err = shards.Open(s.ctx, map[string]*pgxpool.Pool{"a": s.pools["a"], "x": s.pools["b"]})
	s.ErrorContains(err, "shard x: the pool or transaction belongs to another database: shard b")
	others := newSystem(t, "a", "b")
	_, err = shards.Open(s.ctx, map[string]*pgxpool.Pool{"a": s.pools["a"], "b": others.pools["b"]})
	s.ErrorIs(err, shards.ErrWrongPool)
	s.ErrorContains(err, "the databases are of 2 sets of shards: a; b")
	_, err = shards.Open(s.ctx, map[string]*pgxpool.Pool{"a": others.pools["a"], "b": s.pools["b"], "c": others.pools["b"]})
	s.ErrorContains(err, "the databases are of 2 sets of shards: a, c; b")
	s.ErrorContains(shards.Init(s.ctx, map[string]*pgxpool.Pool{"a": s.pools["a"], "b": others.pools["b"]}), "the databases are of 2 sets of shards: a; b")
	_, err = shards.Open(s.ctx, map[string]*pgxpool.Pool{"a": dbtest.Connect(t, dbtest.Empty(t))})
	s.ErrorIs(err, runtime.ErrEngineMissing)
	_, err = shards.Open(s.ctx, nil)
	s.Error(err)
	require.ErrorContains(t, shards.Init(s.ctx, map[string]*pgxpool.Pool{"a": s.pools["a"], "b": s.pools["b"], "c": dbtest.Pool(t)}), "add it with Add")
}

// One database under two names is refused, by whatever addresses, and not waited for.
func TestInitRefusesOneDatabaseTwice(t *testing.T) {
	t.Parallel()
	s := newDatabases(t, "a", "b")
	again := dbtest.With(t, s.pools["a"], nil)
	for _, c := range []*pgxpool.Pool{again, s.pools["a"]} {
		err := shards.Init(s.ctx, map[string]*pgxpool.Pool{"a": s.pools["a"], "b": s.pools["b"], "c": c})
		s.ErrorIs(err, shards.ErrWrongPool)
		s.ErrorContains(err, "a and c are the same database")
	}
	_, err := shards.Open(s.ctx, map[string]*pgxpool.Pool{"a": s.pools["a"]})
	s.ErrorIs(err, shards.ErrNoMap, "nothing was changed")
	s.NoError(shards.Init(s.ctx, s.pools))
	err = shards.Init(s.ctx, map[string]*pgxpool.Pool{"a": s.pools["a"], "x": again})
	s.ErrorContains(err, "a and x are the same database")
}

// The shards are listed by number, whatever became of them.
func TestShardsByNumber(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b", "c")
	s.NoError(s.db.Remove(s.ctx, "a"))
	s.NoError(s.db.Add(s.ctx, "a", nil))
	var names []string
	for _, shard := range s.db.Shards() {
		names = append(names, shard.Name)
	}
	s.Equal([]string{"a", "b", "c"}, names)
	infos, err := ops.ListShards(s.ctx, s.db, time.Now())
	s.NoError(err)
	for i, info := range infos {
		s.Equal(names[i], info.Name)
	}
}
