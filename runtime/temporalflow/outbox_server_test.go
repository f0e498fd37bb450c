package temporalflow_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/flowtest"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/temporalflow"
	"github.com/flowc-dev/flowc/runtime/temporalflow/temporaldev"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// relay hands starts over until it is stopped, or the test ends.
func relay(t *testing.T, pool *pgxpool.Pool, box *temporalflow.Outbox, m ...handler.Middleware) (stop func()) {
	t.Helper()
	w, err := worker.New(pool, worker.Config{Logger: quiet, Middleware: m}, box.Service())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// relay is a relay that stops between starting a run and reporting that.
func (p process) relay(t *testing.T, db *temporalflow.DB) {
	pool, err := pgxpool.New(t.Context(), p.Database)
	require.NoError(t, err)
	w, err := worker.New(pool, worker.Config{Logger: quiet, Middleware: []handler.Middleware{
		func(ctx context.Context, task handler.Task, next func(context.Context) error) error {
			if err := next(ctx); err != nil {
				return err
			}
			p.note("handed over", task.RunID)
			select {} // it will be killed before it reports
		},
	}}, temporalflow.NewOutbox(db, pool).Service())
	require.NoError(t, err)
	require.NoError(t, w.Run(context.Background()))
}

// counted returns a job that counts its attempts by run, and gives its input.
func counted(done *counts) handler.Service {
	return job("boxed", func(ctx context.Context, v handler.Values) (any, error) {
		task, _ := handler.TaskFromContext(ctx)
		done.add(task.RunID)
		return v.Input, nil
	})
}

// boxed starts runs in a transaction each.
func boxed(t *testing.T, pool *pgxpool.Pool, box *temporalflow.Outbox, count int, commit bool) (runs []*runtime.Run[json.RawMessage]) {
	t.Helper()
	for i := range count {
		tx, err := pool.Begin(t.Context())
		require.NoError(t, err)
		run, err := runtime.StartFlow(t.Context(), box.In(tx), "boxed", i)
		require.NoError(t, err)
		if commit {
			require.NoError(t, tx.Commit(t.Context()))
		} else {
			require.NoError(t, tx.Rollback(t.Context()))
		}
		runs = append(runs, run)
	}
	return runs
}

// What is rolled back does not start; what is committed does, once.
func TestServerOutboxRollbacks(t *testing.T) {
	var done counts
	n := open(t, counted(&done))
	pool := flowtest.Database(t)
	box := temporalflow.NewOutbox(n.db, pool)
	require.NoError(t, box.Upsert(t.Context()))
	relay(t, pool, box)

	gone := boxed(t, pool, box, 1000, false)
	began := time.Now()
	kept := boxed(t, pool, box, 20, true)
	for i, run := range kept {
		out, err := run.Via(n.db).Wait(t.Context(), runtime.WithTimeout(stuck))
		require.NoError(t, err)
		var got map[string]int
		require.NoError(t, json.Unmarshal(out, &got))
		require.Equal(t, map[string]int{"work": i}, got)
		require.Equal(t, 1, done.of(run.ID()))
	}
	t.Logf("20 committed starts had ended %s after the first commit", time.Since(began).Round(time.Millisecond))
	for _, run := range gone {
		_, err := runtime.GetRun(t.Context(), n.db, run.ID())
		require.ErrorIs(t, err, runtime.ErrRunNotFound)
		require.Zero(t, done.of(run.ID()))
	}
}

// A relay that is killed after it has started a run, and before it has reported that, starts
// no run twice.
func TestServerOutboxKilledRelay(t *testing.T) {
	const runs = 10
	var done counts
	n := open(t, counted(&done))
	pool := flowtest.Database(t)
	box := temporalflow.NewOutbox(n.db, pool)
	require.NoError(t, box.Upsert(t.Context()))
	started := boxed(t, pool, box, runs, true)

	p := process{
		Does: "relay", Name: "relay", Addresses: []string{address(t)}, Namespace: n.name, File: filepath.Join(t.TempDir(), "notes"), Database: pool.Config().ConnString(),
	}
	killed := p.start(t)
	eventually(t, "the relay has handed all over", func() bool { return len(noted(t, p.File)) >= runs })
	kill(killed)
	var left int
	count := func() int {
		require.NoError(t, pool.QueryRow(t.Context(), `select count(*) from pgflow.runs where flow_slug = $1 and status = 'started'`, temporalflow.OutboxSlug).Scan(&left))
		return left
	}
	require.Equal(t, runs, count(), "it has reported nothing")
	began := time.Now()
	relay(t, pool, box)
	eventually(t, "another relay has reported all", func() bool { return count() == 0 })
	t.Logf("another relay had taken over %s after its start", time.Since(began).Round(time.Millisecond))
	for _, run := range started {
		require.Equal(t, runtime.RunCompleted, end(t, n.db, run).Status)
		require.Equal(t, 1, done.of(run.ID()))
	}
}

// While the server is away, starts go on, and none is lost.
func TestServerOutboxServerAway(t *testing.T) {
	away := 30 * time.Second
	nodes, addresses := nodes(t, 1)
	var done counts
	service := counted(&done)
	require.NoError(t, nodes[0].Register(t.Context(), temporaldev.DefaultNamespace))
	_, db := dial(t, addresses[0], temporaldev.DefaultNamespace)
	require.NoError(t, runtime.UpsertServed(t.Context(), db, service))
	work(t, db, service)
	pool := flowtest.Database(t)
	box := temporalflow.NewOutbox(db, pool)
	require.NoError(t, box.Upsert(t.Context()))
	relay(t, pool, box)

	runs := boxed(t, pool, box, 10, true)
	nodes[0].Kill()
	for began := time.Now(); time.Since(began) < away; time.Sleep(away / 20) {
		runs = append(runs, boxed(t, pool, box, 1, true)...)
	}
	require.NoError(t, nodes[0].Start(t.Context()))
	began := time.Now()
	for _, run := range runs {
		_, err := run.Via(db).Wait(t.Context(), runtime.WithTimeout(2*stuck))
		require.NoError(t, err)
		require.NotZero(t, done.of(run.ID()))
	}
	t.Logf("%d runs, started before and while the server was away for %s, had ended %s after it came back", len(runs), away, time.Since(began).Round(time.Millisecond))
}

// A run that is still in the outbox says so.
func TestServerInOutbox(t *testing.T) {
	var done counts
	n := open(t, counted(&done))
	ctx, pool := t.Context(), flowtest.Database(t)
	box := temporalflow.NewOutbox(n.db, pool)
	require.NoError(t, box.Upsert(ctx))
	run := boxed(t, pool, box, 1, true)[0].Via(n.db)
	const why = "in the outbox; no worker of the PostgreSQL serves temporalflow.Outbox.Service"
	reasons, err := runtime.ExplainRun(ctx, n.db, run.ID())
	require.NoError(t, err)
	require.NotEmpty(t, reasons)
	require.Equal(t, why, reasons[0].String())
	_, err = run.Wait(ctx, runtime.WithTimeout(0))
	require.ErrorContains(t, err, "(it is running, 1 step remains: "+why)

	require.ErrorIs(t, runtime.RetryRun(ctx, n.db, run.ID()), runtime.ErrWrongStatus)
	require.NoError(t, runtime.CancelRun(ctx, n.db, run.ID(), "not needed"))
	err = runtime.RetryRun(ctx, n.db, run.ID())
	require.ErrorIs(t, err, runtime.ErrWrongStatus)
	require.ErrorContains(t, err, "it is cancelled in the outbox")
	_, err = runtime.DeleteRun(ctx, n.db, run.ID())
	require.ErrorIs(t, err, runtime.ErrNeedsEngine)
	reasons, err = runtime.ExplainRun(ctx, n.db, run.ID())
	require.NoError(t, err)
	require.Empty(t, reasons)
}

// A run that is cancelled while it is handed over does not stay on Temporal, whether the
// cancellation or the relay comes there first.
func TestServerCancelledWhileHandedOver(t *testing.T) {
	for _, started := range []bool{false, true} {
		t.Run(map[bool]string{false: "before it starts", true: "after it started"}[started], func(t *testing.T) {
			var done counts
			n, ctx, pool := newNamespace(t), t.Context(), flowtest.Database(t)
			require.NoError(t, runtime.UpsertServed(ctx, n.db, counted(&done))) // without a worker: the run does not end
			box := temporalflow.NewOutbox(n.db, pool)
			require.NoError(t, box.Upsert(ctx))
			reached, cancelled, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
			relay(t, pool, box, func(ctx context.Context, _ handler.Task, next func(context.Context) error) error {
				ctx = context.WithoutCancel(ctx)
				if !started {
					close(reached)
					<-cancelled
				}
				err := next(ctx)
				if started {
					close(reached)
					<-cancelled
				}
				ended <- err
				return err
			})
			run := boxed(t, pool, box, 1, true)[0].Via(n.db)
			<-reached
			require.NoError(t, runtime.CancelRun(ctx, n.db, run.ID(), "not needed"))
			close(cancelled)
			require.NoError(t, <-ended)
			info, err := runtime.GetRun(ctx, n.db, run.ID())
			require.NoError(t, err)
			require.Equal(t, runtime.RunCancelled, info.Status)
			require.Equal(t, "not needed", info.CancelReason)
		})
	}
}
