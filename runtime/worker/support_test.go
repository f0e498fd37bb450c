package worker_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// patience is how long a test waits for what must happen, on the slowest machine.
const patience = time.Minute

// testContext returns a context for all that a test does. A parallel subtest makes its own:
// it may wait long for its turn.
func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience)
	t.Cleanup(cancel)
	return ctx
}

// job is a flow of one step, which has the flow's slug.
func job[In, Out any](slug string, options spec.Flow) *runtime.Flow[In, Out] {
	options.Steps = []spec.Step{{Slug: slug}}
	return runtime.NewFlow[In](options.As(slug), handler.Output[Out](slug))
}

// serve is the service of a job.
func serve[In, Out any](flow *runtime.Flow[In, Out], fn func(context.Context, In) (Out, error)) handler.Service {
	def := flow.Definition()
	return handler.Serve(def, []handler.Handler{handler.Handle(def.Slug, handler.Input[In](), fn)})
}

// database is a database with the flows of the services.
func database(t *testing.T, services ...handler.Service) *pgxpool.Pool {
	t.Helper()
	pool := dbtest.Pool(t)
	upsert(t, pool, services...)
	return pool
}

func upsert(t *testing.T, pool *pgxpool.Pool, services ...handler.Service) {
	t.Helper()
	for _, s := range services {
		def := s.Definition()
		_, err := runtime.UpsertFlow(context.Background(), pool, def)
		require.NoError(t, err)
	}
}

// A running worker.
type running struct {
	*worker.Worker
	t    *testing.T
	stop context.CancelFunc
	done chan error
	log  *logBuffer
}

// run runs a worker until the test ends; it must end without an error.
func run(t *testing.T, pool *pgxpool.Pool, config worker.Config, services ...handler.Service) *running {
	t.Helper()
	log := new(logBuffer)
	config.Logger = slog.New(slog.NewTextHandler(io.MultiWriter(log), nil))
	w, err := worker.New(pool, config, services...)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	r := &running{Worker: w, t: t, stop: stop, done: make(chan error, 1), log: log}
	go func() { r.done <- w.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		select {
		case err, open := <-r.done:
			if open {
				require.NoError(t, err)
			}
		case <-time.After(patience):
			t.Error("the worker did not stop")
		}
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return r
}

// stopped stops the worker and returns what Run returned.
func (r *running) stopped() error {
	r.t.Helper()
	r.stop()
	err := receive(r.t, r.done)
	close(r.done)
	return err
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

func receive[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		require.FailNow(t, "nothing came")
		panic("unreachable")
	}
}

func count(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) (n int) {
	t.Helper()
	require.NoError(t, pool.QueryRow(context.Background(), sql, args...).Scan(&n))
	return n
}

func eventually(t *testing.T, condition func() bool, msg string) {
	t.Helper()
	require.Eventually(t, condition, patience, 5*time.Millisecond, msg)
}

// failure is how a run failed.
func failure(t *testing.T, err error) *runtime.RunFailedError {
	t.Helper()
	var failed *runtime.RunFailedError
	require.ErrorAs(t, err, &failed)
	return failed
}

// counted waits until the worker has counted what it did: a run may end before
// the worker learns of it.
func (r *running) counted(want worker.Stats) {
	r.t.Helper()
	deadline := time.Now().Add(patience)
	for r.Stats() != want && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	require.Equal(r.t, want, r.Stats())
}
