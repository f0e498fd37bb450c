package worker_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/internal/pgbouncer"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// What the server does with statements that take long is no reason to lose a result.

// impatient has new connections to the database of a pool give up soon, unless they say
// otherwise.
func impatient(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	database := pgx.Identifier{pool.Config().ConnConfig.Database}.Sanitize()
	for _, setting := range []string{"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "transaction_timeout", "idle_session_timeout"} {
		if count(t, pool, `SELECT count(*) FROM pg_settings WHERE name = $1`, setting) == 0 {
			continue // a newer server's
		}
		_, err := pool.Exec(context.Background(), fmt.Sprintf(`ALTER DATABASE %s SET %s = '100ms'`, database, setting))
		require.NoError(t, err)
	}
}

// wide is a flow whose first step makes a list, each element of which is a task of the
// second. The report of the first makes all of them in one statement.
var wide = runtime.NewFlow[int](spec.Flow{Slug: "wide",
	Steps: []spec.Step{{Slug: "list"}, {Slug: "each", Deps: []string{"list"}, Type: spec.TypeMap}},
}, handler.Output[[]int]("each"))

// serveWide serves the flow and counts how often each step was done.
func serveWide(lists, eaches *atomic.Int64) handler.Service {
	return handler.Serve(wide.Definition(), []handler.Handler{
		handler.Handle("list", handler.Input[int](), func(_ context.Context, n int) ([]int, error) { lists.Add(1); return make([]int, n), nil }),
		handler.Handle("each", handler.Item[int](), func(_ context.Context, n int) (int, error) { eaches.Add(1); return n, nil }),
	})
}

// requireOnce requires that all runs complete, with so many tasks that were done once.
func requireOnce(t *testing.T, pool *pgxpool.Pool, tasks int) {
	t.Helper()
	require.Eventually(t, func() bool {
		return count(t, pool, `SELECT count(*) FROM pgflow.runs WHERE status = 'started'`) == 0
	}, 3*patience, 20*time.Millisecond, "not everything was done")
	require.Zero(t, count(t, pool, `SELECT count(*) FROM pgflow.runs WHERE status <> 'completed'`))
	require.Equal(t, tasks, count(t, pool, `SELECT count(*) FROM pgflow.step_tasks WHERE attempts_count = 1 AND requeued_count = 0`))
	require.Equal(t, tasks, count(t, pool, `SELECT count(*) FROM pgflow.step_tasks`))
}

// The timeouts of roles and databases do not apply to a worker, nor behind a pooler.
func TestTimeoutsOfRoles(t *testing.T) {
	t.Parallel()
	for name, through := range map[string]func(t *testing.T, direct *pgxpool.Pool) *pgxpool.Pool{
		"direct": func(t *testing.T, direct *pgxpool.Pool) *pgxpool.Pool { return dbtest.With(t, direct, nil) },
		"pooler": func(t *testing.T, direct *pgxpool.Pool) *pgxpool.Pool {
			return dbtest.Connect(t, pgbouncer.Start(t, direct.Config().ConnString()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const width = 20_000
			ctx := context.Background()
			var lists, eaches atomic.Int64
			service := serveWide(&lists, &eaches)
			direct := database(t, service)
			_, err := wide.Start(ctx, direct, width)
			require.NoError(t, err)
			impatient(t, direct)
			w := run(t, through(t, direct), worker.Config{Concurrency: 200}, service)
			eventually(t, func() bool { return eaches.Load() > 0 }, "the map was not begun")
			tx, err := direct.Begin(ctx) // whose locks others have to wait for
			require.NoError(t, err)
			_, err = tx.Exec(ctx, `LOCK TABLE pgflow.runs IN ACCESS EXCLUSIVE MODE`)
			require.NoError(t, err)
			time.Sleep(500 * time.Millisecond)
			require.NoError(t, tx.Rollback(ctx))
			requireOnce(t, direct, 1+width)
			require.EqualValues(t, 1, lists.Load())
			require.NotContains(t, w.log.String(), "canceling statement")
		})
	}
}

// Whatever statements are canceled, no result is lost and none counts as a failure.
func TestCanceledStatements(t *testing.T) {
	t.Parallel()
	const jobs = 3000
	ctx := context.Background()
	var done atomic.Int64
	flow := job[int, int]("work", spec.Flow{MaxAttempts: 1})
	service := serve(flow, func(_ context.Context, n int) (int, error) { done.Add(1); return n, nil })
	direct := database(t, service)
	pool := dbtest.With(t, direct, map[string]string{"application_name": "victim"})
	_, err := flow.StartMany(ctx, direct, make([]int, jobs))
	require.NoError(t, err)
	w := run(t, pool, worker.Config{Concurrency: 64}, service)
	canceled := 0
	for done.Load() < jobs || canceled < 20 {
		// Each of the worker's statements may be hit, and one that has been is repeated.
		var n int
		require.NoError(t, direct.QueryRow(ctx, `
SELECT count(*) FILTER (WHERE pg_cancel_backend(pid)) FROM pg_stat_activity
WHERE application_name = 'victim' AND datname = current_database() AND state = 'active' AND query LIKE '%flowc.%' AND query NOT LIKE '%claim%'`).Scan(&n))
		canceled += n
		if done.Load() >= jobs && count(t, direct, `SELECT count(*) FROM pgflow.runs WHERE status = 'started'`) == 0 {
			break
		}
	}
	t.Logf("%d statements were canceled", canceled)
	require.Positive(t, canceled)
	requireOnce(t, direct, jobs)
	require.EqualValues(t, jobs, done.Load())
	require.NotContains(t, w.log.String(), "cannot be recorded")
}

// A result whose report is canceled again and again keeps no other from being reported,
// and is reported when that ends.
func TestReportThatIsAlwaysCanceled(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	var done atomic.Int64
	flow := job[int, int]("work", spec.Flow{MaxAttempts: 1})
	service := serve(flow, func(_ context.Context, n int) (int, error) { done.Add(1); return n, nil })
	pool := database(t, service)
	_, err := pool.Exec(ctx, `
CREATE FUNCTION cancel() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_cancel_backend(pg_backend_pid()); PERFORM pg_sleep(60); RETURN NEW; END $$;
CREATE TRIGGER cancel BEFORE UPDATE ON pgflow.step_tasks FOR EACH ROW WHEN (new.output = '13') EXECUTE FUNCTION cancel()`)
	require.NoError(t, err)
	w := run(t, pool, worker.Config{Concurrency: 4}, service)
	var ins []int
	for n := range 100 {
		ins = append(ins, n)
	}
	_, err = flow.StartMany(ctx, pool, ins)
	require.NoError(t, err)
	eventually(t, func() bool {
		return count(t, pool, `SELECT count(*) FROM pgflow.runs WHERE status = 'completed'`) == len(ins)-1
	}, "one keeps others from being reported")
	eventually(t, func() bool {
		return strings.Contains(w.log.String(), "database canceled a call, retrying")
	}, "it is not logged")
	_, err = pool.Exec(ctx, `DROP TRIGGER cancel ON pgflow.step_tasks`)
	require.NoError(t, err)
	requireOnce(t, pool, len(ins))
	require.EqualValues(t, len(ins), done.Load())
}
