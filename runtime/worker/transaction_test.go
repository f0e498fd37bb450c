package worker_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	goruntime "runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/dsl"
	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/internal/faultnet"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/sqldb"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// two is a configuration for the pools of tests, which have four connections.
var two = worker.Config{Concurrency: 2}

// txJob is a flow of one step with a transaction.
func txJob[In, Out any](kind spec.Tx, options spec.Flow) *runtime.Flow[In, Out] {
	options.Steps = []spec.Step{{Slug: "effect", Tx: kind}}
	return runtime.NewFlow[In](options.As("effect"), handler.Output[Out]("effect"))
}

func serveTx[Tx, In, Out any](flow *runtime.Flow[In, Out], fn func(context.Context, Tx, In) (Out, error), opts ...handler.ServeOption) handler.Service {
	return handler.Serve(flow.Definition(), []handler.Handler{handler.HandleTx("effect", handler.Input[In](), fn)}, opts...)
}

// effects is a database with a table of effects.
func effects(t *testing.T, services ...handler.Service) *pgxpool.Pool {
	t.Helper()
	pool := database(t, services...)
	_, err := pool.Exec(t.Context(), `create table effects (id int primary key, note text)`)
	require.NoError(t, err)
	return pool
}

const insertEffect = `insert into effects (id) values ($1)`

func effectsOf(t *testing.T, pool *pgxpool.Pool) int {
	return count(t, pool, `select count(*) from effects`)
}

// What a handler writes, and the runs that it starts, are there with the completion of its
// task.
func TestTransaction(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	letter := job[int, int]("letter", spec.Flow{})
	define := func(slug string, kind spec.Tx) *runtime.Flow[[]int, []int] {
		return runtime.NewFlow[[]int](spec.Flow{Slug: slug, Steps: []spec.Step{
			{Slug: "each", Type: spec.TypeMap, Tx: kind},
			{Slug: "all", Deps: []string{"each"}, Tx: kind},
		}}, handler.Output[[]int]("each"))
	}
	both := map[string]*runtime.Flow[[]int, []int]{"for_pgx": define("for_pgx", spec.TxPgx), "for_sql": define("for_sql", spec.TxSQL)}
	services := []handler.Service{
		serve(letter, func(_ context.Context, n int) (int, error) { return n, nil }),
		handler.Serve(both["for_pgx"].Definition(), []handler.Handler{
			handler.HandleTx("each", handler.Item[int](), func(ctx context.Context, tx pgx.Tx, n int) (int, error) {
				if _, err := letter.Start(ctx, tx, n); err != nil {
					return 0, err
				}
				_, err := tx.Exec(ctx, insertEffect, n)
				return 2 * n, err
			}),
			handler.HandleTx("all", handler.Nothing(), handler.NoValuesTx(func(ctx context.Context, tx pgx.Tx) error {
				_, err := tx.Exec(ctx, `update effects set note = 'all'`)
				return err
			})),
		}),
		handler.Serve(both["for_sql"].Definition(), []handler.Handler{
			handler.HandleTx("each", handler.Item[int](), func(ctx context.Context, tx *sql.Tx, n int) (int, error) {
				if _, err := letter.Start(ctx, sqldb.Wrap(tx), n); err != nil {
					return 0, err
				}
				_, err := tx.ExecContext(ctx, insertEffect, n)
				return 2 * n, err
			}),
			handler.HandleTx("all", handler.Output[[]int]("each"), handler.NoOutputTx(func(ctx context.Context, tx *sql.Tx, _ []int) error {
				_, err := tx.ExecContext(ctx, `update effects set note = 'all'`)
				return err
			})),
		}),
	}
	pool := effects(t, services...)
	w := run(t, pool, two, services...)
	for slug, in := range map[string][]int{"for_pgx": {1, 2, 3}, "for_sql": {4, 5, 6}} {
		out, err := both[slug].StartSync(ctx, pool, in)
		require.NoError(t, err)
		require.Equal(t, []int{2 * in[0], 2 * in[1], 2 * in[2]}, out)
		require.Equal(t, 3, count(t, pool, `select count(*) from effects where id = any ($1) and note = 'all'`, in))
	}
	eventually(t, func() bool {
		return count(t, pool, `select count(*) from pgflow.runs where flow_slug = 'letter' and status = 'completed'`) == 6
	}, "what was started in a transaction runs")
	eventually(t, func() bool { return w.Stats().Completed == 14 && w.Health().InFlight == 0 }, "all of it is counted")
}

