package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// A workerKind is what the worker of a process may be.
type workerKind struct {
	name    string // which the processes are told
	install func(ctx context.Context, s *server) (pool *pgxpool.Pool, drop func(), err error)
	start   func(ctx context.Context, pool *pgxpool.Pool, n int) error
	// work works until stop is called, and calls called for each job.
	work func(ctx context.Context, pool *pgxpool.Pool, concurrency int, called func()) (stop func() error, err error)
	// awaitEnd waits until all handlers were called and nothing is left to work.
	awaitEnd func(ctx context.Context, left *counter, pool *pgxpool.Pool) error
}

var flowcWorkerKind = workerKind{
	name:    "flowc",
	install: func(ctx context.Context, s *server) (*pgxpool.Pool, func(), error) { return install(ctx, s, job) },
	start:   func(ctx context.Context, pool *pgxpool.Pool, n int) error { return startMany(ctx, pool, job, n) },
	work: func(ctx context.Context, pool *pgxpool.Pool, concurrency int, called func()) (stop func() error, err error) {
		return startWorkers(ctx, pool, 1, concurrency, echo(job, func(string) { called() }))
	},
	awaitEnd: func(ctx context.Context, left *counter, pool *pgxpool.Pool) error {
		return left.awaitEnd(ctx, pool, job)
	},
}

// inProcesses works n jobs with so many processes of one worker each, which have so many
// handlers in all. What is measured begins when a third of the jobs is done, so that the
// connections are warm.
func (k workerKind) inProcesses(n, processes, handlers int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return func(ctx context.Context, s *server) (func(context.Context) (sample, error), func(), error) {
		pool, drop, err := k.install(ctx, s)
		if err != nil {
			return nil, nil, err
		}
		work := func(ctx context.Context) (_ sample, err error) {
			var cold, left counter
			cold.reset(n / 3)
			left.reset(n)
			all := &workerProcesses{called: func(calls int64) {
				cold.add(calls)
				left.add(calls)
			}}
			defer func() { err = errors.Join(err, all.stop()) }()
			for range processes {
				if err := all.spawn(ctx, k.name, pool, handlers/processes); err != nil {
					return sample{}, err
				}
			}
			if err := k.start(ctx, pool, n); err != nil {
				return sample{}, err
			}
			if err := all.begin(); err != nil {
				return sample{}, err
			}
			select {
			case <-cold.zero:
			case <-ctx.Done():
				return sample{}, ctx.Err()
			}
			measured := int(left.left.Load())
			since, err := all.usage(ctx, s)
			if err != nil {
				return sample{}, err
			}
			if err := k.awaitEnd(ctx, &left, pool); err != nil {
				return sample{}, err
			}
			until, err := all.usage(ctx, s)
			return sample{units: measured, took: until.at.Sub(since.at), since: &since, until: &until}, err
		}
		return work, drop, nil
	}
}

// workerProcesses are processes of this program that run a worker each.
type workerProcesses struct {
	called  func(calls int64) // is told of calls of handlers
	running []*exec.Cmd
	stdin   []io.WriteCloser
	counted []chan error // closed when a process's output has ended
}

// spawn starts a process that is ready to run a worker.
func (p *workerProcesses) spawn(ctx context.Context, kind string, pool *pgxpool.Pool, concurrency int) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	database, err := databaseOf(pool)
	if err != nil {
		return err
	}
	c := exec.CommandContext(ctx, program)
	c.Env = append(os.Environ(), workerKindName+"="+kind, workerDatabase+"="+database, workerConcurrency+"="+strconv.Itoa(concurrency))
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		return err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	counted := make(chan error, 1)
	p.running, p.stdin, p.counted = append(p.running, c), append(p.stdin, in), append(p.counted, counted)
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		close(counted)
		return errors.New("a worker's process did not start")
	}
	go func() {
		defer close(counted)
		for lines.Scan() {
			calls, err := strconv.ParseInt(lines.Text(), 10, 64)
			if err != nil {
				counted <- err
				return
			}
			p.called(calls)
		}
	}()
	return nil
}

// databaseOf returns the address of the database of a pool.
func databaseOf(pool *pgxpool.Pool) (string, error) {
	database, err := url.Parse(pool.Config().ConnString())
	if err != nil {
		return "", err
	}
	database.Path = "/" + pool.Config().ConnConfig.Database
	return database.String(), nil
}

// begin has the workers run.
func (p *workerProcesses) begin() error {
	for _, in := range p.stdin {
		if _, err := fmt.Fprintln(in, "run"); err != nil {
			return err
		}
	}
	return nil
}

// usage returns what the server and the processes have used up to now.
func (p *workerProcesses) usage(ctx context.Context, s *server) (usage, error) {
	u, err := s.usage(ctx)
	for _, c := range p.running {
		if err == nil {
			var t time.Duration
			t, err = processTime(strconv.Itoa(c.Process.Pid), false)
			u.client += t
		}
	}
	return u, err
}

// stop has the workers drain and waits for their processes.
func (p *workerProcesses) stop() error {
	var errs []error
	for _, in := range p.stdin {
		errs = append(errs, in.Close())
	}
	for i, c := range p.running {
		errs = append(errs, <-p.counted[i], c.Wait())
	}
	return errors.Join(errs...)
}

// The environment of a process that runs a worker.
const (
	workerKindName    = "FLOWBENCH_WORKER"
	workerDatabase    = "FLOWBENCH_DATABASE"
	workerConcurrency = "FLOWBENCH_CONCURRENCY"
)

// runWorker runs a worker from the first line of the input to its end, and prints how
// many handlers were called, now and then.
func runWorker(ctx context.Context, database string, in io.Reader, out io.Writer) error {
	concurrency, err := strconv.Atoi(os.Getenv(workerConcurrency))
	if err != nil {
		return err
	}
	pool, err := pgxpool.New(ctx, database)
	if err != nil {
		return err
	}
	defer pool.Close()
	var calls atomic.Int64
	kind := flowcWorkerKind
	if os.Getenv(workerKindName) == riverWorkerKind.name {
		kind = riverWorkerKind
	}
	fmt.Fprintln(out, "ready")
	lines := bufio.NewScanner(in)
	if !lines.Scan() {
		return lines.Err()
	}
	stop, err := kind.work(ctx, pool, concurrency, func() { calls.Add(1) })
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		for lines.Scan() {
		}
		close(ended)
	}()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ended:
			return stop()
		case <-ticker.C:
			if n := calls.Swap(0); n > 0 {
				fmt.Fprintln(out, n)
			}
		}
	}
}
