package shards_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/shards"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// patience is how long a test waits for what must happen, on the slowest machine.
const patience = time.Minute

// greet is a flow of one step.
var greet = runtime.NewFlow[string](spec.Flow{
	Slug: "greet", Result: &spec.Result{From: "hello"}, Steps: []spec.Step{{Slug: "hello"}},
}, handler.Output[string]("hello"))

func service() handler.Service {
	return greet.Serve([]handler.Handler{
		handler.Handle("hello", handler.Input[string](), func(_ context.Context, in string) (string, error) {
			return "hello " + in, nil
		}),
	})
}

// A system is some databases of one test, and what is wrong with it ends the test.
type system struct {
	*testing.T
	*require.Assertions
	ctx   context.Context
	pools map[string]*pgxpool.Pool
	db    *shards.DB
}

// newSystem makes databases shards, with the flow greet.
func newSystem(t *testing.T, names ...string) *system {
	t.Helper()
	s := newDatabases(t, names...)
	s.NoError(shards.Init(s.ctx, s.pools))
	s.db = s.open()
	_, err := greet.Upsert(s.ctx, s.db)
	s.NoError(err)
	return s
}

// newDatabases makes databases.
func newDatabases(t *testing.T, names ...string) *system {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	t.Cleanup(cancel)
	s := &system{T: t, Assertions: require.New(t), ctx: ctx, pools: map[string]*pgxpool.Pool{}}
	for _, name := range names {
		s.pools[name] = dbtest.Pool(t)
	}
	return s
}

// open opens the shards as another process would.
func (s *system) open() *shards.DB {
	s.T.Helper()
	db, err := shards.Open(s.ctx, s.pools)
	s.NoError(err)
	return db
}

// work runs a worker until the test ends.
func (s *system) work(services ...handler.Service) *shards.Worker {
	s.T.Helper()
	w, err := shards.NewWorker(s.db, quiet, services...)
	s.NoError(err)
	stop := w.Start(s.ctx)
	s.Cleanup(func() {
		if err := stop(); err != nil {
			s.Error(err)
		}
	})
	return w
}

// start starts a run with a key.
func (s *system) start(db runtime.DB, key string) *runtime.Run[string] {
	s.T.Helper()
	run, err := greet.Start(s.ctx, db, key, runtime.WithIdempotencyKey(key))
	s.NoError(err)
	return run
}

// has returns the names of the databases that have a run.
func (s *system) has(id string) string {
	s.T.Helper()
	var names []string
	for _, name := range []string{"a", "b", "c", "d"} {
		if s.pools[name] == nil {
			continue
		}
		if _, err := runtime.GetRun(s.ctx, s.pools[name], id); err == nil {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}

// spread starts runs with keys, and returns the database of each.
func (s *system) spread(db runtime.DB, n int) map[string]string {
	s.T.Helper()
	at := map[string]string{}
	for i := range n {
		key := fmt.Sprint("key ", i)
		at[key] = s.has(s.start(db, key).ID())
	}
	return at
}

// count returns how many runs a database has.
func (s *system) count(name string) int { return one[int](s, name, `select count(*) from pgflow.runs`) }

// one returns the one value of a query.
func one[T any](s *system, name, sql string, args ...any) T {
	s.T.Helper()
	rows, err := s.pools[name].Query(s.ctx, sql, args...)
	s.NoError(err)
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	s.NoError(err)
	return v
}

// number returns the number that an id names.
func number(id string) int {
	u := uuid.MustParse(id)
	return int(u[14])<<8 | int(u[15])
}

// eventually waits until something is so.
func (s *system) eventually(is func() bool, what string) {
	s.T.Helper()
	for began := time.Now(); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > patience {
			s.FailNow("it did not happen", what)
		}
	}
}
