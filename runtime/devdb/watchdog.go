package devdb

import (
	"io"
	"os/exec"
	"strconv"
)

// A watchdog is a small process that stops the server when its owner has ended, however it
// ended: it reads from a pipe that only the owner can write to.
type watchdog struct {
	cmd  *exec.Cmd
	pipe io.Closer
}

func startWatchdog(s *server, mode StopMode) (*watchdog, error) {
	cmd := watchdogCommand(s, mode)
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &watchdog{cmd: cmd, pipe: pipe}, nil
}

// dismiss ends the watchdog, before it can signal another process that got the pid of the
// server.
func (w *watchdog) dismiss() {
	if w == nil {
		return
	}
	_ = w.cmd.Process.Kill()
	_ = w.cmd.Wait()
	_ = w.pipe.Close()
}

func pidOf(s *server) string { return strconv.Itoa(s.cmd.Process.Pid) }
