package shards_test

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime"
	installed "github.com/flowc-dev/flowc/runtime/engine"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/shards"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// On a shard of the caller's choice, runs are like any others.
func TestOn(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b", "c")
	s.work(service())
	b := s.db.On("b")
	run, err := greet.Start(s.ctx, b, "ada")
	s.NoError(err)
	s.Equal("b", s.has(run.ID()))
	s.Equal(2, number(run.ID()))
	out, err := run.Wait(s.ctx)
	s.NoError(err)
	s.Equal("hello ada", out)
	out, err = run.Via(s.db).Wait(s.ctx)
	s.NoError(err)
	s.Equal("hello ada", out)
	all, err := ops.ListRuns(s.ctx, b, ops.RunFilter{})
	s.NoError(err)
	s.Len(all, 1)

	// A key is one of the shard, and the DB finds its run where it would not have started.
	id := moving([]int{1, 2, 3}, []int{1, 2, 3}, 1, 1)
	run, err = greet.Start(s.ctx, b, "ada", runtime.WithRunID(id))
	s.NoError(err)
	s.False(run.Existed())
	run, err = greet.Start(s.ctx, b, "ada", runtime.WithRunID(id))
	s.NoError(err)
	s.True(run.Existed())
	got, err := greet.Get(s.ctx, s.db, id)
	s.NoError(err)
	_, err = got.Wait(s.ctx)
	s.NoError(err)
	s.Error(runtime.CancelRun(s.ctx, s.db, id, ""), "it has ended")
	deleted, err := runtime.DeleteRun(s.ctx, s.db, id)
	s.NoError(err)
	s.True(deleted)
	deleted, err = runtime.DeleteRun(s.ctx, s.db, id)
	s.NoError(err)
	s.False(deleted)

	_, err = greet.Get(s.ctx, s.db.On("a"), all[0].ID)
	s.ErrorIs(err, runtime.ErrRunNotFound)
	_, err = greet.Start(s.ctx, s.db.On("x"), "ada")
	s.ErrorIs(err, shards.ErrUnknownShard)
	_, err = ops.ListRuns(s.ctx, s.db.On("x"), ops.RunFilter{})
	s.ErrorContains(err, "shard x: there is no such shard")
	_, err = runtime.GetRun(s.ctx, s.db.On("x"), id)
	s.ErrorIs(err, shards.ErrUnknownShard)
}

// In a transaction, runs start with what the caller stores, or not at all.
func TestIn(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b")
	s.work(service())
	dropped, kept := s.begin("b"), s.begin("b")
	none, err := greet.Start(s.ctx, s.db.In("b", dropped), "ada")
	s.NoError(err)
	s.NoError(dropped.Rollback(s.ctx))
	run, err := greet.Start(s.ctx, s.db.In("b", kept), "ada")
	s.NoError(err)
	s.Equal(2, number(run.ID()))
	_, err = run.Wait(s.ctx)
	s.ErrorIs(err, runtime.ErrWaitInTx)
	_, err = greet.Get(s.ctx, s.db, run.ID())
	s.ErrorIs(err, runtime.ErrRunNotFound)
	s.NoError(kept.Commit(s.ctx))
	out, err := run.Via(s.db).Wait(s.ctx)
	s.NoError(err)
	s.Equal("hello ada", out)
	_, err = greet.Get(s.ctx, s.db, none.ID())
	s.ErrorIs(err, runtime.ErrRunNotFound)

	// A transaction of a pool itself works as with one database.
	tx := s.begin("a")
	run, err = greet.Start(s.ctx, tx, "ada")
	s.NoError(err)
	s.NoError(tx.Commit(s.ctx))
	_, err = run.Via(s.db).Wait(s.ctx)
	s.NoError(err)
	tx = s.begin("a")
	_, err = greet.Start(s.ctx, s.db.In("x", tx), "ada")
	s.ErrorIs(err, shards.ErrUnknownShard)
}

