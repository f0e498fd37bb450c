package dbtest

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/devdb"
	"github.com/flowc-dev/flowc/runtime/engine"
)

func TestMain(m *testing.M) { Main(m) }

func query[T any](t *testing.T, pool *pgxpool.Pool, sql string, args ...any) T {
	t.Helper()
	var v T
	require.NoError(t, pool.QueryRow(t.Context(), sql, args...).Scan(&v))
	return v
}

func TestPoolHasTheEngine(t *testing.T) {
	t.Parallel()
	conn, err := pgx.Connect(t.Context(), URL(t))
	require.NoError(t, err)
	defer conn.Close(context.Background())
	status, err := engine.GetStatus(t.Context(), conn)
	require.NoError(t, err)
	require.True(t, status.Current())
}

func TestDatabasesAreIndependent(t *testing.T) {
	t.Parallel()
	a, b := Pool(t), Pool(t)
	_, err := a.Exec(t.Context(), `create table only_in_a ()`)
	require.NoError(t, err)
	require.False(t, query[bool](t, b, `select to_regclass('only_in_a') is not null`))
	require.NotEqual(t, query[string](t, a, `select current_database()::text`), query[string](t, b, `select current_database()::text`))
}

func TestEmptyHasNothing(t *testing.T) {
	t.Parallel()
	pool := Connect(t, Empty(t))
	require.Zero(t, query[int](t, pool, `
		select count(*) from pg_namespace where nspname in ('flowc', 'pgflow', 'pgmq')`))
}

func TestManyInParallel(t *testing.T) {
	t.Parallel()
	for range 3 * keep { // more than are kept
		t.Run("", func(t *testing.T) {
			t.Parallel()
			pool := Pool(t)
			require.True(t, query[bool](t, pool, `select to_regnamespace('pgflow') is not null`))
		})
	}
}

func TestFinishedDatabasesAreDropped(t *testing.T) {
	t.Parallel()
	db, err := devdb.Start(t.Context(), devdb.Config{})
	require.NoError(t, err)
	s, err := connectTo(t.Context(), db.URL())
	require.NoError(t, err)
	s.own = db
	for range keep {
		t.Run("", func(t *testing.T) { s.database(t, "template1") })
	}
	s.drops.Wait()
	require.Zero(t, query[int](t, s.admin, `select count(*) from pg_database where starts_with(datname, $1)`, testPrefix))
	require.NoError(t, s.close())
	require.NoDirExists(t, db.Dir())
}

func TestServerRestarts(t *testing.T) {
	t.Parallel()
	db, url := Server(t, map[string]string{"max_connections": "17"})
	pool := Connect(t, url)
	require.Equal(t, "17", query[string](t, pool, `select current_setting('max_connections')`))
	require.True(t, query[bool](t, pool, `select to_regnamespace('pgflow') is not null`))
	pool.Reset()
	require.NoError(t, db.Restart(t.Context(), devdb.Fast))
	require.True(t, query[bool](t, pool, `select to_regnamespace('pgflow') is not null`))
}

