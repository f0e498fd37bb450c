package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// holdTasks, in the environment of a worker's process, is how many tasks it has in flight
// at once, and then tells what memory that takes.
const holdTasks = "FLOWBENCH_HOLD"

// large is the input of a task that is to take so much memory.
type large struct {
	Text string `json:"text"`
}

// memoryInFlight has a worker, in a process of its own, hold so many tasks in flight, each
// with an input of so many bytes.
func memoryInFlight(tasks, bytes int) func(context.Context, *server) (func(context.Context) (sample, error), func(), error) {
	return func(ctx context.Context, s *server) (func(context.Context) (sample, error), func(), error) {
		pool, drop, err := install(ctx, s, job)
		if err != nil {
			return nil, nil, err
		}
		input := large{strings.Repeat("x", bytes)}
		work := func(ctx context.Context) (sample, error) {
			for left := tasks; left > 0; left -= 16 {
				inputs := make([]any, min(left, 16))
				for i := range inputs {
					inputs[i] = input
				}
				if _, err := runtime.StartMany(ctx, pool, job.Slug, inputs); err != nil {
					return sample{}, err
				}
			}
			took, err := held(ctx, pool, tasks)
			return sample{units: tasks, bytes: took}, err
		}
		return work, drop, nil
	}
}

// held runs a process that holds the tasks, and returns what memory that took.
func held(ctx context.Context, pool *pgxpool.Pool, tasks int) (int64, error) {
	program, err := os.Executable()
	if err != nil {
		return 0, err
	}
	database, err := databaseOf(pool)
	if err != nil {
		return 0, err
	}
	c := exec.CommandContext(ctx, program)
	c.Env = append(os.Environ(), workerDatabase+"="+database, holdTasks+"="+strconv.Itoa(tasks))
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		return 0, err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := c.Start(); err != nil {
		return 0, err
	}
	lines := bufio.NewScanner(out)
	var took int64
	if lines.Scan() {
		took, err = strconv.ParseInt(lines.Text(), 10, 64)
	}
	return took, errors.Join(err, lines.Err(), in.Close(), c.Wait())
}

// runHolder runs a worker whose handlers return when the input has ended, and prints what
// memory it takes once so many of them have been called.
func runHolder(ctx context.Context, database string, in io.Reader, out io.Writer) error {
	tasks, err := strconv.Atoi(os.Getenv(holdTasks))
	if err != nil {
		return err
	}
	pool, err := pgxpool.New(ctx, database)
	if err != nil {
		return err
	}
	defer pool.Close()
	called, release := make(chan struct{}, tasks), make(chan struct{})
	hold := handler.Handle("work", handler.Input[large](), func(_ context.Context, in large) (int, error) {
		called <- struct{}{}
		<-release
		return len(in.Text), nil
	})
	w, err := worker.New(pool, worker.Config{Concurrency: tasks, Logger: slog.New(slog.DiscardHandler)}, handler.Serve(job, []handler.Handler{hold}))
	if err != nil {
		return err
	}
	before, err := residentBytes()
	if err != nil {
		return err
	}
	stop := w.Start(ctx)
	for range tasks {
		select {
		case <-called:
		case <-time.After(time.Minute):
			return errors.New("the tasks were not claimed in a minute")
		}
	}
	after, err := residentBytes()
	if err != nil {
		return err
	}
	fmt.Fprintln(out, after-before)
	if _, err := io.Copy(io.Discard, in); err != nil {
		return err
	}
	close(release)
	return stop()
}

// residentBytes returns how much memory this process has.
func residentBytes() (int64, error) {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(statm))
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}