// A handler that does not return nil leaves nothing, and its task goes on as ever.
func TestTransactionRolledBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		first func(ctx context.Context, tx pgx.Tx) error // of the first attempt
		fails string                                     // the run; empty if it completes at the second
		stats func(worker.Stats) int64
	}{
		"error":     {first: func(context.Context, pgx.Tx) error { return errors.New("no") }},
		"panic":     {first: func(context.Context, pgx.Tx) error { panic("no") }},
		"goexit":    {first: func(context.Context, pgx.Tx) error { goruntime.Goexit(); return nil }},
		"later":     {first: func(context.Context, pgx.Tx) error { return handler.RetryAfter(0, errors.New("no")) }},
		"snooze":    {first: func(context.Context, pgx.Tx) error { return handler.Snooze(0) }, stats: func(s worker.Stats) int64 { return s.Snoozed }},
		"permanent": {first: func(context.Context, pgx.Tx) error { return handler.Permanent(errors.New("never")) }, fails: "never"},
		"timeout":   {first: func(ctx context.Context, _ pgx.Tx) error { <-ctx.Done(); return ctx.Err() }},
		"sleeps":    {first: func(ctx context.Context, tx pgx.Tx) error { _, err := tx.Exec(ctx, `select pg_sleep(60)`); return err }},
		"terminated": {first: func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `select pg_terminate_backend(pg_backend_pid())`)
			return err
		}},
		"gone": {first: func(ctx context.Context, tx pgx.Tx) error {
			_, _ = tx.Exec(ctx, `select pg_terminate_backend(pg_backend_pid())`)
			return nil
		}},
		"swallowed": {first: func(ctx context.Context, tx pgx.Tx) error { _, _ = tx.Exec(ctx, `select 1 / 0`); return nil }},
		"deferred": {first: func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `insert into strict values (1)`)
			return err
		}},
		"commits": {first: func(ctx context.Context, tx pgx.Tx) error {
			_, _ = tx.Exec(ctx, `delete from effects`)
			return tx.Commit(ctx)
		}, fails: "the handler ended the transaction"},
		"commits plain": {first: func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `delete from effects; commit`)
			return err
		}, fails: "the handler ended the transaction"},
		"commits and begins": {first: func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `delete from effects; commit and chain`)
			return err
		}, fails: "the handler ended the transaction"},
		"rolls back": {first: func(ctx context.Context, tx pgx.Tx) error { return tx.Rollback(ctx) }, fails: "the handler ended the transaction"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			flow := txJob[int, string](spec.TxPgx, spec.Flow{BaseDelay: spec.Set(time.Duration(0)), Timeout: time.Second})
			var calls atomic.Int32
			service := serveTx(flow, func(ctx context.Context, tx pgx.Tx, id int) (string, error) {
				_, err := tx.Exec(ctx, insertEffect, id)
				if err == nil && calls.Add(1) == 1 {
					err = c.first(ctx, tx)
				}
				return "done", err
			})
			pool := effects(t, service)
			_, err := pool.Exec(ctx, `create table strict (id int references effects (id) deferrable initially deferred)`)
			require.NoError(t, err)
			w := run(t, pool, two, service)
			out, err := flow.StartSync(ctx, pool, 7)
			if c.fails != "" {
				require.Contains(t, failure(t, err).Message, c.fails)
				require.EqualValues(t, 1, calls.Load())
				require.Zero(t, effectsOf(t, pool))
				return
			}
			require.NoError(t, err)
			require.Equal(t, "done", out)
			require.EqualValues(t, 2, calls.Load())
			require.Equal(t, 1, effectsOf(t, pool), "of the second attempt")
			eventually(t, func() bool { return w.Stats().Completed == 1 }, "it is counted once")
			stats := w.Stats()
			if c.stats == nil {
				c.stats = func(s worker.Stats) int64 { return s.Retried }
			}
			require.EqualValues(t, 1, c.stats(stats), "%+v", stats)
		})
	}
}

