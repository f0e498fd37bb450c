package temporaldev

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// DefaultNamespace is the namespace that a server has from its start.
const DefaultNamespace = "flowc"

// startTimeout bounds a start.
const startTimeout = 2 * time.Minute

// stopTimeout is how long a server may take to stop before it is killed.
const stopTimeout = 20 * time.Second

// Config configures a server. The zero value is one with its data in memory.
type Config struct {
	// Database keeps the data. Nil keeps them in memory, for as long as the server runs.
	Database *Database
}

// A Server is a Temporal server that runs on this machine. Its methods must not be called
// concurrently.
type Server struct {
	programs Programs
	services services
	dir      string // holds the configuration and the log

	cmd   *exec.Cmd // nil when it does not run
	ended chan struct{}
}

// Start starts a server with a namespace of the name [DefaultNamespace], and waits until it
// answers. The context bounds only the start.
func (p Programs) Start(ctx context.Context, config Config) (*Server, error) {
	for tries := 1; ; tries++ {
		s, err := p.prepare(config)
		if err != nil {
			return nil, fmt.Errorf("flowc: temporaldev: %w", err)
		}
		if err = s.Start(ctx); err == nil {
			return s, nil
		}
		if err = errors.Join(err, s.Close()); tries == maxStarts || !strings.Contains(err.Error(), "address already in use") {
			return nil, err
		}
	}
}

// maxStarts is how often a start may find that another program was faster to take a port.
const maxStarts = 5

func (p Programs) prepare(config Config) (*Server, error) {
	services, err := newServices()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "flowc-temporal-")
	if err != nil {
		return nil, err
	}
	s := &Server{programs: p, services: services, dir: dir}
	dynamic, err := dynamicConfiguration(config.Database)
	if err == nil {
		err = os.WriteFile(s.file("dynamic.yaml"), dynamic, 0o600)
	}
	if err != nil {
		return nil, err
	}
	text, err := configuration(services, config.Database, s.file("dynamic.yaml"))
	if err != nil {
		return nil, err
	}
	return s, os.WriteFile(s.file("server.yaml"), text, 0o600) // it may hold a password
}

func (s *Server) file(name string) string { return filepath.Join(s.dir, name) }

// Address returns where clients connect to: a host with a port.
func (s *Server) Address() string { return s.services.address() }

// Log returns the path of the server's log.
func (s *Server) Log() string { return s.file("server.log") }

// Pid returns the id of the server's process, 0 if it does not run.
func (s *Server) Pid() int {
	if s.cmd == nil {
		return 0
	}
	return s.cmd.Process.Pid
}

// Start starts the server again after [Server.Kill], at the same address.
func (s *Server) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	err := s.run()
	if err == nil {
		err = s.Register(ctx, DefaultNamespace)
	}
	if err != nil {
		return fmt.Errorf("flowc: temporaldev: starting the Temporal server: %w\n%s", err, s.lastLines(20))
	}
	return nil
}

// run starts the process.
func (s *Server) run() error {
	log, err := os.OpenFile(s.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the process has it
	cmd := exec.Command(s.programs.server, "--config-file", s.file("server.yaml"), "--allow-no-auth", "start")
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = s.dir, log, log, attributes()
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	s.cmd, s.ended = cmd, ended
	return nil
}

// lastLines returns the end of the log.
func (s *Server) lastLines(n int) string {
	text, _ := os.ReadFile(s.Log())
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	lines = lines[max(0, len(lines)-n):]
	for i, line := range lines {
		lines[i] = line[:min(len(line), 400)] // the rest is a stack
	}
	return strings.Join(lines, "\n")
}

// Register makes a namespace, unless there is one of that name, and waits until the server
// knows it.
func (s *Server) Register(ctx context.Context, namespace string) error {
	register := fmt.Sprintf(`{"namespace": %q, "workflowExecutionRetentionPeriod": "86400s"}`, namespace)
	var err error
	for registered := false; ; {
		if !registered {
			err = s.call(ctx, http.MethodPost, "namespaces", register)
			registered = err == nil
		} else if err = s.call(ctx, http.MethodGet, "namespaces/"+namespace+"/workflows?page_size=1", ""); err == nil {
			return nil // all parts of the server know it
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-s.ended:
			return errors.New("the server has ended")
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// call calls the HTTP interface of the server. What exists already is no error.
func (s *Server) call(ctx context.Context, method, path, body string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "http://"+s.services.http()+"/api/v1/"+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	switch {
	case err != nil:
		return err
	case response.StatusCode == http.StatusOK, response.StatusCode == http.StatusConflict:
		return nil
	}
	return fmt.Errorf("%s %s: %s: %s", method, path, response.Status, bytes.TrimSpace(text))
}

// Kill ends the server at once, as kill -9 does. [Server.Start] starts it again.
func (s *Server) Kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		<-s.ended
		s.cmd = nil
	}
}

// Close stops the server and removes its configuration, its log and what was in memory. A
// second call does nothing.
func (s *Server) Close() error {
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(os.Interrupt)
		select {
		case <-s.ended:
		case <-time.After(stopTimeout):
		}
		s.Kill()
	}
	return os.RemoveAll(s.dir)
}
