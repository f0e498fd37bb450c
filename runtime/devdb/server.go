package devdb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	superuser = "postgres"
	port      = "5432" // names the socket; nothing listens on TCP
)

// temporarySettings give up durability against crashes of the machine. Commits stay
// synchronous: without fsync that costs next to nothing, and nothing committed is lost when
// only the server is killed.
var temporarySettings = map[string]string{
	"fsync":            "off",
	"full_page_writes": "off",
	"max_connections":  "300",
	"max_wal_size":     "256MB", // it may be memory
	// Shared memory of parallel queries would otherwise stay behind, outside our
	// directory, when the server is killed.
	"dynamic_shared_memory_type": "mmap",
}

// A StopMode is how a server stops.
type StopMode int

const (
	// Fast rolls back open transactions, disconnects everyone and writes all
	// data: an orderly restart.
	Fast StopMode = iota
	// Immediate ends all server processes at once; the next start recovers from
	// the log, as after a crash.
	Immediate
	// Killed sends SIGKILL to the server's first process; the others notice and end.
	Killed
)

// Stop stops the server; [DB.Resume] starts it with the same directory and address.
func (db *DB) Stop(mode StopMode) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if err := db.ours(); err != nil {
		return err
	}
	if err := db.stop(mode); err != nil {
		return fmt.Errorf("flowc: devdb: %w", err)
	}
	return nil
}

// Resume starts the server again after [DB.Stop] or a crash, and waits until it accepts
// connections. It does nothing if the server runs.
func (db *DB) Resume(ctx context.Context) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if err := db.ours(); err != nil {
		return err
	}
	if err := db.start(ctx); err != nil {
		return fmt.Errorf("flowc: devdb: %w", err)
	}
	return nil
}

// Restart calls [DB.Stop] and then [DB.Resume].
func (db *DB) Restart(ctx context.Context, mode StopMode) error {
	if err := db.Stop(mode); err != nil {
		return err
	}
	return db.Resume(ctx)
}

// ours returns why the server cannot be stopped or started by us.
func (db *DB) ours() error {
	switch {
	case db.closed:
		return errors.New("flowc: devdb: the database is closed")
	case db.attached:
		return errors.New("flowc: devdb: the server was started by another program")
	}
	return nil
}