// A handler that skips its step leaves nothing.
func TestTransactionSkipped(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := runtime.NewFlow[int](spec.Flow{Slug: "effect", Steps: []spec.Step{
		{Slug: "effect", Tx: spec.TxPgx, WhenExhausted: spec.ModeSkip},
	}}, handler.Nothing())
	service := serveTx(flow, func(ctx context.Context, tx pgx.Tx, id int) (dsl.None, error) {
		if _, err := tx.Exec(ctx, insertEffect, id); err != nil {
			return dsl.None{}, err
		}
		return dsl.None{}, handler.Skip("not today")
	})
	pool := effects(t, service)
	run(t, pool, two, service)
	_, err := flow.StartSync(ctx, pool, 7)
	require.NoError(t, err)
	require.Zero(t, effectsOf(t, pool))
}

// A transaction that was rolled back in favour of another is tried again at once, and costs
// no attempt until that was in vain five times.
func TestTransactionConflicts(t *testing.T) {
	t.Parallel()
	const fail = `do $$ begin raise %s; end $$`
	for _, c := range []struct {
		name      string
		condition string
		conflicts int32
		attempts  int
		atCommit  bool
	}{
		{name: "deadlock", condition: "deadlock_detected", conflicts: 1, attempts: 1},
		{name: "serialization", condition: "serialization_failure", conflicts: 5, attempts: 1},
		{name: "too often", condition: "serialization_failure", conflicts: 6, attempts: 2},
		{name: "at commit", condition: "serialization_failure", conflicts: 5, attempts: 1, atCommit: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			flow := txJob[int, int](spec.TxPgx, spec.Flow{BaseDelay: spec.Set(time.Duration(0))})
			var calls, outer atomic.Int32
			service := serveTx(flow, func(ctx context.Context, tx pgx.Tx, id int) (int, error) {
				task, _ := handler.TaskFromContext(ctx)
				if _, err := tx.Exec(ctx, insertEffect, id); err != nil {
					return 0, err
				}
				conflict := calls.Add(1) <= c.conflicts
				switch {
				case conflict && c.atCommit:
					_, err := tx.Exec(ctx, `insert into late values (1)`)
					return 0, err
				case conflict:
					_, err := tx.Exec(ctx, fmt.Sprintf(fail, c.condition))
					return 0, fmt.Errorf("wrapped: %w", err)
				}
				return task.Attempt, nil
			}, handler.Use(func(ctx context.Context, _ handler.Task, next func(context.Context) error) error {
				outer.Add(1)
				return next(ctx)
			}))
			pool := effects(t, service)
			_, err := pool.Exec(ctx, `
				create table late (id int);
				create function refuse() returns trigger language plpgsql as $$ begin raise serialization_failure; end $$;
				create constraint trigger refuse after insert on late deferrable initially deferred for each row execute function refuse();`)
			require.NoError(t, err)
			run(t, pool, two, service)
			attempts, err := flow.StartSync(ctx, pool, 7)
			require.NoError(t, err)
			require.Equal(t, c.attempts, attempts)
			require.Equal(t, c.conflicts+1, calls.Load())
			require.Equal(t, calls.Load(), outer.Load(), "middleware is called with its handler")
			require.Equal(t, 1, effectsOf(t, pool))
		})
	}
}

// A task that is no longer the worker's leaves nothing, although its handler returned.
func TestTransactionOfLostTask(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := txJob[int, int](spec.TxPgx, spec.Flow{})
	began, goOn := make(chan struct{}), make(chan struct{})
	service := serveTx(flow, func(_ context.Context, tx pgx.Tx, id int) (int, error) {
		_, err := tx.Exec(context.Background(), insertEffect, id)
		close(began)
		<-goOn
		return 0, err
	})
	pool := effects(t, service)
	w := run(t, pool, two, service)
	started, err := flow.Start(ctx, pool, 7)
	require.NoError(t, err)
	receive(t, began)
	require.NoError(t, runtime.CancelRun(ctx, pool, started.ID(), "enough"))
	close(goOn)
	eventually(t, func() bool { return w.Stats().Lost == 1 }, "it is lost")
	require.Zero(t, effectsOf(t, pool))
}

