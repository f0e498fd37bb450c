package devdb

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// ownerEnv makes the test binary a program that owns a database: a throw-away
// one, or the kept one of the directory that it names.
const ownerEnv = "FLOWC_DEVDB_TEST_OWNER"

func TestMain(m *testing.M) {
	if dir, ok := os.LookupEnv(ownerEnv); ok {
		own(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// own starts a database, says where, and ends with its input.
func own(dir string) {
	db, err := Start(context.Background(), Config{Dir: dir})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Printf("%s\n%s\n%s\n", db.URL(), db.Dir(), db.identity.name)
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := db.Close(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// owner is another process that owns a database.
type owner struct {
	cmd       *exec.Cmd
	stdin     io.Closer
	url, dir  string
	serverRan string // the identity
}

// startOwner starts such a process; change may alter its command.
func startOwner(t *testing.T, dir string, change func(*exec.Cmd)) *owner {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), ownerEnv+"="+dir)
	cmd.Stderr = os.Stderr
	if change != nil {
		change(cmd)
	}
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(stdout)
	var said []string
	for len(said) < 3 && lines.Scan() {
		said = append(said, lines.Text())
	}
	require.Len(t, said, 3, "the owner said: %s", strings.Join(said, "\n"))
	require.True(t, strings.HasPrefix(said[0], "postgres://"), said[0])
	return &owner{cmd: cmd, stdin: stdin, url: said[0], dir: said[1], serverRan: said[2]}
}

// openDir returns a temporary directory that, unlike those of package testing, every user
// may enter, and that is in memory if possible: kept databases wait for disks.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(roots()[0], "flowc-test-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

func start(t *testing.T, cfg Config) *DB {
	t.Helper()
	db, err := Start(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func query[T any](t *testing.T, conn *pgx.Conn, sql string, args ...any) T {
	t.Helper()
	var v T
	require.NoError(t, conn.QueryRow(t.Context(), sql, args...).Scan(&v))
	return v
}

// awaitDisconnect waits until the server cuts a connection. It takes a few
// hundredths of a second; the limit allows for a busy machine.
func awaitDisconnect(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := conn.WaitForNotification(ctx)
	require.Error(t, err)
	require.NoError(t, ctx.Err(), "the server still runs")
}

func TestThrowAway(t *testing.T) {
	t.Parallel()
	db, err := Start(t.Context(), Config{})
	require.NoError(t, err)
	defer db.Close()

	conn := connect(t, db.URL())
	require.Equal(t, "postgres", query[string](t, conn, "select current_database()::text"))
	require.True(t, query[bool](t, conn, "select usesuper from pg_user where usename = current_user"))
	for setting, want := range map[string]string{
		"fsync": "off", "listen_addresses": "", "TimeZone": "UTC", "server_encoding": "UTF8", "lc_messages": "C",
	} {
		require.Equal(t, want, query[string](t, conn, "select current_setting($1)", setting), setting)
	}
	require.Regexp(t, `^postgres \d+\S* from /.+, data in /.+, \d+\.\d s$`, db.String())
	require.False(t, db.Attached())

	info, err := os.Stat(db.sockets)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm(), "others must not reach a server that trusts everyone")

	require.NoError(t, db.Close())
	require.NoDirExists(t, db.Dir())
	awaitDisconnect(t, conn)
	_, err = pgx.Connect(t.Context(), db.URL())
	require.Error(t, err)
	require.NoError(t, db.Close(), "a second Close does nothing")
	require.ErrorContains(t, db.Resume(t.Context()), "closed")
}

func TestDatabasesAreIndependent(t *testing.T) {
	t.Parallel()
	type result struct {
		db  *DB
		err error
	}
	results := make(chan result)
	for range 2 {
		go func() {
			db, err := Start(t.Context(), Config{})
			results <- result{db, err}
		}()
	}
	a, b := <-results, <-results
	require.NoError(t, a.err)
	require.NoError(t, b.err)
	defer b.db.Close()
	require.NotEqual(t, a.db.URL(), b.db.URL())

	_, err := connect(t, a.db.URL()).Exec(t.Context(), "create table only_in_a ()")
	require.NoError(t, err)
	conn := connect(t, b.db.URL())
	require.False(t, query[bool](t, conn, "select to_regclass('only_in_a') is not null"))
	require.NoError(t, a.db.Close())
	require.Equal(t, 1, query[int](t, conn, "select 1"))
}

func TestSettings(t *testing.T) {
	t.Parallel()
	db := start(t, Config{Settings: map[string]string{
		"shared_preload_libraries": "pg_stat_statements",
		"max_connections":          "17",
	}})
	conn := connect(t, db.URL())
	require.Equal(t, "17", query[string](t, conn, "select current_setting('max_connections')"))
	_, err := conn.Exec(t.Context(), "create extension pg_stat_statements")
	require.NoError(t, err)
	require.Positive(t, query[int](t, conn, "select count(*) from pg_stat_statements"))
}

func TestStartFails(t *testing.T) {
	t.Parallel()
	t.Run("in the server's words", func(t *testing.T) {
		t.Parallel()
		_, err := Start(t.Context(), Config{Settings: map[string]string{"max_connections": "many"}})
		require.ErrorContains(t, err, "flowc: devdb: postgres did not start")
		require.ErrorContains(t, err, `invalid value for parameter "max_connections": "many"`)
	})
	t.Run("when the context ends", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := Start(ctx, Config{})
		require.ErrorIs(t, err, context.Canceled)
	})
	t.Run("with a seed for a kept database", func(t *testing.T) {
		t.Parallel()
		_, err := Start(t.Context(), Config{Dir: t.TempDir(), Seed: &Seed{Key: "k"}})
		require.ErrorContains(t, err, "cannot be combined with Dir")
	})
}

func TestRestart(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]StopMode{"fast": Fast, "immediate": Immediate, "killed": Killed} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := start(t, Config{})
			url := db.URL()
			conn := connect(t, url)
			_, err := conn.Exec(t.Context(), "create table kept as select 42 as answer")
			require.NoError(t, err)

			require.NoError(t, db.Stop(mode))
			awaitDisconnect(t, conn)
			_, err = pgx.Connect(t.Context(), url)
			require.Error(t, err)

			require.NoError(t, db.Resume(t.Context()))
			require.NoError(t, db.Resume(t.Context()), "a running server needs nothing")
			require.Equal(t, url, db.URL())
			require.Equal(t, 42, query[int](t, connect(t, url), "select answer from kept"),
				"what is committed survives")
			require.NoError(t, db.Restart(t.Context(), mode))
			require.Equal(t, 42, query[int](t, connect(t, url), "select answer from kept"))
		})
	}
}

