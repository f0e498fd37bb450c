//go:build linux

// Package pgbouncer puts a PgBouncer in transaction mode before a database of a
// test.
package pgbouncer

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// requiredEnv with the value "required" makes a test fail that finds no PgBouncer.
const requiredEnv = "FLOWC_PGBOUNCER"

const (
	port      = "6432" // names the socket; nothing listens on TCP
	readyWait = 20 * time.Second
)

// nobody is whom PgBouncer, which does not run as root, runs as if the server's
// socket does not say.
const nobody = 65534

// Start starts a PgBouncer for the server of a database, with a few connections
// to it, and gives the database's URL through it. The test is skipped if there
// is none on this machine.
func Start(t testing.TB, databaseURL string) string {
	t.Helper()
	program := find(t)
	config, err := pgx.ParseConfig(databaseURL)
	require.NoError(t, err)

	// Not t.TempDir: its path is too long for a socket, and closed to others.
	dir, err := os.MkdirTemp("/tmp", "flowc-pgb-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	attr, err := identity(config.Host, dir)
	require.NoError(t, err)
	ini := filepath.Join(dir, "pgbouncer.ini")
	require.NoError(t, os.WriteFile(ini, []byte(settings(config, dir)), 0o600))
	if attr.Credential != nil && attr.Cloneflags == 0 {
		require.NoError(t, os.Chown(ini, int(attr.Credential.Uid), int(attr.Credential.Gid)))
	}

	var log bytes.Buffer
	cmd := exec.Command(program, ini)
	cmd.SysProcAttr, cmd.Dir, cmd.Stderr = attr, dir, &log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("PgBouncer said:\n%s", log.String())
		}
	})
	through := url.URL{
		Scheme: "postgres", User: url.User(config.User), Path: "/" + config.Database,
		RawQuery: url.Values{"host": {dir}, "port": {port}, "sslmode": {"disable"}}.Encode(),
	}
	require.NoError(t, awaitReady(t.Context(), through.String()))
	return through.String()
}

func find(t testing.TB) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/pgbouncer") // not in everybody's path
	}
	if err == nil {
		return program
	}
	const reason = "there is no pgbouncer on this machine (apt-get install pgbouncer)"
	if os.Getenv(requiredEnv) == "required" {
		require.FailNow(t, reason)
	}
	t.Skip(reason + "; " + requiredEnv + "=required makes this a failure")
	return ""
}

// settings returns as few settings as possible: the rest is as on a user's server, except
// how soon PgBouncer reconnects after a failure, which is 15 seconds by default.
func settings(config *pgx.ConnConfig, dir string) string {
	server := fmt.Sprintf("host=%s port=%d user=%s", quote(config.Host), config.Port, quote(config.User))
	if config.Password != "" {
		server += " password=" + quote(config.Password)
	}
	return strings.Join([]string{
		"[databases]",
		"* = " + server,
		"[pgbouncer]",
		"pool_mode = transaction",
		"default_pool_size = 5",
		"server_login_retry = 1",
		"auth_type = any",
		"listen_addr =",
		"listen_port = " + port,
		"unix_socket_dir = " + dir,
		"",
	}, "\n")
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// identity returns the user that PgBouncer runs as, which owns its directory: if we are
// root, the owner of the server's socket, who may connect.
func identity(host, dir string) (*syscall.SysProcAttr, error) {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if os.Geteuid() != 0 {
		return attr, nil
	}
	attr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	if strings.HasPrefix(host, "/") {
		info, err := os.Stat(host)
		if err != nil {
			return nil, err
		}
		owner := info.Sys().(*syscall.Stat_t)
		if owner.Uid == 0 {
			// Only root may connect: then it has to be root, by another name.
			attr.Cloneflags = syscall.CLONE_NEWUSER
			attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: nobody, HostID: 0, Size: 1}}
			attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: nobody, HostID: os.Getegid(), Size: 1}}
			attr.Credential.NoSetGroups = true
			return attr, nil
		}
		attr.Credential.Uid, attr.Credential.Gid = owner.Uid, owner.Gid
	}
	return attr, os.Chown(dir, int(attr.Credential.Uid), int(attr.Credential.Gid))
}

func awaitReady(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, url)
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}
