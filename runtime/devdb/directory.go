package devdb

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// The directory of a cluster holds
//
//	data        PostgreSQL's data directory
//	s           the socket, unless its path would be too long
//	server.log  the server's log
//	lock        locked as long as the owner lives; holds its process id
const (
	throwAwayPrefix = "flowc-pg-"
	socketPrefix    = "flowc-sock-"

	// A younger directory whose lock is not held may be about to be locked.
	settling = time.Minute
)

// roots lists where temporary clusters may be, the best first.
func roots() []string {
	var dirs []string
	if dir, ok := memoryDir(); ok {
		dirs = append(dirs, dir)
	}
	return append(dirs, os.TempDir())
}

// newClusterDir creates and locks a directory for a disposable cluster.
func newClusterDir() (string, *fileLock, error) {
	var faults []error
	for _, root := range roots() {
		dir, err := os.MkdirTemp(root, throwAwayPrefix)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if err := passable(dir); err != nil {
			return "", nil, err
		}
		// A concurrent sweep may hold the new lock for a moment, hence the attempts.
		for range 100 {
			lock, err := lockDir(dir)
			if err != nil {
				return "", nil, err
			}
			if lock != nil {
				return dir, lock, nil
			}
			time.Sleep(10 * time.Millisecond)
		}
		return "", nil, fmt.Errorf("%s is locked by another process", dir)
	}
	return "", nil, errors.Join(faults...)
}

// passable lets the server's user through the directory when we are root and it
// is not.
func passable(dir string) error {
	if os.Geteuid() == 0 {
		return os.Chmod(dir, 0o711)
	}
	return os.Chmod(dir, 0o700)
}

// removeSockets removes the directory of the socket when its server is stopped.
func removeSockets(dir string) { _ = os.RemoveAll(socketDir(dir)) }

// removeCluster removes the directory of a cluster and its socket.
func removeCluster(dir string) error {
	removeSockets(dir)
	var err error
	// Processes of a killed server may write for another moment.
	for range 100 {
		if err = os.RemoveAll(dir); err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

// socketDir returns the directory of a cluster's socket: its own or, if that path is too
// long for a socket, one with a short name derived from it. A comma would separate two
// hosts in a URL.
func socketDir(dir string) string {
	const most = 103 // macOS; Linux has four more
	inside := filepath.Join(dir, "s")
	if len(socketFile(inside)) <= most && !strings.Contains(inside, ",") {
		return inside
	}
	sum := sha256.Sum256([]byte(dir))
	return filepath.Join(shortTempDir(), socketPrefix+hex.EncodeToString(sum[:8]))
}

func socketFile(sockets string) string { return filepath.Join(sockets, ".s.PGSQL."+port) }

// sweep removes the temporary clusters whose owners have ended without removing them. What
// it cannot remove, it leaves to the next sweep.
func sweep() {
	for _, root := range roots() {
		dirs, _ := filepath.Glob(filepath.Join(root, throwAwayPrefix+"*"))
		for _, dir := range dirs {
			sweepDir(dir)
		}
	}
}

func sweepDir(dir string) {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() {
		return
	}
	if owner, ok := ownerOf(info); ok && owner != os.Geteuid() {
		return
	}
	young := time.Since(info.ModTime()) < settling
	path := filepath.Join(dir, "lock")
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) && young {
		return
	}
	f, ok, err := tryLock(path)
	if err != nil || !ok {
		return
	}
	owned, err := f.Stat()
	_ = f.Close()
	if err != nil || owned.Size() == 0 && young {
		return
	}
	endStray(dir)
	_ = removeCluster(dir)
}

// endStray stops the server of a directory whose owner is gone, in case it outlived it.
func endStray(dir string) {
	st, err := readStatus(dir)
	if err != nil || !answers(st.sockets) {
		return
	}
	process, err := os.FindProcess(st.pid)
	if err != nil {
		return
	}
	defer process.Release()
	_ = process.Signal(syscall.SIGQUIT)
	for range 100 {
		if !answers(st.sockets) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// A fileLock marks a directory as in use by a process.
type fileLock struct{ f *os.File }

// lockDir locks a directory; it returns nil if it is locked already.
func lockDir(dir string) (*fileLock, error) {
	f, ok, err := tryLock(filepath.Join(dir, "lock"))
	if err != nil || !ok {
		return nil, err
	}
	err = errors.Join(f.Truncate(0), writePID(f))
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &fileLock{f}, nil
}

func writePID(f *os.File) error {
	_, err := f.WriteAt([]byte(fmt.Sprintln(os.Getpid())), 0)
	return err
}

func (l *fileLock) release() error {
	if l == nil {
		return nil
	}
	return l.f.Close()
}