func TestCrashedServerResumes(t *testing.T) {
	t.Parallel()
	db := start(t, Config{})
	conn := connect(t, db.URL())
	require.NoError(t, db.server.cmd.Process.Kill())
	awaitDisconnect(t, conn)
	<-db.server.done
	require.NoError(t, db.Resume(t.Context()))
	require.Equal(t, 1, query[int](t, connect(t, db.URL()), "select 1"))
}

func TestServerEndsWithOwner(t *testing.T) {
	t.Parallel()
	o := startOwner(t, "", nil)
	conn := connect(t, o.url)
	require.NoError(t, o.cmd.Process.Kill())
	awaitDisconnect(t, conn)

	// Once its processes are gone the next start removes the directory.
	require.DirExists(t, o.dir)
	require.Eventually(t, func() bool { return !answers(socketDir(o.dir)) }, time.Minute, time.Millisecond)
	_ = o.cmd.Wait()
	start(t, Config{})
	require.NoDirExists(t, o.dir)
}

func TestServerOutlivesTheStartingThread(t *testing.T) {
	t.Parallel()
	started := make(chan *DB)
	go func() {
		// The thread ends with the goroutine, as it stays locked to it.
		runtime.LockOSThread()
		db, err := Start(t.Context(), Config{})
		if err != nil {
			t.Error(err)
		}
		started <- db
	}()
	db := <-started
	defer db.Close()
	conn := connect(t, db.URL())
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := conn.WaitForNotification(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded, "the server ended with the thread")
}

func TestSweepSparesTheLiving(t *testing.T) {
	t.Parallel()
	o := startOwner(t, "", nil)
	conn := connect(t, o.url)
	sweep()
	require.DirExists(t, o.dir)
	require.Equal(t, 1, query[int](t, conn, "select 1"))

	require.NoError(t, o.stdin.Close())
	require.NoError(t, o.cmd.Wait())
	require.NoDirExists(t, o.dir, "an orderly end leaves nothing")
}

func TestSweepEndsAStrayServer(t *testing.T) {
	t.Parallel()
	db := start(t, Config{})
	conn := connect(t, db.URL())
	require.NoError(t, db.lock.release()) // as if the owner had ended and the server had not
	db.lock = nil
	sweepDir(db.Dir())
	awaitDisconnect(t, conn)
	// The sweep of another program that just starts may be at it instead.
	require.Eventually(t, func() bool {
		_, err := os.Stat(db.Dir())
		return errors.Is(err, fs.ErrNotExist)
	}, time.Minute, 10*time.Millisecond)
}

func TestSweepLeavesWhatIsBeingMade(t *testing.T) {
	t.Parallel()
	for name, lock := range map[string]bool{"without a lock": false, "with a lock nobody holds yet": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if lock {
				require.NoError(t, os.WriteFile(filepath.Join(dir, "lock"), nil, 0o600))
			}
			sweepDir(dir)
			require.DirExists(t, dir)

			old := time.Now().Add(-2 * settling)
			require.NoError(t, os.Chtimes(dir, old, old))
			sweepDir(dir)
			require.NoDirExists(t, dir)
		})
	}
}

func TestWatchdog(t *testing.T) {
	t.Parallel()
	db := start(t, Config{})
	conn := connect(t, db.URL())
	w, err := startWatchdog(db.server, Immediate)
	require.NoError(t, err)
	defer w.dismiss()
	require.Equal(t, 1, query[int](t, conn, "select 1"))
	require.NoError(t, w.pipe.Close()) // what the end of the owner does
	awaitDisconnect(t, conn)
}

func TestDismissedWatchdogHarmsNobody(t *testing.T) {
	t.Parallel()
	db := start(t, Config{})
	conn := connect(t, db.URL())
	w, err := startWatchdog(db.server, Immediate)
	require.NoError(t, err)
	w.dismiss()
	require.NotNil(t, w.cmd.ProcessState, "it has ended")
	require.Equal(t, 1, query[int](t, conn, "select 1"))
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		db, err := Start(b.Context(), Config{})
		require.NoError(b, err)
		b.StopTimer()
		require.NoError(b, db.Close())
		b.StartTimer()
	}
}
