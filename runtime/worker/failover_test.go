package worker_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/devdb"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/internal/listen"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// loopback returns an address of this machine that nobody else listens on.
func loopback() string {
	return fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
}

// listening returns settings of a server that takes connections at an address.
func listening(t *testing.T, address string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755)) // the server may be another user's
	rules := filepath.Join(dir, "hba.conf")
	require.NoError(t, os.WriteFile(rules, []byte("local all all trust\nhost all all 127.0.0.0/8 trust\nhost replication all 127.0.0.0/8 trust\n"), 0o644))
	return map[string]string{"listen_addresses": address, "hba_file": rules}
}

// standby starts a server that follows another.
func standby(t *testing.T, primary, address string) *devdb.DB {
	t.Helper()
	server, err := devdb.Start(t.Context(), devdb.Config{Settings: listening(t, address)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	require.NoError(t, server.Stop(devdb.Fast))
	data := filepath.Join(server.Dir(), "data")
	owner, err := os.Stat(data)
	require.NoError(t, err)
	programs, err := devdb.FindBinaries("")
	require.NoError(t, err)
	program := filepath.Join(programs.Dir, "pg_basebackup")
	if _, err := os.Stat(program); err != nil { // packages of the server alone lack it
		t.Skip(err)
	}
	require.NoError(t, os.RemoveAll(data))
	backup := exec.CommandContext(t.Context(), program,
		"-h", primary, "-U", "postgres", "-D", data, "-R", "-c", "fast")
	out, err := backup.CombinedOutput()
	require.NoError(t, err, string(out))
	id := owner.Sys().(*syscall.Stat_t)
	require.NoError(t, filepath.WalkDir(data, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(id.Uid), int(id.Gid))
	}))
	require.NoError(t, server.Resume(t.Context()))
	return server
}

// freeze stops all processes of a server where they are, until the test ends.
func freeze(t *testing.T, server *devdb.DB) {
	t.Helper()
	first, err := os.ReadFile(filepath.Join(server.Dir(), "data", "postmaster.pid"))
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.SplitN(string(first), "\n", 2)[0])
	require.NoError(t, err)
	stop := func(pid int) {
		require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
		t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	}
	stop(pid) // and it makes no more of them
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	for _, path := range all {
		stat, _ := os.ReadFile(path) // it may have ended
		var child, parent int
		var name, state string
		if n, _ := fmt.Sscan(string(stat), &child, &name, &state, &parent); n == 4 && parent == pid {
			stop(child)
		}
	}
}

// listener returns the listener of a pool's workers.
func listener(t *testing.T, pool *pgxpool.Pool) *listen.Listener {
	t.Helper()
	l := listen.Acquire(pool)
	l.Release()
	return l
}

// A worker whose address names two servers goes on with the second when the first is
// killed, or hangs without a word, and so does one that begins only then.
func TestFailover(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("needs Linux, for its addresses and processes")
	}
	for name, fail := range map[string]func(*testing.T, *devdb.DB){
		"killed": func(t *testing.T, server *devdb.DB) { require.NoError(t, server.Stop(devdb.Killed)) },
		"frozen": freeze,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addresses := []string{loopback(), loopback()}
			first, firstURL := dbtest.Server(t, listening(t, addresses[0]))
			second := standby(t, addresses[0], addresses[1])
			secondURL, err := url.Parse(second.URL())
			require.NoError(t, err)
			secondURL.Path = "/flowc"

			ctx := testContext(t)
			flow := job[int, int]("work", spec.Flow{})
			later := job[int, int]("later", spec.Flow{})
			echo := func(_ context.Context, n int) (int, error) { return n, nil }
			upsert(t, dbtest.Connect(t, firstURL), serve(flow, echo), serve(later, echo))
			both := func() *pgxpool.Pool {
				pool, err := pgxpool.New(ctx, "host="+strings.Join(addresses, ",")+" port=5432 user=postgres dbname=flowc target_session_attrs=read-write")
				require.NoError(t, err)
				t.Cleanup(pool.Close)
				return pool
			}
			old, fresh := both(), both()
			run(t, old, worker.Config{}, serve(flow, echo))
			out, err := flow.StartSync(ctx, dbtest.Connect(t, firstURL), 7)
			require.NoError(t, err)
			require.Equal(t, 7, out)

			standby := dbtest.Connect(t, secondURL.String())
			eventually(t, func() bool {
				return count(t, standby, `SELECT count(*) FROM pgflow.runs WHERE status = 'completed'`) == 1
			}, "the standby has it, too")
			eventually(t, func() bool { return listener(t, old).Live() > 0 }, "notifications arrive")
			live := listener(t, old).Live()
			fail(t, first)
			promoted := false
			require.NoError(t, standby.QueryRow(ctx, `SELECT pg_promote()`).Scan(&promoted))
			require.True(t, promoted)

			out, err = flow.StartSync(ctx, standby, 8)
			require.NoError(t, err)
			require.Equal(t, 8, out)
			run(t, fresh, worker.Config{}, serve(later, echo))
			out, err = later.StartSync(ctx, standby, 9)
			require.NoError(t, err)
			require.Equal(t, 9, out)
			for pool, before := range map[*pgxpool.Pool]uint64{old: live, fresh: 0} {
				eventually(t, func() bool { return listener(t, pool).Live() > before }, "so does its listener")
			}
		})
	}
}