// A transaction on another database than the shard's is refused, and can go on.
func TestInRefusesOtherDatabase(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b")
	s.pools["c"] = dbtest.Pool(t)
	others := newSystem(t, "d")
	s.pools["d"] = others.pools["d"]
	for name, is := range map[string]string{"b": "shard b", "c": "one that is not a shard", "d": "one of another set of shards"} {
		tx := s.begin(name)
		for _, options := range [][]runtime.StartOption{nil, {runtime.WithIdempotencyKey("ada")}} {
			_, err := greet.Start(s.ctx, s.db.In("a", tx), "ada", options...)
			s.ErrorIs(err, shards.ErrWrongPool)
			s.ErrorContains(err, "shard a: the pool or transaction belongs to another database: "+is)
		}
		_, err := runtime.RunSchedule(s.ctx, s.db.In("a", tx), "greet")
		s.ErrorIs(err, shards.ErrWrongPool)
		s.NoError(tx.Commit(s.ctx))
		s.Zero(s.count(name))
	}
	tx := s.begin("b")
	_, err := greet.Start(s.ctx, s.db.In("a", tx), "ada")
	s.ErrorIs(err, shards.ErrWrongPool)
	run, err := greet.Start(s.ctx, s.db.In("b", tx), "ada")
	s.NoError(err)
	s.NoError(tx.Commit(s.ctx))
	s.Equal("b", s.has(run.ID()))
}

// A key names one run on each shard that the caller chooses, and one of all of them
// otherwise. Each has an id of its own, by which it is found.
func TestKeyOnSeveralShards(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b")
	dbs := map[string]runtime.DB{"a": s.db.On("a"), "b": s.db.On("b"), "": s.db}
	ids := map[string]string{}
	for where, db := range dbs {
		run := s.start(db, "ada")
		s.False(run.Existed())
		ids[run.ID()] = where
		again := s.start(db, "ada")
		s.True(again.Existed())
		s.Equal(run.ID(), again.ID())
	}
	s.Len(ids, 3)
	tx := s.begin("b")
	run := s.start(s.db.In("b", tx), "ada")
	s.True(run.Existed())
	s.Equal("b", ids[run.ID()])
	s.NoError(tx.Rollback(s.ctx))
	many, err := greet.StartMany(s.ctx, s.db.On("b"), []string{"ada", "ben"}, runtime.WithKeys("ada", "ben"))
	s.NoError(err)
	s.Equal([]bool{true, false}, []bool{many[0].Existed(), many[1].Existed()})
	s.Equal("b", s.has(many[1].ID()))

	listed, err := ops.ListRuns(s.ctx, s.db, ops.RunFilter{})
	s.NoError(err)
	s.Len(listed, 4)
	for id, where := range ids {
		if where != "" {
			s.Equal(where, s.has(id))
		}
		shard, err := s.db.ShardOf(s.ctx, id)
		s.NoError(err)
		s.Equal(s.has(id), shard.Name)
		s.NoError(runtime.CancelRun(s.ctx, s.db, id, ""))
		deleted, err := runtime.DeleteRun(s.ctx, s.db, id)
		s.NoError(err)
		s.True(deleted)
		s.Empty(s.has(id))
	}
}

// A key that two databases used before they were shards has two runs with one id: the DB
// reaches one of them, and On both.
func TestKeyOfTwoDatabasesBeforeInit(t *testing.T) {
	t.Parallel()
	s := newDatabases(t, "a", "b")
	for _, pool := range s.pools {
		_, err := greet.Upsert(s.ctx, pool)
		s.NoError(err)
		s.start(pool, "ada")
	}
	s.NoError(shards.Init(s.ctx, s.pools))
	s.db = s.open()
	run := s.start(s.db, "ada")
	s.True(run.Existed())
	s.Equal("a b", s.has(run.ID()))
	for _, name := range []string{"a", "b"} {
		s.NoError(runtime.CancelRun(s.ctx, s.db.On(name), run.ID(), "by "+name))
		info, err := runtime.GetRun(s.ctx, s.pools[name], run.ID())
		s.NoError(err)
		s.Equal(runtime.RunCancelled, info.Status)
	}
}

