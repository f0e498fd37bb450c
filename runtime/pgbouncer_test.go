//go:build linux

package runtime_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/devdb"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/internal/pgbouncer"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

func throughBouncer(t *testing.T) (context.Context, *pgxpool.Pool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	t.Cleanup(cancel)
	pool := dbtest.Connect(t, pgbouncer.Start(t, dbtest.URL(t)))
	return ctx, pool
}

// With PgBouncer in transaction mode and a pool that knows nothing of it, every
// call works, from the first one on.
func TestBouncerCalls(t *testing.T) {
	t.Parallel()
	ctx, pool := throughBouncer(t)
	_, err := typed.Upsert(ctx, pool)
	require.NoError(t, err)
	const callers, rounds = 8, 10
	errs := make(chan error, callers)
	for i := range callers {
		go func() {
			for j := range rounds {
				if err := everyCall(ctx, pool, fmt.Sprintf("%d/%d", i, j)); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range callers {
		require.NoError(t, receive(t, errs))
	}
	require.Equal(t, 4*callers*rounds, count(t, pool, `SELECT count(*) FROM pgflow.runs`))
}

func everyCall(ctx context.Context, pool *pgxpool.Pool, key string) error {
	if _, err := typed.Upsert(ctx, pool); err != nil {
		return err
	}
	run, err := typed.Start(ctx, pool, greet{Name: "Ada"})
	if err != nil {
		return err
	}
	_, err = typed.StartMany(ctx, pool, []greet{{Name: "a"}, {Name: "b"}}, runtime.WithKeys(key+"a", key+"b"), runtime.WithDelay(time.Hour))
	if err != nil {
		return err
	}
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		_, err := typed.Start(ctx, tx, greet{Name: "Ada"}, runtime.WithIdempotencyKey(key))
		return err
	})
	if err != nil {
		return fmt.Errorf("in a transaction: %w", err)
	}
	if _, err := runtime.GetRun(ctx, pool, run.ID(), runtime.WithStates()); err != nil {
		return err
	}
	if _, err := typed.Get(ctx, pool, run.ID()); err != nil {
		return err
	}
	if err := runtime.CancelRun(ctx, pool, run.ID(), "enough"); err != nil {
		return err
	}
	if _, err := ops.ListRuns(ctx, pool, ops.RunFilter{Flows: []string{"greeting"}}); err != nil {
		return err
	}
	if _, err := ops.ListTasks(ctx, pool, run.ID(), ops.TaskFilter{OutputBytes: ops.AllOutputs}); err != nil {
		return err
	}
	_, err = typed.Exists(ctx, pool)
	return err
}

// Waiting polls, a worker works flows to their ends, and neither logs a fault.
func TestBouncerWorker(t *testing.T) {
	t.Parallel()
	ctx, pool := throughBouncer(t)
	_, err := typed.Upsert(ctx, pool)
	require.NoError(t, err)
	work(t, pool)
	var runs []*runtime.Run[string]
	for range 50 {
		run, err := typed.Start(ctx, pool, greet{Name: "Ada"})
		require.NoError(t, err)
		runs = append(runs, run)
	}
	for _, run := range runs {
		out, err := run.Wait(ctx, runtime.WithPollInterval(20*time.Millisecond))
		require.NoError(t, err)
		require.Equal(t, "HELLO ADA", out)
	}
	out, err := typed.StartSync(ctx, pool, greet{Name: "Bob"})
	require.NoError(t, err)
	require.Equal(t, "HELLO BOB", out)
	_, err = typed.StartSync(ctx, pool, greet{}, runtime.WithTimeout(0), runtime.WithDelay(time.Hour))
	require.ErrorIs(t, err, runtime.ErrTimeout)
	_, err = runtime.GetRun(ctx, pool, uuid.NewString())
	require.ErrorIs(t, err, runtime.ErrRunNotFound)
}

// A worker that is started while the database behind the pooler is away takes the
// pooler for what it is when the database comes, and so does a client.
func TestBouncerBeforeTheDatabase(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	t.Cleanup(cancel)
	server, url := dbtest.Server(t, nil)
	direct := dbtest.Connect(t, url)
	_, err := typed.Upsert(ctx, direct)
	require.NoError(t, err)
	through := pgbouncer.Start(t, url)
	require.NoError(t, server.Stop(devdb.Fast))

	pools := []*pgxpool.Pool{dbtest.Connect(t, through), dbtest.Connect(t, through)}
	var workers []*worker.Worker
	for _, pool := range pools {
		w, err := worker.New(pool, worker.Config{Concurrency: 4, Logger: slog.New(slog.DiscardHandler)}, service())
		require.NoError(t, err)
		stopped := make(chan error, 1)
		working, stop := context.WithCancel(context.Background())
		go func() { stopped <- w.Run(working) }()
		t.Cleanup(func() {
			stop()
			require.NoError(t, receive(t, stopped))
		})
		workers = append(workers, w)
	}
	for _, w := range workers {
		require.Eventually(t, func() bool { return w.Stats().FailedCalls > 0 }, patience, time.Millisecond, "it has met the outage")
	}
	require.NoError(t, server.Resume(ctx))
	// Many statements at once get other connections of the server than before.
	errs := make(chan error, 16)
	for i := range cap(errs) {
		go func() {
			out, err := typed.StartSync(ctx, pools[i%2], greet{Name: "Ada"})
			if err == nil && out != "HELLO ADA" {
				err = errors.New(out)
			}
			errs <- err
		}()
	}
	for range cap(errs) {
		require.NoError(t, receive(t, errs))
	}
	faults := workers[0].Stats().FailedCalls + workers[1].Stats().FailedCalls
	for range 20 {
		_, err := typed.StartSync(ctx, pools[0], greet{Name: "Bob"}, runtime.WithPollInterval(5*time.Millisecond))
		require.NoError(t, err)
	}
	require.Equal(t, faults, workers[0].Stats().FailedCalls+workers[1].Stats().FailedCalls, "no more once the database is there")
}

// work starts a worker for the flow greeting, which must have had no fault when
// the test ends.
func work(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	w, err := worker.New(pool, worker.Config{}, service())
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- w.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, receive(t, stopped))
		require.Zero(t, w.Stats().FailedCalls)
	})
}