// A handler may cancel its own run: that is done after the commit.
func TestTransactionCancelsItsRun(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := runtime.NewFlow[int](spec.Flow{Slug: "effect", Steps: []spec.Step{
		{Slug: "effect", Tx: spec.TxPgx}, {Slug: "never", Deps: []string{"effect"}, StartDelay: time.Hour},
	}}, handler.Nothing())
	service := handler.Serve(flow.Definition(), []handler.Handler{
		handler.HandleTx("effect", handler.Input[int](), func(ctx context.Context, tx pgx.Tx, id int) (string, error) {
			task, _ := handler.TaskFromContext(ctx)
			if err := runtime.CancelRun(ctx, tx, task.RunID, "enough"); err != nil && !errors.Is(err, runtime.ErrRequested) {
				return "", err
			}
			_, err := tx.Exec(ctx, insertEffect, id)
			return "done", err
		}),
	})
	pool := effects(t, service)
	run(t, pool, two, service)
	started, err := flow.Start(ctx, pool, 7)
	require.NoError(t, err)
	_, err = started.Wait(ctx)
	require.Equal(t, runtime.RunCancelled, failure(t, err).Status)
	require.Equal(t, 1, effectsOf(t, pool))
	require.Equal(t, 1, count(t, pool, `select count(*) from pgflow.step_tasks where step_slug = 'effect' and status = 'completed'`))
}

// If the answer to the commit is lost, the effect is there once, and the task completed
// once, whether or not it was committed.
func TestTransactionUnknownCommit(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kind  spec.Tx
		lose  func(*faultnet.Network)
		calls int32
	}{
		"pgx, committed": {kind: spec.TxPgx, lose: func(n *faultnet.Network) { n.CutReplies("commit\x00", 1) }, calls: 1},
		"pgx, not sent":  {kind: spec.TxPgx, lose: func(n *faultnet.Network) { n.CutRequests("commit\x00", 1) }, calls: 2},
		"sql, committed": {kind: spec.TxSQL, lose: func(n *faultnet.Network) { n.CutReplies("commit\x00", 1) }, calls: 1},
		"sql, not sent":  {kind: spec.TxSQL, lose: func(n *faultnet.Network) { n.CutRequests("commit\x00", 1) }, calls: 2},
		"completion":     {kind: spec.TxPgx, lose: func(n *faultnet.Network) { n.CutReplies("flowc.complete_in_transaction", 1) }, calls: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			flow := txJob[int, string](c.kind, spec.Flow{BaseDelay: spec.Set(time.Duration(0))})
			var calls atomic.Int32
			service := serveTx(flow, func(ctx context.Context, tx *sql.Tx, id int) (string, error) {
				calls.Add(1)
				_, err := tx.ExecContext(ctx, insertEffect, id)
				return "done", err
			})
			if c.kind == spec.TxPgx {
				service = serveTx(flow, func(ctx context.Context, tx pgx.Tx, id int) (string, error) {
					calls.Add(1)
					_, err := tx.Exec(ctx, insertEffect, id)
					return "done", err
				})
			}
			pool := effects(t, service)
			network := new(faultnet.Network)
			through, err := network.Through(pool)
			require.NoError(t, err)
			t.Cleanup(through.Close)
			w := run(t, through, two, service)
			c.lose(network)
			out, err := flow.StartSync(ctx, pool, 7)
			require.NoError(t, err)
			require.Equal(t, "done", out)
			require.Equal(t, 1, effectsOf(t, pool))
			require.Equal(t, c.calls, calls.Load())
			eventually(t, func() bool { return w.Stats().Completed == 1 && w.Health().InFlight == 0 }, "it is counted as completed")
			require.Equal(t, 1, network.Cuts())
			stats := w.Stats()
			require.EqualValues(t, c.calls-1, stats.Retried, "%+v", stats)
			require.Zero(t, stats.Lost)
		})
	}
}

// Results that cannot be recorded take the effects with them.
func TestTransactionOfBadResults(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	for name, c := range map[string]struct {
		result any
		fails  string
	}{
		"not encodable": {result: func() {}, fails: "output of step effect"},
		"not a list":    {result: 7, fails: "TYPE_VIOLATION"},
		"not storable":  {result: json.RawMessage(`"\ud800"`), fails: "the output cannot be stored"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			flow := runtime.NewFlow[int](spec.Flow{Slug: "effect", Steps: []spec.Step{
				{Slug: "effect", Tx: spec.TxPgx}, {Slug: "each", Type: spec.TypeMap, Deps: []string{"effect"}},
			}}, handler.Nothing())
			service := handler.Serve(flow.Definition(), []handler.Handler{
				handler.HandleTx("effect", handler.Input[int](), func(ctx context.Context, tx pgx.Tx, id int) (any, error) {
					_, err := tx.Exec(ctx, insertEffect, id)
					return c.result, err
				}),
			})
			pool := effects(t, service)
			run(t, pool, two, service)
			_, err := flow.StartSync(ctx, pool, 7)
			require.Contains(t, failure(t, err).Message, c.fails)
			require.Zero(t, effectsOf(t, pool))
		})
	}
}

