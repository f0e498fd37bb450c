//go:build unix

package devdb

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// accounts lists the users that root can run servers as.
func accounts() []identity {
	var ids []identity
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err1 == nil && err2 == nil && uid > 0 {
			ids = append(ids, identity{name: "user " + name, drop: true, uid: uid, gid: gid})
		}
	}
	return ids
}

// ownerOf returns the user who owns a file, where files have owners.
func ownerOf(info fs.FileInfo) (int, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(st.Uid), true
}

// shortTempDir returns a directory for sockets, whose paths must be short; a user's own
// temporary directory can be deep.
func shortTempDir() string { return "/tmp" }

// tryLock opens and locks a file; ok is false if it is locked already. The lock ends with
// the process.
func tryLock(path string) (f *os.File, ok bool, err error) {
	f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, false, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, true, nil
	}
	_ = f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, false, nil
	}
	return nil, false, &fs.PathError{Op: "lock", Path: path, Err: err}
}

// watchdogCommand waits for the end of its input and then stops a server.
func watchdogCommand(s *server, mode StopMode) *exec.Cmd {
	cmd := exec.Command("/bin/sh", "-c", `read -r line; kill -`+signalName(mode)+` "$1"`, "flowc-watchdog", pidOf(s))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}
