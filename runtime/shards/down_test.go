package shards_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/devdb"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/internal/faultnet"
	"github.com/flowc-dev/flowc/runtime/shards"
)

// through makes a database that is reached through a proxy.
func (s *system) through(name string) *faultnet.Proxy {
	s.T.Helper()
	config := dbtest.Pool(s.T).Config().ConnConfig
	proxy, err := faultnet.NewProxy(config.ConnString())
	s.NoError(err)
	s.Cleanup(proxy.Close)
	s.pools[name] = dbtest.Connect(s.T, proxy.URL(config.User, config.Database))
	return proxy
}

// on starts a run that belongs to a shard.
func (s *system) on(number int) (*runtime.Run[string], error) {
	s.T.Helper()
	return greet.Start(s.ctx, s.db, "ada", runtime.WithRunID(moving([]int{1, 2, 3}, []int{1, 2, 3}, number, number)))
}

// A shard that is down fails its own, and says its name.
func TestShardDown(t *testing.T) {
	t.Parallel()
	s := newDatabases(t, "a", "c")
	b := s.through("b")
	s.NoError(shards.Init(s.ctx, s.pools))
	s.db = s.open()
	_, err := greet.Upsert(s.ctx, s.db)
	s.NoError(err)
	lost, err := s.on(2)
	s.NoError(err)
	kept, err := s.on(1)
	s.NoError(err)

	b.Refuse()
	isDown := func(err error) {
		t.Helper()
		var down *shards.Error
		s.ErrorAs(err, &down)
		s.Equal("b", down.Shard)
		s.ErrorContains(err, "shard b: ")
	}
	_, err = s.on(2)
	isDown(err)
	_, err = runtime.GetRun(s.ctx, s.db, lost.ID())
	isDown(err)
	isDown(runtime.CancelRun(s.ctx, s.db, lost.ID(), ""))
	_, err = greet.Upsert(s.ctx, s.db)
	isDown(err)
	isDown(s.db.Drain(s.ctx, "c"))
	id := uuid.NewString()
	_, err = runtime.GetRun(s.ctx, s.db, id)
	isDown(err)
	s.ErrorContains(err, "flowc: run "+id+" is not on the shards that answer, and not all do: shard b: ")
	s.Equal(1, strings.Count(err.Error(), "flowc: "))
	s.Equal(1, strings.Count(err.Error(), "shard b"))

	s.NoError(runtime.CancelRun(s.ctx, s.db, kept.ID(), ""))
	_, err = s.on(3)
	s.NoError(err)
	for range 9 { // b is known to be down
		run, err := greet.Start(s.ctx, s.db, "ada")
		s.NoError(err)
		s.NotEqual(2, number(run.ID()))
	}

	// A process that starts now opens the others.
	late, err := shards.Open(s.ctx, s.pools)
	s.NoError(err)
	for range 9 {
		run, err := greet.Start(s.ctx, late, "ada")
		s.NoError(err)
		s.NotEqual(2, number(run.ID()))
	}

	s.NoError(b.Accept())
	s.eventually(func() bool {
		run, err := greet.Start(s.ctx, s.db, "ada")
		return err == nil && number(run.ID()) == 2
	}, "the shard gets runs again")
	info, err := runtime.GetRun(s.ctx, s.db, lost.ID())
	s.NoError(err)
	s.Equal("greet", info.Flow)
	_, err = runtime.GetRun(s.ctx, late, lost.ID())
	s.NoError(err)
}

// A database that comes late has to be the shard that its name says, too.
func TestWrongPoolComesLate(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "a", "b")
	right := s.pools["b"]
	proxy := s.through("b")
	proxy.Refuse()
	db := s.open()
	s.NoError(proxy.Accept())
	_, err := greet.Start(s.ctx, db, "ada", runtime.WithRunID(moving([]int{1, 2}, []int{1, 2}, 2, 2)))
	s.ErrorIs(err, shards.ErrWrongPool)
	s.ErrorContains(err, "flowc: shard b: ")
	s.pools["b"] = right
	s.open()
}