// The completion waits for whoever holds the run, longer than the program's statements wait
// for locks.
func TestTransactionWaitsForRun(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := txJob[int, int](spec.TxPgx, spec.Flow{})
	began, goOn := make(chan struct{}), make(chan struct{})
	var calls atomic.Int32
	service := serveTx(flow, func(ctx context.Context, tx pgx.Tx, id int) (int, error) {
		calls.Add(1)
		_, err := tx.Exec(ctx, insertEffect, id)
		began <- struct{}{}
		<-goOn
		return 0, err
	})
	pool := effects(t, service)
	impatient := dbtest.With(t, pool, map[string]string{"lock_timeout": "100ms"})
	run(t, impatient, two, service)
	started, err := flow.Start(ctx, pool, 7)
	require.NoError(t, err)
	receive(t, began)
	tx, err := pool.Begin(ctx)
	require.NoError(t, err)
	defer tx.Rollback(ctx)
	_, err = tx.Exec(ctx, `select from pgflow.runs for update`)
	require.NoError(t, err)
	close(goOn)
	eventually(t, func() bool {
		return count(t, pool, `select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query ~ 'complete_in_transaction'`) == 1
	}, "it waits")
	_, err = tx.Exec(ctx, `select pg_sleep(0.3)`)
	require.NoError(t, err)
	require.NoError(t, tx.Commit(ctx))
	_, err = started.Wait(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 1, calls.Load())
}

// The transaction of a handler that does not return ends with its attempt.
func TestTransactionOfStuckHandler(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := txJob[int, int](spec.TxSQL, spec.Flow{Timeout: time.Second, BaseDelay: spec.Set(time.Duration(0))})
	goOn := make(chan struct{})
	var calls atomic.Int32
	service := serveTx(flow, func(ctx context.Context, tx *sql.Tx, id int) (int, error) {
		_, err := tx.ExecContext(ctx, insertEffect, id) // the second waits for the first to roll back
		if calls.Add(1) == 1 {
			<-goOn
		}
		return 0, err
	})
	pool := effects(t, service)
	w := run(t, pool, two, service)
	_, err := flow.StartSync(ctx, pool, 7)
	require.NoError(t, err)
	close(goOn)
	require.Equal(t, 1, effectsOf(t, pool))
	eventually(t, func() bool { return w.Health().StuckHandlers == 0 }, "it returned")
}

// A worker that stops commits what its handlers finish in time, and leaves nothing of
// the others.
func TestTransactionsOfStoppingWorker(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := txJob[int, int](spec.TxPgx, spec.Flow{})
	began := make(chan int, 2)
	goOn := make(chan struct{})
	service := serveTx(flow, func(ctx context.Context, tx pgx.Tx, id int) (int, error) {
		_, err := tx.Exec(ctx, insertEffect, id)
		began <- id
		if id == 1 {
			<-goOn
			return 0, err
		}
		<-ctx.Done()
		return 0, ctx.Err()
	})
	pool := effects(t, service)
	w := run(t, pool, worker.Config{Concurrency: 2, Grace: 500 * time.Millisecond}, service)
	_, err := flow.StartMany(ctx, pool, []int{1, 2})
	require.NoError(t, err)
	receive(t, began)
	receive(t, began)
	w.stop()
	close(goOn)
	require.NoError(t, w.stopped())
	require.Equal(t, 1, count(t, pool, `select id from effects`))
	require.Equal(t, 1, count(t, pool, `select count(*) from pgflow.runs where status = 'completed'`))
	require.Equal(t, 1, count(t, pool, `select count(*) from pgflow.step_tasks where status = 'queued' and attempts_count = 0`), "the other is released")
}