// A handler's transaction is one, and so works behind a pooler.
func TestBouncerTransactions(t *testing.T) {
	t.Parallel()
	ctx, pool := throughBouncer(t)
	_, err := pool.Exec(ctx, `CREATE TABLE effects (id int PRIMARY KEY)`, pgx.QueryExecModeExec)
	require.NoError(t, err)
	flow := runtime.NewFlow[int](spec.Flow{Slug: "effects", Steps: []spec.Step{
		{Slug: "pgx", Tx: spec.TxPgx}, {Slug: "sql", Tx: spec.TxSQL},
	}}, handler.Nothing())
	_, err = flow.Upsert(ctx, pool)
	require.NoError(t, err)
	service := flow.Serve([]handler.Handler{
		handler.HandleTx("pgx", handler.Input[int](), handler.NoOutputTx(func(ctx context.Context, tx pgx.Tx, id int) error {
			_, err := tx.Exec(ctx, `INSERT INTO effects VALUES ($1)`, pgx.QueryExecModeExec, id)
			return err
		})),
		handler.HandleTx("sql", handler.Input[int](), handler.NoOutputTx(func(ctx context.Context, tx *sql.Tx, id int) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO effects VALUES ($1)`, pgx.QueryExecModeExec, -id)
			return err
		})),
	})
	w, err := worker.New(pool, worker.Config{Concurrency: 3, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}, service)
	require.NoError(t, err)
	stop := w.Start(ctx)
	defer func() { require.NoError(t, stop()) }()
	runs, err := flow.StartMany(ctx, pool, []int{1, 2, 3, 4, 5})
	require.NoError(t, err)
	for _, run := range runs {
		_, err := run.Wait(ctx, runtime.WithPollInterval(20*time.Millisecond))
		require.NoError(t, err)
	}
	require.Equal(t, 10, count(t, pool, `SELECT count(*) FROM effects`))
	require.EqualValues(t, 10, w.Stats().Completed)
}