// A flow is upserted, found and deleted on all shards, and a difference is told.
func TestFlows(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b")
	result, err := greet.Upsert(s.ctx, s.db)
	s.NoError(err)
	s.Equal(runtime.UpsertVerified, result.Status)
	exists, err := greet.Exists(s.ctx, s.db)
	s.NoError(err)
	s.True(exists)
	_, err = greet.Delete(s.ctx, s.pools["b"])
	s.NoError(err)
	_, err = greet.Exists(s.ctx, s.db)
	s.ErrorContains(err, "flow greet is on shards a but not on b")
	_, err = greet.Start(s.ctx, s.db, "ada", runtime.WithRunID(moving([]int{1, 2}, []int{1, 2}, 2, 2)))
	s.ErrorIs(err, runtime.ErrFlowNotFound)
	s.ErrorContains(err, "shard b: flow \"greet\" is not in the database")
	result, err = greet.Upsert(s.ctx, s.db)
	s.NoError(err)
	s.Equal(runtime.UpsertCompiled, result.Status)

	other := greet.Definition()
	other.Steps = append(other.Steps[:1:1], other.Steps[0])
	other.Steps[1].Slug = "more"
	result, err = runtime.UpsertFlow(s.ctx, s.db, other)
	s.ErrorAs(err, new(*runtime.MismatchError))
	s.ErrorContains(err, "on shard a: ")
	s.Equal(runtime.UpsertMismatch, result.Status)

	_, err = greet.Start(s.ctx, s.db, "ada", runtime.WithRunID(moving([]int{1, 2}, []int{1, 2}, 2, 2)))
	s.NoError(err)
	_, err = greet.Delete(s.ctx, s.db)
	var active *runtime.ActiveRunsError
	s.ErrorAs(err, &active)
	s.Equal(1, active.Active)
	s.Equal(1, one[int](s, "a", `select count(*) from pgflow.flows`), "it was not deleted anywhere")
	deleted, err := greet.Delete(s.ctx, s.db, runtime.AllowDataLoss())
	s.NoError(err)
	s.Equal(runtime.Deleted{Existed: true, Runs: 1, Steps: 1}, deleted)
	exists, err = greet.Exists(s.ctx, s.db)
	s.NoError(err)
	s.False(exists)
}

// StartMany with keys starts each on its shard; what failed is repeated with the same keys.
func TestStartManyWithKeys(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b")
	var keys, inputs []string
	for range 40 {
		keys = append(keys, uuid.NewString())
	}
	keys[39] = keys[0]
	inputs = keys
	_, err := greet.Delete(s.ctx, s.pools["b"])
	s.NoError(err)
	_, err = greet.StartMany(s.ctx, s.db, inputs, runtime.WithKeys(keys...))
	s.ErrorIs(err, runtime.ErrFlowNotFound)
	s.ErrorContains(err, "repeat it with the same keys")
	_, err = greet.Upsert(s.ctx, s.db)
	s.NoError(err)
	before := s.count("a")
	runs, err := greet.StartMany(s.ctx, s.db, inputs, runtime.WithKeys(keys...))
	s.NoError(err)
	s.Equal(39, s.count("a")+s.count("b"))
	s.Contains([]int{0, s.count("a")}, before, "all or none on a")
	ids := map[string]bool{}
	for i, run := range runs {
		ids[run.ID()] = true
		info, err := run.Info(s.ctx)
		s.NoError(err)
		s.JSONEq(`"`+inputs[i]+`"`, string(info.Input))
	}
	s.Len(ids, 39)

	_, err = runtime.StartMany(s.ctx, s.db, "greet", []any{1, 2, "a\x00"}, runtime.WithKeys("k1", "k2", "k3"))
	var input *runtime.InputError
	s.ErrorAs(err, &input)
}