// A pool with too few connections is refused.
func TestTransactionsNeedConnections(t *testing.T) {
	t.Parallel()
	flow := txJob[int, int](spec.TxPgx, spec.Flow{})
	fn := func(context.Context, pgx.Tx, int) (int, error) { return 0, nil }
	config, err := pgxpool.ParseConfig("postgres://localhost/x?pool_max_conns=4")
	require.NoError(t, err)
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	defer pool.Close()
	_, err = worker.New(pool, worker.Config{}, serveTx(flow, fn))
	require.EqualError(t, err, "flowc: worker: up to 16 handlers with a transaction run at once, with a connection each, and the pool has MaxConns 4: raise MaxConns to 17 or more (pool_max_conns in the URL), or limit the steps with handler.Limit")
	for _, opt := range []handler.ServeOption{handler.Limit(3), handler.Limit(3, "effect")} {
		_, err = worker.New(pool, worker.Config{}, serveTx(flow, fn, opt))
		require.NoError(t, err)
	}
	_, err = worker.New(pool, worker.Config{Concurrency: 3}, serveTx(flow, fn))
	require.NoError(t, err)
}

// Tasks of other flows and of steps without a transaction run beside, on a pool that has no
// connection to spare.
func TestTransactionsBesideOthers(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := txJob[int, int](spec.TxPgx, spec.Flow{})
	plain := job[int, int]("plain", spec.Flow{})
	services := []handler.Service{
		serveTx(flow, func(ctx context.Context, tx pgx.Tx, id int) (int, error) {
			_, err := tx.Exec(ctx, insertEffect, id)
			return id, err
		}, handler.Limit(3)),
		serve(plain, func(_ context.Context, n int) (int, error) { return n, nil }),
	}
	pool := effects(t, services...)
	run(t, pool, worker.Config{Concurrency: 8}, services...)
	ids := make([]int, 100)
	for i := range ids {
		ids[i] = i
	}
	runs, err := flow.StartMany(ctx, pool, ids)
	require.NoError(t, err)
	others, err := plain.StartMany(ctx, pool, ids)
	require.NoError(t, err)
	for i := range ids {
		_, err := runs[i].Wait(ctx)
		require.NoError(t, err)
		_, err = others[i].Wait(ctx)
		require.NoError(t, err)
	}
	require.Equal(t, 100, effectsOf(t, pool))
}

// Where pgflow stands alone, nobody could tell whose a task is.
func TestTransactionsNeedEngine(t *testing.T) {
	t.Parallel()
	flow := job[int, int]("effect", spec.Flow{})
	ctx, pool, _ := contract(t, serve(flow, func(context.Context, int) (int, error) { return 0, nil }))
	with := txJob[int, int](spec.TxPgx, spec.Flow{})
	_, err := with.Upsert(ctx, pool)
	require.ErrorIs(t, err, runtime.ErrNeedsEngine)
	w, err := worker.New(pool, two, serveTx(with, func(context.Context, pgx.Tx, int) (int, error) { return 0, nil }))
	require.NoError(t, err)
	err = w.Run(ctx)
	require.ErrorIs(t, err, runtime.ErrNeedsEngine)
	require.ErrorContains(t, err, "step effect of flow effect")
}

// A step with a limit frees its place when it is completed in its transaction.
func TestTransactionsWithLimit(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	flow := runtime.NewFlow[int](spec.Flow{Slug: "effect", Steps: []spec.Step{{Slug: "effect", Tx: spec.TxPgx, Concurrency: 1}}}, handler.Output[int]("effect"))
	var running, most atomic.Int32
	service := serveTx(flow, func(ctx context.Context, tx pgx.Tx, id int) (int, error) {
		if n := running.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer running.Add(-1)
		_, err := tx.Exec(ctx, insertEffect, id)
		return id, err
	})
	pool := effects(t, service)
	run(t, pool, two, service)
	runs, err := flow.StartMany(ctx, pool, []int{1, 2, 3, 4, 5, 6, 7, 8})
	require.NoError(t, err)
	for _, r := range runs {
		_, err := r.Wait(ctx)
		require.NoError(t, err)
	}
	require.Equal(t, 8, effectsOf(t, pool))
	require.EqualValues(t, 1, most.Load())
	require.Equal(t, 8, count(t, pool, `select count(*) from pgflow.step_tasks where claims_count = 1`), "no place was recovered")
	require.Zero(t, count(t, pool, `select count(*) from flowc.held`))
}