// A shard that will not come back can be given up.
func TestRemoveLostShard(t *testing.T) {
	t.Parallel()
	s := newDatabases(t, "b", "c")
	a := s.through("a") // the first, which changes of the map begin with
	s.NoError(shards.Init(s.ctx, s.pools))
	s.db = s.open()
	_, err := greet.Upsert(s.ctx, s.db)
	s.NoError(err)
	at := s.spread(s.db, 30)
	a.Refuse()
	s.Error(s.db.Remove(s.ctx, "a"))
	s.NoError(s.db.Remove(s.ctx, "a", runtime.AllowDataLoss()))
	for key, where := range at {
		s.Equal(where != "a", s.start(s.db, key).Existed())
	}
	// Changes go on without it, also in programs that do not know it any more.
	s.pools["d"] = dbtest.Pool(t)
	s.NoError(s.db.Add(s.ctx, "d", s.pools["d"]))
	delete(s.pools, "a")
	s.db = s.open()
	s.NoError(s.db.Drain(s.ctx, "b"))
	for key := range at {
		s.True(s.start(s.db, key).Existed())
	}
	s.work(service())
	s.NoError(s.db.Drain(s.ctx, "c"))
	_, err = s.start(s.db, "another").Wait(s.ctx)
	s.NoError(err)
}

// A server that is killed and started again loses nothing: keys start each run once,
// however often starts are repeated, and all of them end.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	s := newDatabases(t, "a", "b")
	server, url := dbtest.Server(t, nil)
	s.pools["c"] = dbtest.Connect(t, url)
	s.NoError(shards.Init(s.ctx, s.pools))
	s.db = s.open()
	_, err := greet.Upsert(s.ctx, s.db)
	s.NoError(err)
	s.work(service())

	const n = 300
	var mu sync.Mutex
	var runs []*runtime.Run[string]
	var starts sync.WaitGroup
	keys, failed := make(chan int), make(chan struct{}, 1000)
	for range 8 {
		starts.Go(func() {
			for i := range keys {
				for s.ctx.Err() == nil {
					run, err := greet.Start(s.ctx, s.db, "ada", runtime.WithIdempotencyKey(fmt.Sprint(i)))
					if err == nil {
						mu.Lock()
						runs = append(runs, run)
						mu.Unlock()
						break
					}
					var of *shards.Error
					if !errors.As(err, &of) || of.Shard != "c" {
						t.Errorf("start %d: %v", i, err)
						return
					}
					failed <- struct{}{}
				}
			}
		})
	}
	for i := range n {
		if i == 50 {
			s.NoError(server.Stop(devdb.Killed))
			starts.Go(func() {
				<-failed
				if err := server.Resume(s.ctx); err != nil {
					t.Error(err)
				}
			})
		}
		keys <- i
	}
	close(keys)
	starts.Wait()
	s.Len(runs, n)
	for _, run := range runs {
		out, err := run.Wait(s.ctx)
		s.NoError(err)
		s.Equal("hello ada", out)
	}
	s.Equal(n, s.count("a")+s.count("b")+s.count("c"))
	s.Greater(s.count("c"), 60)
}

// Wait goes on while the shard of the run is down.
func TestWaitOutlastsOutage(t *testing.T) {
	t.Parallel()
	s := newDatabases(t, "a")
	b := s.through("b")
	s.NoError(shards.Init(s.ctx, s.pools))
	s.db = s.open()
	_, err := greet.Upsert(s.ctx, s.db)
	s.NoError(err)
	run, err := greet.Start(s.ctx, s.db, "ada", runtime.WithRunID(moving([]int{1, 2}, []int{1, 2}, 2, 2)))
	s.NoError(err)
	b.Refuse()
	out := make(chan error, 1)
	go func() {
		_, err := run.Wait(s.ctx)
		out <- err
	}()
	time.Sleep(3 * time.Second) // longer than a call is repeated
	s.NoError(b.Accept())
	s.work(service())
	s.NoError(<-out)
}
