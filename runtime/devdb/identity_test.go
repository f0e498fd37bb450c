//go:build unix

package devdb

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// needUserNamespace skips a test where the system allows none, as in most
// containers.
func needUserNamespace(t *testing.T) {
	t.Helper()
	for _, id := range identities() {
		if !id.userNamespace {
			continue
		}
		cmd := exec.Command("/bin/true")
		cmd.SysProcAttr = toolAttr(id)
		if cmd.Run() == nil {
			return
		}
	}
	t.Skip("no user namespaces here")
}

func TestIdentities(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root has a choice")
	}
	ids := identities()
	require.NotEmpty(t, ids)
	for _, id := range ids {
		t.Run(id.name, func(t *testing.T) {
			t.Parallel()
			if id.userNamespace {
				needUserNamespace(t)
			}
			db, err := startTemporary(t.Context(), Config{}, []identity{id})
			require.NoError(t, err)
			defer db.Close()
			require.Equal(t, 1, query[int](t, connect(t, db.URL()), "select 1"))
			info, err := os.Stat(filepath.Join(dataDir(db.Dir()), "postmaster.pid"))
			require.NoError(t, err)
			owner, ok := ownerOf(info)
			require.True(t, ok)
			require.Equal(t, id.ownerID(), owner)
		})
	}
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		dir := filepath.Join(t.TempDir(), "closed") // to all but root
		require.NoError(t, os.Mkdir(dir, 0o700))
		bin, err := FindBinaries("")
		require.NoError(t, err)
		_, err = chooseIdentity(accounts(), bin, dir)
		require.ErrorContains(t, err, "does not run as root")
		require.ErrorContains(t, err, "as user nobody")
		require.ErrorContains(t, err, "DATABASE_URL")
	})
}

func TestOrdinaryUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("then every test is that of an ordinary user")
	}
	nobody := accounts()[len(accounts())-1]
	home := openDir(t)
	require.NoError(t, nobody.own(home))
	// go test builds in a directory that only root may enter.
	program := filepath.Join(home, "owner")
	self, err := os.Executable()
	require.NoError(t, err)
	content, err := os.ReadFile(self)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(program, content, 0o755))

	before := ""
	for range 2 { // the second from the cache
		o := startOwner(t, "", func(cmd *exec.Cmd) {
			cmd.Path, cmd.Dir = program, home
			cmd.Env = append(cmd.Env, "HOME="+home, "XDG_CACHE_HOME=")
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(nobody.uid), Gid: uint32(nobody.gid)}}
		})
		require.Equal(t, "ourselves", o.serverRan)
		conn := connect(t, o.url)
		require.Equal(t, 1, query[int](t, conn, "select 1"))
		require.NoError(t, o.cmd.Process.Kill())
		awaitDisconnect(t, conn)
		require.Error(t, o.cmd.Wait())
		t.Cleanup(func() { require.NoError(t, os.RemoveAll(o.dir)) })
		if before != "" {
			require.NoDirExists(t, before, "swept by its user's next start")
		}
		before = o.dir
	}
	images, err := filepath.Glob(filepath.Join(home, ".cache", "flowc", "postgres", "*.tar"))
	require.NoError(t, err)
	require.Len(t, images, 1)
}

func TestKeptWhereOnlyRootMayGo(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("an ordinary user runs the server as itself")
	}
	needUserNamespace(t)
	closed := filepath.Join(openDir(t), "closed")
	require.NoError(t, os.Mkdir(closed, 0o700))
	db := start(t, Config{Dir: filepath.Join(closed, "database")})
	require.True(t, db.identity.userNamespace)
	require.Equal(t, 1, query[int](t, connect(t, db.URL()), "select 1"))
	require.NoError(t, db.Close())

	// The data stay with whom they belong to, though others could have them now.
	require.NoError(t, os.Chmod(closed, 0o755))
	again := start(t, Config{Dir: db.Dir()})
	require.True(t, again.identity.userNamespace)
	require.NoError(t, again.Close())
}

func TestSocketDirBelongingToSomebodyElse(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs a second user")
	}
	dir := filepath.Join(openDir(t), strings.Repeat("long", 40))
	sockets := socketDir(dir)
	require.NoError(t, os.Mkdir(sockets, 0o755))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(sockets)) })
	require.NoError(t, os.Lchown(sockets, 12345, 12345))
	_, err := Start(t.Context(), Config{Dir: dir})
	require.ErrorContains(t, err, "belongs to another user")
}
