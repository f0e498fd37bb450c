// Package dbtest gives every test a PostgreSQL database of its own, with the
// engine installed, in a few hundredths of a second.
//
// The databases are clones of a template, on a throw-away server that the
// package's test process starts when it is first needed, or, if the environment
// has DATABASE_URL, on the server that it names, whose role must be allowed to
// create databases. A package that uses dbtest hands its TestMain over:
//
//	func TestMain(m *testing.M) { dbtest.Main(m) }
package dbtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/flowc-dev/flowc/runtime/devdb"
)

// timeout bounds what this package itself asks of a database.
const timeout = time.Minute

// current is the server of this process, once a test has asked for it.
var current struct {
	once   sync.Once
	server *server
	err    error
}

func theServer() (*server, error) {
	current.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		current.server, current.err = newServer(ctx, os.Getenv("DATABASE_URL"))
	})
	return current.server, current.err
}

func shared(t testing.TB) *server {
	t.Helper()
	s, err := theServer()
	require.NoError(t, err)
	return s
}

// Main runs the tests of a package, stops the server and then looks for
// goroutines that have been left running. It does not return.
func Main(m *testing.M) {
	code := m.Run()
	for _, fn := range slices.Backward(atEnd) {
		fn()
	}
	if current.server != nil {
		if err := current.server.close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// atEnd is what is to be done when the tests have run.
var atEnd []func()

// AtEnd calls a function when the tests of the package have run, the last one
// first. It is for examples, which have no end of their own.
func AtEnd(fn func()) { atEnd = append(atEnd, fn) }

// ForExamples returns a new database with the engine, for examples. It exists until the
// tests of the package have run.
func ForExamples() *pgxpool.Pool {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	pool, err := forExamples(ctx)
	if err != nil {
		panic(err)
	}
	AtEnd(pool.Close)
	return pool
}

func forExamples(ctx context.Context) (*pgxpool.Pool, error) {
	s, err := theServer()
	if err != nil {
		return nil, err
	}
	name, url, err := s.newDatabase(ctx, s.template)
	if err != nil {
		return nil, err
	}
	AtEnd(func() { s.release(name) })
	return pgxpool.New(ctx, url)
}

// Pool connects to a new database with the engine. The pool is closed when the
// test ends; a connection that has not been given back by then fails the test.
func Pool(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return Connect(t, URL(t))
}

// With returns a pool that connects as another does, with parameters of the session.
func With(t testing.TB, pool *pgxpool.Pool, parameters map[string]string) *pgxpool.Pool {
	t.Helper()
	config := pool.Config()
	for name, value := range parameters {
		config.ConnConfig.RuntimeParams[name] = value
	}
	with, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(with.Close)
	return with
}

// Connect returns a pool for a URL, closed like that of [Pool].
func Connect(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() {
		closed := make(chan struct{})
		go func() {
			pool.Close()
			close(closed)
		}()
		select {
		case <-closed:
		case <-time.After(5 * time.Second):
			t.Errorf("%d connections of the pool are still in use at the end of the test", pool.Stat().AcquiredConns())
		}
	})
	return pool
}

// URL returns the address of a new database with the engine. The database is dropped some
// time after the test ends.
func URL(t testing.TB) string {
	t.Helper()
	s := shared(t)
	return s.database(t, s.template)
}

// Empty returns the address of a new database without the engine.
func Empty(t testing.TB) string {
	t.Helper()
	return shared(t).database(t, "template1")
}

// Server starts a server for one test, which may stop and restart it, and gives
// it with the address of a database with the engine. The test is skipped where
// only DATABASE_URL gives a PostgreSQL.
func Server(t testing.TB, settings map[string]string) (*devdb.DB, string) {
	t.Helper()
	db, err := devdb.Start(t.Context(), devdb.Config{Settings: settings, Seed: seed})
	if errors.Is(err, devdb.ErrNoBinaries) && os.Getenv("DATABASE_URL") != "" {
		t.Skip("needs the programs of PostgreSQL on this machine")
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	s, err := connectTo(t.Context(), db.URL())
	require.NoError(t, err)
	defer s.admin.Close()
	const name = "flowc"
	require.NoError(t, s.create(t.Context(), name, seededTemplate))
	url, err := withDatabase(db.URL(), name)
	require.NoError(t, err)
	return db, url
}
