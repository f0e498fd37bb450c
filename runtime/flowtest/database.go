package flowtest

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/devdb"
	"github.com/flowc-dev/flowc/runtime/engine"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/worker"
)

const (
	// setUp bounds creating a database, and dropping it.
	setUp = time.Minute
	// drain is how long handlers may run on when the test ends.
	drain = 5 * time.Second
)

// Database returns a new database for the test with the engine, the flows of some services,
// and a worker that runs their tasks. All of it is removed when the test ends; the worker
// logs to the test.
//
// The database is on a server that is started for it, see package devdb, or, where
// DATABASE_URL is set, on the one that it names, whose role has to be allowed to
// create databases. Without services there is no worker. A service with the option
// [handler.NoDelays] has no delays between attempts and before steps.
func Database(t testing.TB, services ...handler.Service) *pgxpool.Pool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), setUp)
	defer cancel()
	pool := connect(ctx, t)
	for _, s := range services {
		def := s.Definition()
		if _, err := runtime.UpsertFlow(ctx, pool, def); err != nil {
			t.Fatal(err)
		}
	}
	if len(services) > 0 {
		work(t, pool, services)
	}
	return pool
}

// work runs a worker until the test ends.
func work(t testing.TB, pool *pgxpool.Pool, services []handler.Service) {
	t.Helper()
	w, err := worker.New(pool, worker.Config{
		Name: t.Name(), Grace: drain, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}, services...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// connect returns a pool for a new database with the engine.
func connect(ctx context.Context, t testing.TB) *pgxpool.Pool {
	t.Helper()
	address := os.Getenv("DATABASE_URL")
	if address == "" {
		db, err := devdb.Start(ctx, devdb.Config{Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
		address = db.URL()
	} else {
		address = create(ctx, t, address)
	}
	config, err := pgxpool.ParseConfig(address)
	if err != nil {
		t.Fatal("flowtest: DATABASE_URL cannot be read") // pgx's message may contain a password
	}
	// Handlers with a transaction have a connection each, and the test has some.
	config.MaxConns = max(config.MaxConns, worker.DefaultConcurrency+4)
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if err := engine.Migrate(ctx, pool); err != nil {
		t.Fatal(err)
	}
	return pool
}

// seed is the engine, in the image that servers are started from.
var seed = &devdb.Seed{
	Key: "flowtest " + engine.Checksum(),
	Fill: func(ctx context.Context, address string) error {
		conn, err := pgx.Connect(ctx, address)
		if err != nil {
			return err
		}
		defer conn.Close(ctx)
		return engine.Migrate(ctx, conn)
	},
}

// create creates a database on a server, drops it when the test ends, and returns its
// address.
func create(ctx context.Context, t testing.TB, server string) string {
	t.Helper()
	name := "flowtest_" + strings.ToLower(rand.Text())
	execute := func(ctx context.Context, sql string) error {
		conn, err := pgx.Connect(ctx, server)
		if err != nil {
			return err
		}
		defer conn.Close(ctx)
		_, err = conn.Exec(ctx, sql)
		return err
	}
	if err := execute(ctx, `CREATE DATABASE `+pgx.Identifier{name}.Sanitize()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), setUp)
		defer cancel()
		if err := execute(ctx, `DROP DATABASE `+pgx.Identifier{name}.Sanitize()+` WITH (FORCE)`); err != nil {
			t.Error(err)
		}
	})
	if !strings.Contains(server, "://") {
		return server + " dbname=" + name // the last one counts
	}
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal("flowc: flowtest: DATABASE_URL cannot be parsed") // it may hold a password
	}
	u.Path = "/" + name
	return u.String()
}
