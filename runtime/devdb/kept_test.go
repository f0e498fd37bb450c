package devdb

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestKept(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(openDir(t), "new", "database")
	db := start(t, Config{Dir: dir, Settings: map[string]string{"max_connections": "17"}})
	conn := connect(t, db.URL())
	for setting, want := range map[string]string{"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "max_connections": "17"} {
		require.Equal(t, want, query[string](t, conn, "select current_setting($1)", setting), setting)
	}
	_, err := conn.Exec(t.Context(), "create table kept as select 42 as answer")
	require.NoError(t, err)
	require.NoError(t, db.Close())
	awaitDisconnect(t, conn)

	again := start(t, Config{Dir: dir})
	require.Equal(t, db.URL(), again.URL())
	require.Equal(t, 42, query[int](t, connect(t, again.URL()), "select answer from kept"))
}

func TestKeptAttach(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	o := startOwner(t, dir, nil)

	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(dir, link))
	db := start(t, Config{Dir: link})
	require.True(t, db.Attached())
	require.Equal(t, o.url, db.URL())
	require.Contains(t, db.String(), "already running, data in "+o.dir)
	conn := connect(t, db.URL())
	require.ErrorContains(t, db.Stop(Fast), "another program")
	require.NoError(t, db.Close())
	require.Equal(t, 1, query[int](t, conn, "select 1"), "whoever attaches does not stop it")

	require.NoError(t, o.stdin.Close())
	awaitDisconnect(t, conn)
	require.NoError(t, o.cmd.Wait())
	heir := start(t, Config{Dir: dir})
	require.False(t, heir.Attached())
	require.Equal(t, o.url, heir.URL())
}

func TestKeptSurvivesItsOwner(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	o := startOwner(t, dir, nil)
	conn := connect(t, o.url)
	_, err := conn.Exec(t.Context(), "create table kept as select 42 as answer")
	require.NoError(t, err)
	require.NoError(t, o.cmd.Process.Kill())
	require.Error(t, o.cmd.Wait())

	// The server may still be ending.
	db := start(t, Config{Dir: dir})
	require.False(t, db.Attached())
	require.Equal(t, 42, query[int](t, connect(t, db.URL()), "select answer from kept"))
}

func TestKeptStartedByMany(t *testing.T) {
	t.Parallel()
	const many = 4
	dir := openDir(t)
	type result struct {
		db  *DB
		err error
	}
	results := make(chan result)
	for range many {
		go func() {
			db, err := Start(t.Context(), Config{Dir: dir})
			results <- result{db, err}
		}()
	}
	owners := 0
	var dbs []*DB
	for range many {
		r := <-results
		if r.err == nil {
			dbs = append(dbs, r.db)
			defer r.db.Close()
		}
		require.NoError(t, r.err)
	}
	for _, db := range dbs {
		if !db.Attached() {
			owners++
		}
		require.Equal(t, dbs[0].URL(), db.URL())
		require.Equal(t, 1, query[int](t, connect(t, db.URL()), "select 1"))
	}
	require.Equal(t, 1, owners)
}

func TestKeptInALongPath(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(openDir(t), strings.Repeat("long", 40))
	db := start(t, Config{Dir: dir})
	require.Less(t, len(socketFile(db.sockets)), 104)
	require.Equal(t, 1, query[int](t, connect(t, db.URL()), "select 1"))

	attached := start(t, Config{Dir: dir})
	require.True(t, attached.Attached())
	require.NoError(t, db.Close())
	require.NoDirExists(t, db.sockets, "nothing is left outside the directory")
}

func TestKeptInAnOddPath(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"with, comma", `with "quotes'`, "%41 ? & #"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(openDir(t), name)
			db := start(t, Config{Dir: dir})
			require.Equal(t, 1, query[int](t, connect(t, db.URL()), "select 1"))
			attached := start(t, Config{Dir: dir})
			require.True(t, attached.Attached())
			require.Equal(t, db.URL(), attached.URL())
			require.NoError(t, db.Close())
		})
	}
}

func TestKeptByAnotherVersion(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	require.NoError(t, os.Mkdir(dataDir(dir), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dataDir(dir), "PG_VERSION"), []byte("99\n"), 0o600))
	_, err := Start(t.Context(), Config{Dir: dir})
	require.ErrorContains(t, err, "was created by PostgreSQL 99, which is not installed here")
	require.ErrorContains(t, err, "move "+dir+" away")
	_, err = Start(t.Context(), Config{Dir: dir}) // the lock is free again
	require.ErrorContains(t, err, "PostgreSQL 99")
}

func TestKeptAfterInterruptedInitdb(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	half := filepath.Join(dataDir(dir)+".new", "base")
	require.NoError(t, os.MkdirAll(half, 0o700))
	db := start(t, Config{Dir: dir})
	require.Equal(t, 1, query[int](t, connect(t, db.URL()), "select 1"))
	require.NoDirExists(t, dataDir(dir)+".new")
}

// A directory that is there already keeps its mode, and so do those above it.
func TestKeptLeavesModes(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	for _, mode := range []os.FileMode{0o755, 0o775 | os.ModeSetgid, 0o777 | os.ModeSticky} {
		require.NoError(t, os.Chmod(dir, mode))
		db := start(t, Config{Dir: dir})
		info, err := os.Stat(dir)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode()&^os.ModeDir)
		for _, inside := range []string{"data", "s"} {
			if info, err := os.Stat(filepath.Join(dir, inside)); err == nil {
				require.Equal(t, os.FileMode(0o700), info.Mode().Perm(), inside)
			}
		}
		require.NoError(t, db.Close())
	}
}
