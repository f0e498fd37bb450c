//go:build unix

package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/worker"
)

// processEnv has the order of a worker process.
const processEnv = "FLOWC_CHAOS_PROCESS"

// An errand is what a worker process is told to do.
type errand struct {
	URL         string
	Flow        string // one of flows
	Name        string
	Ledger      string        // the file where it writes down each attempt that it begins
	Concurrency int           // 8 if it is 0
	Grace       time.Duration // 10 s if it is 0
	Least, Most time.Duration // how long a handler works, between the two
	MaxCrashes  int           // that of the worker
	Numbers     int           // for how many numbers it starts runs of single, instead of working
	// One in so many times, the process kills itself, or cuts a connection, before or after
	// it sends a message of a transaction of pay, or when the reply comes. 0 is never.
	Dies, Cuts int
}

// beWorker is what a worker process does until it is told to stop.
func beWorker(text string) int {
	var e errand
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	go func() { // the test is gone when its end of the pipe is
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3)
	}()
	do := e.work
	if e.Numbers > 0 {
		do = e.start
	}
	if err := do(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (e errand) work() error {
	ctx := context.Background()
	ledger, err := os.OpenFile(e.Ledger, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer ledger.Close()
	pool, err := e.connect(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	h := &hands{errand: e, ledger: ledger}
	w, err := worker.New(pool, worker.Config{
		Name: e.Name, Concurrency: e.Concurrency, Grace: e.Grace, MaxCrashes: e.MaxCrashes,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}, flows[e.Flow].service(h))
	if err != nil {
		return err
	}
	return w.RunUntilSignal(ctx)
}

// A process is a worker process, as the test sees it.
type process struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	pipe io.Closer
	log  *logBuffer
	done chan struct{} // closed when it has ended
	died time.Time     // when it was killed
}

func launch(t *testing.T, e errand) *process {
	t.Helper()
	text, err := json.Marshal(e)
	require.NoError(t, err)
	p := &process{t: t, name: e.Name, log: new(logBuffer), done: make(chan struct{})}
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), processEnv+"="+string(text))
	p.cmd.Stderr, p.cmd.Stdout = p.log, p.log
	p.pipe, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	return p
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(s))
}

// kill ends it without a chance to say goodbye.
func (p *process) kill() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	p.died = time.Now()
	<-p.done
}

// terminate tells it to stop, though not before it can hear that.
func (p *process) terminate() {
	p.t.Helper()
	for began := time.Now(); p.running() && time.Since(began) < patience && !strings.Contains(p.log.String(), "worker started"); {
		time.Sleep(5 * time.Millisecond)
	}
	p.signal(syscall.SIGTERM)
}

// stop tells it to stop and waits until it has; it must have ended well.
func (p *process) stop() {
	p.t.Helper()
	p.terminate()
	p.endedWell()
}

func (p *process) endedWell() {
	p.t.Helper()
	p.ended(patience)
	require.Zero(p.t, p.cmd.ProcessState.ExitCode(), "%s:\n%s", p.name, p.log)
}

func (p *process) ended(limit time.Duration) {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(limit):
		require.FailNow(p.t, "the worker does not end", "%s:\n%s", p.name, p.log)
	}
}

// lines are what it has logged, without the attempts that had to fail.
func (p *process) lines() string {
	var b strings.Builder
	for line := range strings.Lines(p.log.String()) {
		if !strings.Contains(line, errFirst.Error()) {
			b.WriteString(line)
		}
	}
	return b.String()
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// A fleet is the worker processes of a test. It keeps those that ended, too.
type fleet struct {
	t      *testing.T
	errand errand
	all    []*process
}

// newFleet starts worker processes, which end with the test at the latest.
func newFleet(t *testing.T, e errand, size int) *fleet {
	t.Helper()
	if e.Concurrency == 0 {
		e.Concurrency = 8
	}
	if e.Grace == 0 {
		e.Grace = 10 * time.Second
	}
	e.Ledger = filepath.Join(t.TempDir(), "ledger")
	f := &fleet{t: t, errand: e}
	t.Cleanup(func() {
		for _, p := range f.running() {
			_ = p.cmd.Process.Kill()
			<-p.done
		}
		if t.Failed() {
			for _, p := range f.all {
				lines := strings.SplitAfter(p.lines(), "\n")
				t.Logf("%s:\n%s", p.name, strings.Join(lines[max(0, len(lines)-20):], ""))
			}
		}
	})
	for range size {
		f.add()
	}
	return f
}

// add starts one more.
func (f *fleet) add() *process {
	f.t.Helper()
	e := f.errand
	e.Name = fmt.Sprintf("worker-%d", len(f.all)+1)
	p := launch(f.t, e)
	f.all = append(f.all, p)
	return p
}

func (f *fleet) running() (all []*process) {
	for _, p := range f.all {
		if p.running() {
			all = append(all, p)
		}
	}
	return all
}

// stop stops all that run, at once.
func (f *fleet) stop() {
	f.t.Helper()
	running := f.running()
	for _, p := range running {
		p.terminate()
	}
	for _, p := range running {
		p.endedWell()
	}
}

// An attempt is one that a worker began.
type attempt struct {
	run, step      string
	index, attempt string
}

// attempts returns all that the fleet began, as often as it did.
func (f *fleet) attempts() map[attempt]int {
	f.t.Helper()
	text, err := os.ReadFile(f.errand.Ledger)
	if !os.IsNotExist(err) {
		require.NoError(f.t, err)
	}
	all := map[attempt]int{}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		require.Len(f.t, words, 4, line)
		all[attempt{words[0], words[1], words[2], words[3]}]++
	}
	return all
}

// repeated returns how many attempts were begun more than once.
func (f *fleet) repeated() (n int) {
	f.t.Helper()
	for _, times := range f.attempts() {
		n += times - 1
	}
	return n
}

// logBuffer is a buffer that may be written and read at once.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