// TestForeignServer plays DATABASE_URL with a server of its own, on which
// several processes' tests are at work.
func TestForeignServer(t *testing.T) {
	t.Parallel()
	db, err := devdb.Start(t.Context(), devdb.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	admin, err := pgxpool.New(t.Context(), db.URL())
	require.NoError(t, err)
	defer admin.Close()
	databases := func(prefix string) int {
		return query[int](t, admin, `select count(*) from pg_database where starts_with(datname, $1)`, prefix)
	}

	// A template that was not finished, and a database that was left behind.
	template := templatePrefix + engine.Checksum()[:16]
	for _, name := range []string{template, testPrefix + "gone_1"} {
		_, err := admin.Exec(t.Context(), `create database `+quote(name))
		require.NoError(t, err)
	}

	const processes = 3
	servers := make(chan *server, processes)
	for range processes {
		go func() {
			s, err := newServer(t.Context(), db.URL())
			if err != nil {
				t.Error(err)
			}
			servers <- s
		}()
	}
	var all []*server
	for range processes {
		s := <-servers
		require.NotNil(t, s)
		all = append(all, s)
	}
	require.Equal(t, 1, databases(templatePrefix))
	require.Zero(t, databases(testPrefix))

	t.Run("tests", func(t *testing.T) {
		for _, s := range all {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				pool := Connect(t, s.database(t, s.template))
				require.True(t, query[bool](t, pool, `select to_regnamespace('pgflow') is not null`))
			})
		}
		t.Run("a process comes late", func(t *testing.T) {
			url := all[0].database(t, all[0].template)
			late, err := newServer(t.Context(), db.URL())
			require.NoError(t, err)
			require.True(t, query[bool](t, Connect(t, url), `select true`), "what is in use stays")
			require.NoError(t, late.close())
		})
	})
	for _, s := range all {
		require.NoError(t, s.close())
	}
	require.Zero(t, databases(testPrefix), "nothing of the tests stays")
	require.Equal(t, 1, databases(templatePrefix), "the template does, for the next process")
}

func TestForeignServerThatMayNot(t *testing.T) {
	t.Parallel()
	db, err := devdb.Start(t.Context(), devdb.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	admin, err := pgx.Connect(t.Context(), db.URL())
	require.NoError(t, err)
	defer admin.Close(context.Background())
	_, err = admin.Exec(t.Context(), `create role guest login`)
	require.NoError(t, err)
	_, err = newServer(t.Context(), strings.Replace(db.URL(), "postgres@", "guest:secret@", 1))
	require.ErrorContains(t, err, "the server of DATABASE_URL")
	require.ErrorContains(t, err, "permission denied to create database")
	require.NotContains(t, err.Error(), "secret")
}

func TestWithDatabase(t *testing.T) {
	t.Parallel()
	for _, connString := range []string{
		"postgres://u:p@localhost:5433/other?sslmode=disable&application_name=x",
		"postgresql://u:p@localhost:5433?application_name=x&sslmode=disable",
		"host=localhost port=5433 user=u password=p dbname=other application_name=x sslmode=disable",
	} {
		got, err := withDatabase(connString, "mine")
		require.NoError(t, err)
		config, err := pgx.ParseConfig(got)
		require.NoError(t, err)
		require.Equal(t, "mine", config.Database)
		require.Equal(t, "localhost", config.Host)
		require.EqualValues(t, 5433, config.Port)
		require.Equal(t, "p", config.Password)
		require.Equal(t, "x", config.RuntimeParams["application_name"])
	}
	_, err := withDatabase("postgres://u:secret@local host/x", "mine")
	require.Error(t, err)
	require.NotContains(t, err.Error(), "secret")
}

// TestLeaksAreFound runs this test binary on one of the tests below, which leave
// something behind.
func TestLeaksAreFound(t *testing.T) {
	t.Parallel()
	for test, want := range map[string]string{
		"TestLeakGoroutine":  "found unexpected goroutines",
		"TestLeakConnection": "1 connections of the pool are still in use",
	} {
		t.Run(test, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+test+"$")
			cmd.Env = append(os.Environ(), leakEnv+"=1")
			out, err := cmd.CombinedOutput()
			require.Error(t, err, "%s", out)
			require.Contains(t, string(out), want)
		})
	}
}

const leakEnv = "FLOWC_DBTEST_LEAK"

func TestLeakGoroutine(t *testing.T) {
	if os.Getenv(leakEnv) == "" {
		t.Skip("part of TestLeaksAreFound")
	}
	go func() { <-time.After(time.Hour) }()
}

func TestLeakConnection(t *testing.T) {
	if os.Getenv(leakEnv) == "" {
		t.Skip("part of TestLeaksAreFound")
	}
	_, err := Pool(t).Acquire(t.Context())
	require.NoError(t, err)
}

func BenchmarkURL(b *testing.B) {
	s := shared(b)
	for b.Loop() {
		s.database(b, s.template)
	}
}