// A program with the rights of a starter starts, finds and controls runs, and is told what
// it may not complete.
func TestRoles(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b")
	owners := s.pools
	s.pools = map[string]*pgxpool.Pool{}
	for name, pool := range owners {
		role := pool.Config().ConnConfig.Database + "_starter"
		t.Cleanup(func() {
			sql := `drop owned by ` + pgx.Identifier{role}.Sanitize() + `; drop role ` + pgx.Identifier{role}.Sanitize()
			if _, err := pool.Exec(context.Background(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
				t.Error(err)
			}
		})
		_, err := installed.GrantRoles(s.ctx, pool, installed.Roles{Starter: role})
		s.NoError(err)
		s.pools[name] = dbtest.With(t, pool, map[string]string{"role": role})
	}
	db := s.open()
	for range 10 {
		run, err := greet.Start(s.ctx, db, "ada", runtime.WithIdempotencyKey(uuid.NewString()))
		s.NoError(err)
		s.NoError(runtime.CancelRun(s.ctx, db, run.ID(), ""))
	}
	s.NoError(s.db.Drain(s.ctx, "b"))
	s.NoError(s.db.Add(s.ctx, "b", nil))
	run := s.start(db, "after changes")
	info, err := runtime.GetRun(s.ctx, db, run.ID())
	s.NoError(err)
	s.Equal("greet", info.Flow)
	s.ErrorContains(db.Drain(s.ctx, "b"), "shard a: changing the shards needs the role that owns the engine")

	// A change that stopped halfway: the owner's next program completes it.
	s.pools = owners
	maps := s.maps("a")
	s.publishAt("a", 1, append(maps, maps[0]))
	_, err = greet.Start(s.ctx, db, "ada", runtime.WithRunID(moving([]int{1, 2}, []int{1, 2}, 1, 1)))
	s.NoError(err)
	_, err = greet.Start(s.ctx, db, "ada", runtime.WithRunID(moving([]int{1, 2}, []int{1, 2}, 2, 2)))
	s.ErrorIs(err, shards.ErrUnfinished)
	s.ErrorContains(err, "a change of the shards was not completed: repeat it with the role that owns the engine")
	_, err = greet.Start(s.ctx, s.open(), "ada", runtime.WithRunID(moving([]int{1, 2}, []int{1, 2}, 2, 2)))
	s.NoError(err)
}

// Each shard would count the runs in progress for itself: a flow with a limit belongs to one.
func TestLimitOfRunsOn(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b")
	flow := spec.Flow{Slug: "imports", Concurrency: 2, Steps: []spec.Step{{Slug: "fetch"}}}
	_, err := runtime.UpsertFlow(s.ctx, s.db, flow)
	s.ErrorIs(err, runtime.ErrNeedsEngine)
	s.ErrorContains(err, "the concurrency of its runs")
	_, err = runtime.UpsertFlow(s.ctx, s.db.On("b"), flow)
	s.NoError(err)
}

// Runs are unique within a shard: a flow that says so belongs to one.
func TestUniqueOn(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b")
	flow := spec.Flow{Slug: "sync", Unique: &spec.Unique{By: []spec.Path{{spec.RunKey, "account"}}}, Steps: []spec.Step{{Slug: "fetch"}}}
	_, err := runtime.UpsertFlow(s.ctx, s.db, flow)
	s.ErrorIs(err, runtime.ErrNeedsEngine)
	s.ErrorContains(err, "upsert it through DB.On")
	_, err = runtime.UpsertFlow(s.ctx, s.db.On("b"), flow)
	s.NoError(err)
	first, err := runtime.StartFlow(s.ctx, s.db.On("b"), "sync", map[string]int{"account": 7})
	s.NoError(err)
	again, err := runtime.StartFlow(s.ctx, s.db.On("b"), "sync", map[string]int{"account": 7})
	s.NoError(err)
	s.True(again.Existed())
	s.Equal(first.ID(), again.ID())
	s.Equal("b", s.has(again.ID()))
	_, err = runtime.StartFlow(s.ctx, s.db.On("a"), "sync", nil)
	s.ErrorIs(err, runtime.ErrFlowNotFound)
}