// start starts the server on the data directory; db.mu must be held, or db not be shared
// yet.
func (db *DB) start(ctx context.Context) error {
	if db.server != nil && db.server.running() {
		return nil
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		s, err := launch(db)
		if err != nil {
			return err
		}
		err = s.awaitReady(ctx, db.dir)
		if err == nil {
			db.server = s
			return nil
		}
		s.kill()
		// The children of a server that was killed may need a moment to notice.
		if !strings.Contains(err.Error(), "is still in use") || time.Now().After(deadline) {
			return err
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// stop stops the server, by force if the mode does not work in time.
func (db *DB) stop(mode StopMode) error {
	if db.server == nil {
		return nil
	}
	s := db.server
	db.server = nil
	return s.stop(mode)
}

// A server is a running postgres, a child of this process.
type server struct {
	cmd      *exec.Cmd
	bin      Binaries
	watchdog *watchdog
	log      string
	logStart int64         // where this server's part of the log begins
	done     chan struct{} // closed when the process has ended
}

// launch starts postgres and does not wait for it.
func launch(db *DB) (*server, error) {
	log, err := os.OpenFile(logFile(db.dir), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	info, err := log.Stat()
	if err != nil {
		return nil, err
	}

	args := []string{
		"-D", dataDir(db.dir), "-p", port,
		"-c", "listen_addresses=", "-c", "unix_socket_directories=" + db.sockets,
	}
	for _, name := range slices.Sorted(maps.Keys(db.settings)) {
		args = append(args, "-c", name+"="+db.settings[name])
	}
	cmd := exec.Command(db.bin.program("postgres"), args...)
	cmd.Dir = dataDir(db.dir)
	cmd.Env = environ()
	cmd.Stdout, cmd.Stderr = log, log
	mode := Immediate
	if db.kept {
		mode = Fast
	}
	cmd.SysProcAttr = serverAttr(db.identity, mode)

	s := &server{cmd: cmd, bin: db.bin, log: log.Name(), logStart: info.Size(), done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Linux signals a child when the thread that made it ends, not the
		// process: so this thread stays as long as the server does.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(s.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting postgres: %w", err)
	}
	if needsWatchdog {
		if s.watchdog, err = startWatchdog(s, mode); err != nil {
			s.kill()
			return nil, fmt.Errorf("starting the watchdog: %w", err)
		}
	}
	return s, nil
}

func (s *server) running() bool {
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

// awaitReady waits until the server accepts connections.
func (s *server) awaitReady(ctx context.Context, dir string) error {
	for wait := time.Millisecond; ; wait = min(2*wait, 4*time.Millisecond) {
		if st, err := readStatus(dir); err == nil && st.pid == s.cmd.Process.Pid && st.ready {
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-s.done:
			return fmt.Errorf("postgres did not start (%v):\n%s", s.cmd.ProcessState, s.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("postgres is not ready in time (%w):\n%s", context.Cause(ctx), s.lastWords())
		}
		timer.Stop()
	}
}

// lastWords returns the last lines of the server's log.
func (s *server) lastWords() string {
	const most = 10
	text, err := os.ReadFile(s.log)
	if err != nil || int64(len(text)) <= s.logStart {
		return "  (its log is empty)"
	}
	lines := strings.Split(strings.TrimSpace(string(text[s.logStart:])), "\n")
	if len(lines) > most {
		lines = lines[len(lines)-most:]
	}
	return "  " + strings.Join(lines, "\n  ")
}

// stop stops the server and waits until it has ended; if it has not in time, the next
// harsher mode is used.
func (s *server) stop(mode StopMode) error {
	defer s.watchdog.dismiss()
	for _, attempt := range []struct {
		mode StopMode
		wait time.Duration
	}{{Fast, 30 * time.Second}, {Immediate, 10 * time.Second}, {Killed, 10 * time.Second}} {
		if attempt.mode < mode {
			continue
		}
		if err := s.signal(attempt.mode); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stopping postgres: %w", err)
		}
		select {
		case <-s.done:
			return nil
		case <-time.After(attempt.wait):
		}
	}
	return fmt.Errorf("postgres, process %d, does not end", s.cmd.Process.Pid)
}

// kill kills the server.
func (s *server) kill() {
	_ = s.stop(Killed)
}

// signal sends the signal of a mode. On Windows only pg_ctl can.
func (s *server) signal(mode StopMode) error {
	if runtime.GOOS == "windows" && mode != Killed {
		pid := strconv.Itoa(s.cmd.Process.Pid)
		return exec.Command(s.bin.program("pg_ctl"), "kill", signalName(mode), pid).Run()
	}
	return s.cmd.Process.Signal(stopSignal(mode))
}

func stopSignal(mode StopMode) syscall.Signal {
	return map[StopMode]syscall.Signal{Fast: syscall.SIGINT, Immediate: syscall.SIGQUIT, Killed: syscall.SIGKILL}[mode]
}

func signalName(mode StopMode) string {
	return map[StopMode]string{Fast: "INT", Immediate: "QUIT", Killed: "KILL"}[mode]
}

// A status is the content of a server's pid file.
type status struct {
	pid     int
	sockets string
	ready   bool // accepts connections
}

// readStatus reads the pid file; it fails if there is none, which means that no
// server runs, and while it is being written.
func readStatus(dir string) (status, error) {
	text, err := os.ReadFile(filepath.Join(dataDir(dir), "postmaster.pid"))
	if err != nil {
		return status{}, err
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) < 8 {
		return status{}, errors.New("postmaster.pid is incomplete")
	}
	pid, err := strconv.Atoi(lines[0])
	if err != nil {
		return status{}, fmt.Errorf("postmaster.pid: %w", err)
	}
	return status{pid: pid, sockets: lines[4], ready: strings.TrimSpace(lines[7]) == "ready"}, nil
}

// answers reports whether a server listens on the socket in a directory. A pid file alone
// proves nothing: its server may have been killed.
func answers(sockets string) bool {
	conn, err := net.DialTimeout("unix", socketFile(sockets), time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// environ returns the environment for PostgreSQL's programs: ours, without what would
// change their behaviour from one machine to the next.
func environ() []string {
	env := slices.DeleteFunc(os.Environ(), func(s string) bool {
		return strings.HasPrefix(s, "PG") || strings.HasPrefix(s, "LC_") ||
			strings.HasPrefix(s, "LANG") || strings.HasPrefix(s, "TZ=")
	})
	return append(env, "LC_ALL=C", "TZ=UTC")
}

func merge(base, more map[string]string) map[string]string {
	all := maps.Clone(base)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, more)
	return all
}

// pause waits, or fails when the context ends first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
